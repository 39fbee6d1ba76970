"""What an inventory may say: groups, names, addresses, and the number of controllers.

It owns the reading of the file and every sentence about what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

CONTROLLERS, WORKERS, PXE = "controller_nodes", "worker_nodes", "pxe_server"
GROUPS = (CONTROLLERS, WORKERS, PXE)
"""The groups that the playbooks know."""
ALONE = "localhost"
"""Name of the machine of an inventory that has no cluster yet."""
CONTROLLER_COUNTS = (1, 3, 5)
"""Numbers of controllers: an even one survives no more losses than the odd one below it, and can tie."""
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""A machine's name, a label of RFC 1123 in small letters."""


class InventoryError(ValueError):
    """What is wrong with the inventory or the change, as a sentence."""


def load(text: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Read the hosts of every known group, with their variables.

    Raises:
        InventoryError: It is not YAML, or not of the shape that the playbooks know.
    """
    try:
        data = yaml.safe_load(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as exc:
        where = getattr(exc, "problem_mark", None)
        line = f"line {where.line + 1}: " if where else ""
        problem = getattr(exc, "problem", None) or exc
        raise InventoryError(f"The inventory is no valid YAML: {line}{problem}.") from exc
    if not isinstance(data, dict):
        raise InventoryError(f"The inventory has no groups; it needs: {', '.join(GROUPS)}.")
    _refuse_twice(node)
    hosts: dict[str, dict[str, dict[str, Any]]] = {group: {} for group in GROUPS}
    for group, content in data.items():
        if group not in GROUPS:
            raise InventoryError(f"The inventory has an unknown group '{group}'; known: {', '.join(GROUPS)}.")
        hosts[group] = _hosts_of(group, content)
    return hosts


def check(text: str, *, allow_even: bool = False) -> None:
    """Refuse an inventory that the playbooks would stumble over.

    Args:
        text: The file.
        allow_even: Let an even number of controllers pass, because a further one follows.

    Raises:
        InventoryError: With the first thing that is wrong.
    """
    hosts = load(text)
    both = sorted(hosts[CONTROLLERS].keys() & hosts[WORKERS].keys())
    if both:
        raise InventoryError(f"'{both[0]}' is in {CONTROLLERS} and in {WORKERS}; leave it in one of them.")
    cluster = {**hosts[CONTROLLERS], **hosts[WORKERS]}
    if ALONE in cluster and len(cluster) > 1:
        raise InventoryError(
            f"'{ALONE}' cannot be one of several machines; "
            "./bootstrap.sh --role controller gives it its name."
        )
    for name in cluster:
        if not NAME.fullmatch(str(name)):
            raise InventoryError(
                f"'{name}' is no name of a machine: small letters, digits and dashes, 63 at most."
            )
    _refuse_same_address({**hosts[PXE], **cluster})
    _check_count(list(hosts[CONTROLLERS]), allow_even)


def _hosts_of(group: str, content: Any) -> dict[str, dict[str, Any]]:
    content = {} if content is None else content
    if not isinstance(content, dict) or content.keys() - {"hosts", "vars"}:
        raise InventoryError(f"Group '{group}' is a mapping with `hosts:` (and `vars:`), and nothing else.")
    hosts = content.get("hosts") or {}
    if not isinstance(hosts, dict):
        raise InventoryError(
            f"`hosts:` of '{group}' is a mapping of names, as in `worker1: {{ansible_host: 192.168.1.21}}`, "
            f"not a {type(hosts).__name__}."
        )
    for name, variables in hosts.items():
        if not isinstance(name, str):
            raise InventoryError(f"'{name}' in '{group}' reads as a number; put the name in quotes.")
        if not isinstance(variables, dict | None):
            raise InventoryError(f"'{name}' in '{group}' has '{variables}' where its variables belong.")
        address = (variables or {}).get("ansible_host", "")
        if not isinstance(address, str):
            raise InventoryError(
                f"The address of '{name}' is '{address}', which is not text; "
                f"write it as `ansible_host: '192.168.1.21'`."
            )
        for key, value in (variables or {}).items():
            # What Ansible logs in by; a list there would be told at the first task, in Ansible's own words.
            if str(key).startswith("ansible_") and isinstance(value, list | dict):
                raise InventoryError(
                    f"'{key}' of '{name}' is '{value}', a {type(value).__name__}; write one word or number."
                )
    return {str(name): dict(variables or {}) for name, variables in hosts.items()}


def _refuse_twice(node: yaml.Node | None) -> None:
    """YAML lets a key be there twice and drops the first one in silence."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        if key.value in seen:
            raise InventoryError(f"'{key.value}' is there twice (line {key.start_mark.line + 1}).")
        seen.add(key.value)
        _refuse_twice(value)


def _refuse_same_address(hosts: Mapping[str, Mapping[str, Any]]) -> None:
    owners: dict[str, str] = {}
    for name, variables in hosts.items():
        address = str(variables.get("ansible_host", name))
        if address in owners:
            raise InventoryError(
                f"'{owners[address]}' and '{name}' have the same address, {address}; "
                "each machine has one of its own."
            )
        owners[address] = name


def _check_count(controllers: list[str], allow_even: bool) -> None:
    count = len(controllers)
    if count in CONTROLLER_COUNTS or (allow_even and 0 < count < max(CONTROLLER_COUNTS)):
        return
    named = f" ({', '.join(controllers)})" if controllers else ""
    reason = (
        "an even number survives no more losses than one less, and can tie in an election"
        if count and count < max(CONTROLLER_COUNTS)
        else "they elect a leader among themselves"
    )
    raise InventoryError(f"There would be {count} controllers{named}; use 1, 3 or 5: {reason}.")
