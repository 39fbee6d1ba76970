"""Change `inventory.yaml`: add, move and remove machines, with comments and order kept.

It owns the file's rules (`rules`), the edit by lines (`lines`, `changes`) and the write that nobody sees half
done (`files`). What a change means for the machines is the playbooks'. It needs PyYAML, which Ansible brings.
"""

from __future__ import annotations

from .changes import ACTIONS, apply
from .files import BACKUP_SUFFIX, change_file, locked
from .rules import GROUPS, InventoryError, check, load

__all__ = [
    "ACTIONS",
    "BACKUP_SUFFIX",
    "GROUPS",
    "InventoryError",
    "apply",
    "change_file",
    "check",
    "load",
    "locked",
]
