"""One set of argument names for every module, and no task of ours that would ask through a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.ansible_code import ROOT, load_library, module_files

pytestmark = pytest.mark.unit

MODULES = [path.stem for path in module_files()]
OTHER_NAMES = {"address", "host", "port", "token_file", "ca_file", "cacert", "wait_s", "wait", "timeout"}
"""Words that would be a second name of `url`, `token`, `ca` or `timeout_s`."""


class _TakenError(Exception):
    """Carries what a module would have told Ansible of its arguments."""


def spec_of(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments that a module reads."""
    module = load_library(name)

    def take(*, argument_spec: dict[str, Any], **_more: Any) -> None:
        raise _TakenError(argument_spec)

    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule", take)
    if hasattr(module, "AnsibleModule"):
        monkeypatch.setattr(module, "AnsibleModule", take)
    with pytest.raises(_TakenError) as taken:
        module.main()
    spec: dict[str, Any] = taken.value.args[0]
    return spec


@pytest.mark.parametrize("name", MODULES)
def test_a_modules_arguments_are_those_that_it_describes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    described = yaml.safe_load(load_library(name).DOCUMENTATION)["options"]
    spec = spec_of(name, monkeypatch)

    def essence(option: dict[str, Any]) -> dict[str, Any]:
        return {
            key: option.get(key) for key in ("type", "required", "default", "elements") if option.get(key)
        }

    assert {key: essence(option) for key, option in described.items()} == {
        key: essence(option) for key, option in spec.items()
    }


@pytest.mark.parametrize("name", MODULES)
def test_a_modules_arguments_have_the_names_of_the_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(name, monkeypatch)
    assert not spec.keys() & OTHER_NAMES
    for option in spec.keys() & {"token", "consul_token", "nomad_token", "secret", "key"}:
        assert spec[option]["no_log"] is True


def tasks_in(found: Any) -> Iterator[dict[str, Any]]:
    """Every mapping below a file's root that could be a task."""
    if isinstance(found, list):
        for item in found:
            yield from tasks_in(item)
    elif isinstance(found, dict):
        yield found
        for value in found.values():
            yield from tasks_in(value)


def task_files() -> list[Path]:
    return sorted([*(ROOT / "ansible/roles").glob("*/tasks/*.yaml"), *(ROOT / "playbooks").rglob("*.yaml")])


def test_a_task_asks_through_no_proxy() -> None:
    asked = [
        (path, task["ansible.builtin.uri"])
        for path in task_files()
        for task in tasks_in(yaml.safe_load(path.read_text(encoding="utf-8")))
        if "ansible.builtin.uri" in task
    ]
    assert asked
    assert [str(path.relative_to(ROOT)) for path, uri in asked if uri.get("use_proxy") is not False] == []


def test_where_consul_and_nomad_are_is_said_once() -> None:
    facts = yaml.safe_load((ROOT / "group_vars/all.yaml").read_text(encoding="utf-8"))
    once = [
        facts[name]
        for name in (
            "twin_consul_url",
            "twin_nomad_url",
            "twin_nomad_ca",
            "twin_consul_token_file",
            "twin_nomad_token_file",
        )
    ]
    again = [
        f"{path.relative_to(ROOT)}: {value}"
        for path in [*task_files(), *(ROOT / "ansible/roles").glob("*/vars/*.yaml")]
        for value in once
        if value in path.read_text(encoding="utf-8")
    ]
    assert again == []
