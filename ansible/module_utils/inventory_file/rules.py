"""What an inventory may say: groups, names, addresses, and the number of controllers.

It owns every sentence about what is wrong with it: each names the line, and what to write there. Not here:
the reading (`reading`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

import yaml

from .reading import Groups, InventoryError, at, is_ini, members, read

CONTROLLERS, WORKERS, PXE = "controller_nodes", "worker_nodes", "pxe_server"
GROUPS = (CONTROLLERS, WORKERS, PXE)
"""The groups that the playbooks know."""
ALONE = "localhost"
"""Name of the machine of an inventory that has no cluster yet."""
CONTROLLER_COUNTS = (1, 3, 5)
"""Numbers of controllers: an even one survives no more losses than the odd one below it, and can tie."""
NAME = re.compile(r"(?![0-9]+$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""A machine's name, a label of RFC 1123 in small letters; many programs read digits alone as an address."""
NAME_RULE = "small letters, digits and dashes, 63 at most, and not digits alone"
PARTS = ("hosts", "children", "vars")
"""What a group may have."""

Hosts = dict[str, dict[str, dict[str, Any]]]


def load(text: str) -> Hosts:
    """Read the machines of every known group, those of groups below it too, with their variables.

    Raises:
        InventoryError: It cannot be read, or not in a way that the playbooks know.
    """
    return _hosts(read_shaped(text))


def read_shaped(text: str) -> Groups:
    """Read the groups, as they are written; what Ansible would tell in its own words is told before.

    Raises:
        InventoryError: It cannot be read, or is of another shape.
    """
    if not is_ini(text):
        _check_yaml(text)
    return read(text)


def check(text: str, *, allow_even: bool = False) -> None:
    """Refuse an inventory that the playbooks would stumble over.

    Args:
        text: The file.
        allow_even: Let an even number of controllers pass, because a further one follows.

    Raises:
        InventoryError: With the first thing that is wrong.
    """
    groups = read_shaped(text)
    hosts = _hosts(groups)
    _refuse_unknown_groups(text, groups, hosts)
    both = sorted(hosts[CONTROLLERS].keys() & hosts[WORKERS].keys())
    if both:
        raise InventoryError(
            f"'{both[0]}'{at(text, both[0])} is in {CONTROLLERS} and in {WORKERS}; leave it in one of them."
        )
    cluster = {**hosts[CONTROLLERS], **hosts[WORKERS]}
    if ALONE in cluster and len(cluster) > 1:
        raise InventoryError(
            f"'{ALONE}'{at(text, ALONE)} cannot be one of several machines; "
            "./bootstrap.sh --role controller gives it its name."
        )
    for name, variables in {**hosts[PXE], **cluster}.items():
        _check_name(text, name)
        _check_variables(text, name, variables)
    _refuse_same_address(text, {**hosts[PXE], **cluster})
    _check_count(list(hosts[CONTROLLERS]), allow_even)


def name_fault(name: str) -> str:
    """What is wrong with a machine's name, as the end of a sentence; "" for a good one."""
    if NAME.fullmatch(name):
        return ""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        better = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63]
        better = f"node{better}" if better.isdigit() or not better else better
        instead = f"call it `{better}`"
    else:
        instead = f"give it one, and the address behind it, as in `node1: {{ansible_host: {name}}}`"
    return f"is no name of a machine: {NAME_RULE}; {instead}"


def address_fault(address: str) -> str:
    """What is wrong with an address or a name that a machine is reached by; "" for a good one."""
    try:
        version = ipaddress.ip_address(address.partition("%")[0].strip("[]")).version
    except ValueError:
        return ""
    return (
        ""
        if version == 4
        else "is IPv6, and nodes talk to each other over IPv4; write its IPv4 address there"
    )


def _hosts(groups: Groups) -> Hosts:
    return {group: members(groups, group) for group in GROUPS}


def _check_yaml(text: str) -> None:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as exc:
        where = getattr(exc, "problem_mark", None)
        line = f"line {where.line + 1}: " if where else ""
        problem = getattr(exc, "problem", None) or exc
        raise InventoryError(f"The inventory is no valid YAML: {line}{problem}.") from exc
    if not isinstance(node, yaml.MappingNode):
        raise InventoryError(f"The inventory has no groups; it needs: {', '.join(GROUPS)}.")
    _refuse_twice(node)
    _check_groups(node)


def _check_groups(groups: yaml.MappingNode) -> None:
    for key, content in groups.value:
        if _is_empty(content):
            continue
        where = f"'{key.value}' (line {key.start_mark.line + 1})"
        if not isinstance(content, yaml.MappingNode):
            raise InventoryError(
                f"Group {where} is a mapping with `hosts:` (and `children:`, `vars:`), and nothing else."
            )
        for part, inner in content.value:
            if part.value not in PARTS:
                raise InventoryError(
                    f"Group {where} is a mapping with `hosts:` (and `children:`, `vars:`), and nothing else; "
                    f"put '{part.value}' (line {part.start_mark.line + 1}) below one of them."
                )
            if part.value == "hosts" and not _is_empty(inner):
                _check_hosts(key.value, inner)
            if part.value == "children" and isinstance(inner, yaml.MappingNode):
                _check_groups(inner)


def _check_hosts(group: str, hosts: yaml.Node) -> None:
    line = hosts.start_mark.line + 1
    if not isinstance(hosts, yaml.MappingNode):
        kind = "list" if isinstance(hosts, yaml.SequenceNode) else "text"
        raise InventoryError(
            f"`hosts:` of '{group}' is a mapping of names, as in `worker1: {{ansible_host: 192.168.1.21}}`, "
            f"not a {kind} (line {line})."
        )
    for key, variables in hosts.value:
        where = f"'{key.value}' in '{group}' (line {key.start_mark.line + 1})"
        # Ansible takes no number for a name, and of an address with colons the last part for a port.
        if key.tag != "tag:yaml.org,2002:str" or ":" in key.value.partition("[")[0]:
            raise InventoryError(
                f"{where} {name_fault(key.value) or 'does not read as text; put it in quotes'}."
            )
        if not isinstance(variables, yaml.MappingNode) and not _is_empty(variables):
            raise InventoryError(f"{where} has '{_words(variables)}' where its variables belong.")


def _is_empty(node: yaml.Node) -> bool:
    return node.tag == "tag:yaml.org,2002:null" or (isinstance(node, yaml.MappingNode) and not node.value)


def _words(node: yaml.Node) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else f"a {getattr(node, 'id', 'value')}"


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


def _refuse_unknown_groups(text: str, groups: Groups, hosts: Hosts) -> None:
    """Other groups may stand above and below; a machine that is in no known one would be forgotten."""
    known = {name for group in GROUPS for name in hosts[group]}
    for group, content in groups.items():
        lost = [name for name in content.hosts if name not in known]
        if lost and group not in ("all", "ungrouped"):
            raise InventoryError(
                f"The inventory has an unknown group '{group}'; known: {', '.join(GROUPS)}. "
                f"'{lost[0]}'{at(text, lost[0])} would be left out: put '{group}'{at(text, group)} "
                f"below one of "
                "them, as `children:`, or call it so."
            )
    lost = [name for name in members(groups, "all") if name not in known]
    if lost:
        raise InventoryError(
            f"'{lost[0]}'{at(text, lost[0])} is in none of the groups {', '.join(GROUPS)}; put it "
            f"below one of "
            "them."
        )


def _check_name(text: str, name: str) -> None:
    fault = name_fault(name)
    if fault and name != ALONE:
        raise InventoryError(f"'{name}'{at(text, name)} {fault}.")


def _check_variables(text: str, name: str, variables: Mapping[str, Any]) -> None:
    address = variables.get("ansible_host", "")
    if not isinstance(address, str):
        raise InventoryError(
            f"The address of '{name}' is '{address}', which is not text; "
            f"write it as `ansible_host: '192.168.1.21'`{at(text, name)}."
        )
    fault = address_fault(address)
    if fault:
        raise InventoryError(f"The address of '{name}'{at(text, name)}, {address}, {fault}.")
    for key, value in variables.items():
        # What Ansible logs in by; a list there would be told at the first task, in Ansible's own words.
        if key.startswith("ansible_") and isinstance(value, list | dict):
            raise InventoryError(
                f"'{key}' of '{name}' is '{value}', a {type(value).__name__}; write one word or "
                f"number{at(text, name)}."
            )


def _refuse_same_address(text: str, hosts: Mapping[str, Mapping[str, Any]]) -> None:
    owners: dict[str, str] = {}
    for name, variables in hosts.items():
        address = str(variables.get("ansible_host", name))
        if address in owners:
            raise InventoryError(
                f"'{owners[address]}' and '{name}' have the same address, {address}; "
                f"each machine has one of its own, and one name{at(text, name)}."
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
