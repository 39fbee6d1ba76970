"""Changes of an inventory's text: add, move and remove a machine, name the one that is alone.

It owns what each change refuses, and the proof that the edited text says what was meant.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from .lines import Lines
from .reading import InventoryError, at
from .rules import ALONE, CONTROLLERS, GROUPS, WORKERS, address_fault, check, load, name_fault, read_shaped

PLAIN = re.compile(r"[A-Za-z0-9_./-]+")
"""A value that YAML reads as written, if it reads as text at all."""
ACTIONS = ("check", "add", "move", "remove", "name-this")
"""The changes by name; `check` changes nothing."""


def apply(
    action: str,
    text: str,
    name: str,
    variables: Mapping[str, str],
    group: str,
    allow_even: bool,
    gone: bool = False,
) -> str:
    """The text after one action, `check` returning it as it is; `gone` is `remove`'s.

    Raises:
        InventoryError: The change is refused.
    """
    if action == "add":
        return add(text, name, variables, group or WORKERS)
    if action == "move":
        return move(text, name, group, allow_even=allow_even)
    if action == "remove":
        return remove(text, name, allow_even=allow_even, gone=gone)
    if action == "name-this":
        return name_this(text, name, variables)
    check(text, allow_even=allow_even)
    return text


def add(text: str, name: str, variables: Mapping[str, str], group: str = WORKERS) -> str:
    """Add a machine, or give one that is in the group already other variables.

    Raises:
        InventoryError: The name or address is taken or wrong.
    """
    hosts = load(text)
    _check_host(name, variables)
    place = _group_of(hosts, name)
    if place and place != group:
        raise InventoryError(f"'{name}' is in {place} already; remove it there first.")
    if place and hosts[group][name] == dict(variables):
        return text
    lines = Lines(text)
    fresh = [f"{name}:\n"] + [f"  {key}: {_scalar(value)}\n" for key, value in variables.items()]
    if place:
        lines.replace(_written_in(text, name, group), name, fresh)
    else:
        lines.insert(group, fresh)
    for known in GROUPS:
        if known == group or name in hosts[known]:
            hosts[known][name] = dict(variables)
    return _proven(lines.text(), hosts, allow_even=False)


def move(text: str, name: str, group: str, *, allow_even: bool = False) -> str:
    """Move a machine from workers to controllers or back; its comment and variables go with it.

    Raises:
        InventoryError: It is not there, is there already, or the controllers would be too few or even.
    """
    hosts = load(text)
    place = _group_of(hosts, name)
    if not place:
        raise InventoryError(f"'{name}' is not in the inventory; it has: {_names(hosts)}.")
    if place == group:
        raise InventoryError(f"'{name}' is in {group} already.")
    if place == CONTROLLERS:
        _keep_first(hosts, name)
    lines = Lines(text)
    lines.insert(group, lines.take(_written_in(text, name, place), name))
    hosts[group][name] = hosts[place].pop(name)
    return _proven(lines.text(), hosts, allow_even=allow_even)


def remove(text: str, name: str, *, allow_even: bool = False, gone: bool = False) -> str:
    """Remove a machine from every group.

    Args:
        text: The inventory.
        name: Of the machine.
        allow_even: An even number of controllers may be left.
        gone: It is lost for good: the first controller may go too, and the next one is the first.

    Raises:
        InventoryError: It is not there, is the first controller, or the controllers would be even or none.
    """
    hosts = load(text)
    places = [group for group in GROUPS if name in hosts[group]]
    if not places:
        raise InventoryError(f"'{name}' is not in the inventory; it has: {_names(hosts)}.")
    if CONTROLLERS in places and not gone:
        _keep_first(hosts, name)
    lines = Lines(text)
    for group, content in read_shaped(text).items():
        if name in content.hosts:
            lines.take(group, name)
    for group in places:
        hosts[group].pop(name)
    return _proven(lines.text(), hosts, allow_even=allow_even or CONTROLLERS not in places)


def name_this(text: str, name: str, variables: Mapping[str, str]) -> str:
    """Give the machine that is alone (`localhost`) its name; an inventory with names is left as it is.

    The settings that stand with it stay with it.

    Raises:
        InventoryError: The inventory has other machines and not this one.
    """
    hosts = load(text)
    controllers = list(hosts[CONTROLLERS])
    if controllers not in ([], [ALONE]):
        if name not in controllers:
            raise InventoryError(
                f"The inventory's controllers are {', '.join(controllers)}, and this machine is '{name}'. "
                "Add it as a worker (--role worker) and promote it, or write it into inventory.yaml."
            )
        return text
    _check_host(name, variables)
    lines = Lines(text)
    fresh = [f"{name}:\n"] + [f"  {key}: {_scalar(value)}\n" for key, value in variables.items()]
    # What reaches the machine is said anew; settings stay.
    alone = hosts[CONTROLLERS].get(ALONE, {})
    kept = {key: value for key, value in alone.items() if not key.startswith("ansible_")}
    settings = [f"  {key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in kept.items()]
    written = [group for group, content in read_shaped(text).items() if ALONE in content.hosts]
    first = _written_in(text, ALONE, CONTROLLERS) if controllers else ""
    for group in written:
        lines.replace(group, ALONE, fresh + settings if group == first else [f"{name}:\n"])
    for group in GROUPS:
        hosts[group] = {
            (name if host == ALONE else host): ({**variables, **kept} if host == ALONE else of_host)
            for host, of_host in hosts[group].items()
        }
    if not controllers:
        lines.insert(CONTROLLERS, fresh)
        hosts[CONTROLLERS] = {name: dict(variables)}
    return _proven(lines.text(), hosts, allow_even=False)


def _check_host(name: str, variables: Mapping[str, str]) -> None:
    fault = "is the name of a machine that is alone" if name == ALONE else name_fault(name)
    if fault:
        raise InventoryError(f"'{name}' {fault}.")
    address = variables.get("ansible_host", "")
    if address:
        try:
            ipaddress.ip_address(address)
        except ValueError as exc:
            raise InventoryError(f"'{address}' is no address; it is like 192.168.1.21.") from exc
        if address_fault(address):
            raise InventoryError(f"The address {address} {address_fault(address)}.")


def _written_in(text: str, name: str, place: str) -> str:
    """The group that a machine stands in itself: the known one, or one below it."""
    groups = read_shaped(text)
    below = [place]
    for group in below:
        if name in groups[group].hosts:
            return group
        below += groups[group].children
    raise InventoryError(f"'{name}'{at(text, name)} is not in {place}.")


def _group_of(hosts: Mapping[str, Mapping[str, Any]], name: str) -> str:
    return next((group for group in (CONTROLLERS, WORKERS) if name in hosts[group]), "")


def _names(hosts: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join({**hosts[CONTROLLERS], **hosts[WORKERS]}) or "none"


def _keep_first(hosts: Mapping[str, Mapping[str, Any]], name: str) -> None:
    if name == next(iter(hosts[CONTROLLERS])):
        raise InventoryError(
            f"'{name}' is the first controller: it keeps the house's authority and secrets, so it stays one. "
            "To replace the machine, back up, set up the new one and restore (docs/cluster.md)."
        )


def _scalar(value: str) -> str:
    """A value as YAML, in quotes where YAML would read another type or stumble."""
    if PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    return "'" + value.replace("'", "''") + "'"


def _proven(text: str, wanted: Mapping[str, Mapping[str, Any]], *, allow_even: bool) -> str:
    """Return `text` if it says exactly what was wanted: the edit goes by lines, the proof by YAML.

    Raises:
        InventoryError: It breaks a rule, or the file is written in a way that this editor does not know.
    """
    check(text, allow_even=allow_even)
    if load(text) != wanted:
        raise InventoryError(
            "The inventory is written in a way that cannot be changed here; write every machine on lines "
            "of its own, as `name:` with `ansible_host: ADDRESS` below it."
        )
    return text
