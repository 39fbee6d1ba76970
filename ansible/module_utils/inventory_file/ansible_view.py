"""An inventory as Ansible reads it: its groups, what is in them, and their variables.

It owns the call of Ansible's own loaders. It runs where the whole of Ansible can be imported: in a program
of its own, since a module's process has only a part of it (`reading`). Not here: what an inventory may say
(`rules`).

Usage: python ansible_view.py yaml|ini PATH
"""

from __future__ import annotations

import json
import sys
from typing import Any

ADDED = ("inventory_file", "inventory_dir")
"""Variables that the loader adds to each machine."""


def view(kind: str, path: str) -> dict[str, Any]:
    """Return `groups`, by name, each with `hosts` (name and variables), `children` and `vars`; or `error`."""
    from ansible.errors import AnsibleError
    from ansible.inventory.data import InventoryData
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import inventory_loader

    data = InventoryData()
    try:
        inventory_loader.get(kind).parse(data, DataLoader(), path, cache=False)
        data.reconcile_inventory()
        groups = {
            name: {
                "hosts": {host.name: _plain(host.vars) for host in group.hosts},
                "children": [child.name for child in group.child_groups],
                "vars": _plain(group.vars),
            }
            for name, group in data.groups.items()
        }
    except (AnsibleError, ValueError, TypeError) as exc:
        return {"error": str(exc).strip().splitlines()[0]}
    return {"groups": groups}


def _plain(variables: Any) -> dict[str, Any]:
    """Variables without the loader's own, and without its types."""
    kept = {str(name): value for name, value in variables.items() if name not in ADDED}
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=_no_value))
    return plain


def _no_value(value: Any) -> Any:
    raise ValueError(
        f"A value is of type {type(value).__name__}, such as one that ansible-vault has encrypted; "
        f"put it into a "
        "file of host_vars or group_vars"
    )


if __name__ == "__main__":
    json.dump(view(*sys.argv[1:]), sys.stdout)
