"""Change `inventory.yaml`: add, move and remove machines, with comments and order kept.

It owns the reading by Ansible's loaders (`reading`), the file's rules (`rules`), the edit by lines (`lines`,
`changes`) and the write that nobody sees half done (`files`). What a change means for the machines is the
playbooks'. It needs Ansible, and the PyYAML that this brings.
"""

from __future__ import annotations

from .changes import ACTIONS, apply
from .files import BACKUP_SUFFIX, change_file, locked
from .reading import InventoryError
from .rules import GROUPS, check, load, read_shaped

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
    "read_shaped",
]
