"""The inventory by hand: `scripts/inventory` calls it.

It owns the command line only.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .changes import ACTIONS, apply
from .files import change_file
from .reading import InventoryError
from .rules import GROUPS


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Change the inventory of the cluster.")
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("inventory", type=Path)
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("variables", nargs="*", metavar="VARIABLE=VALUE")
    parser.add_argument("--group", choices=GROUPS, default="")
    parser.add_argument("--allow-even", action="store_true")
    parser.add_argument("--gone", action="store_true", help="remove it although it is the first controller")
    options = parser.parse_args()
    variables = dict(entry.partition("=")[::2] for entry in options.variables)
    if options.action != "check" and not options.name or (options.action == "move" and not options.group):
        parser.error("name the machine, and for `move` the group it goes to")

    def change(text: str) -> str:
        return apply(
            options.action,
            text,
            options.name,
            variables,
            options.group,
            options.allow_even,
            options.gone,
        )

    try:
        changed = change_file(options.inventory, change)
    except InventoryError as exc:
        sys.stderr.write(f"inventory: {exc}\n")
        return 1
    sys.stdout.write("changed\n" if changed else "in order\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
