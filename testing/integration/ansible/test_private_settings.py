"""Keys that a person gives as settings: they are in no job, no release, and no copy that others may read."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipecatapp.settings import secret_variables
from testing.ansible_code import ROOT
from testing.integration.ansible.test_role_values import ALONE, run_play, values

pytestmark = pytest.mark.integration

KEY = "key-of-a-provider"
OWN_FILE = f"pipecatapp_settings: {{LLM_API_KEY: {KEY}}}\nansible_become_password: {KEY}\n"
FACTS = yaml.safe_load((ROOT / "group_vars/all.yaml").read_text(encoding="utf-8"))


def checkout(folder: Path) -> Path:
    """A checkout with its catalogue and with a person's own files, which nobody else may read."""
    (folder / "group_vars").mkdir(parents=True)
    (folder / "playbooks").mkdir()
    for path in (ROOT / "group_vars").glob("*.yaml"):
        (folder / "group_vars" / path.name).write_bytes(path.read_bytes())
    for name in ("group_vars/controller_nodes.yaml", "host_vars/localhost.yaml"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(OWN_FILE, encoding="utf-8")
        (folder / name).chmod(0o600)
    (folder / "inventory.yaml").write_text(ALONE, encoding="utf-8")
    return folder


def play(
    folder: Path,
    role: str,
    tasks: list[dict[str, Any]],
    told: dict[str, str] | None = None,
    **given: object,
) -> None:
    """Run tasks with a role's variables on this machine, as a playbook of the checkout in `folder`.

    `told` is what a person says by -e; local facts are those of `folder`.
    """
    files = [str(ROOT / "ansible/roles" / role / kind / "main.yaml") for kind in ("defaults", "vars")]
    play = {
        "hosts": "controller_nodes",
        "module_defaults": {"ansible.builtin.setup": {"fact_path": str(folder / "facts.d")}},
        "vars_files": files,
        "vars": given,
        "tasks": tasks,
        # The unit is not on this machine.
        "handlers": [{"name": "Restart the service that takes machines", "ansible.builtin.meta": "noop"}],
    }
    templates = folder / "playbooks" / "templates"
    if not templates.is_symlink():
        templates.symlink_to(ROOT / "ansible/roles" / role / "templates")
    extra = json.dumps(told or {})
    run_play(play, folder / "playbooks" / "play.yaml", folder / "inventory.yaml", "-e", extra)


def readable_to_others(folder: Path) -> list[Path]:
    """Files that somebody else may come to and read."""
    found = []
    for path in folder.rglob("*"):
        inside = [path, *(parent for parent in path.parents if folder in parent.parents)]
        closed = any(not place.stat().st_mode & 0o004 for place in inside)
        if path.is_file() and not closed:
            found.append(path)
    return found


def test_the_rule_knows_every_secret_of_the_settings() -> None:
    rule = re.compile(FACTS["twin_secret_settings"])
    assert [name for name in secret_variables() if not rule.search(name)] == []
    assert rule.search("SOME_PASSWORD")
    assert not rule.search("TWIN_GREETING")


def test_a_key_among_the_settings_goes_to_the_jobs_variable_and_not_into_the_job(tmp_path: Path) -> None:
    settings = {"LLM_API_KEY": KEY, "OPENAI_API_KEY": KEY, "TWIN_GREETING": "Good evening."}
    made = dict.fromkeys(("memory_token", "expert_key", "external_keys"), "made")
    own = f"pipecatapp_house_settings: {settings}, cluster_secrets_values: {made}, twin_page_names: [den]"
    inventory = ALONE.replace("ansible_connection: local", f"ansible_connection: local, {own}")
    told = {"job": "{{ _pipecatapp_job_values.settings }}", "secrets": "{{ _pipecatapp_job_secrets }}"}
    found = values(tmp_path, inventory, ["pipecatapp"], told)["localhost"]
    assert found["job"] == {
        "BENCHMARK_MODE": "false",
        "TWIN_GREETING": "Good evening.",
        "TWIN_HOST_NAMES": "den",
    }
    assert found["secrets"] == {
        "LLM_API_KEY": KEY,
        "OPENAI_API_KEY": KEY,
        "TWIN_MEMORY_TOKEN": "made",
        "TWIN_EXPERT_KEY": "made",
        "TWIN_EXTERNAL_KEYS": "made",
    }


def test_a_release_has_the_catalogue_and_no_file_of_a_persons_own(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "twin")
    tasks = yaml.safe_load((ROOT / "ansible/roles/software/tasks/configure.yaml").read_text(encoding="utf-8"))
    play(folder, "software", [task for task in tasks if task["name"] == "Pack the agent's code"])
    (archive,) = (folder / "build/releases").glob("release-*.tar")
    with tarfile.open(archive) as packed:
        names = {name for name in packed.getnames() if name.startswith(("group_vars", "host_vars"))}
    wanted = ("models", "artifacts", "experts", "external_experts")
    assert names == {f"group_vars/{name}.yaml" for name in wanted}


def test_the_copies_for_machines_that_join_are_roots_where_a_person_has_written(tmp_path: Path) -> None:
    folder, node = checkout(tmp_path / "twin"), tmp_path / "node"
    (node / "etc").mkdir(parents=True)
    (node / "opt").mkdir()
    (folder / "inventory.yaml").write_text(
        ALONE.replace("local}", f"local, pipecatapp_settings: {{LLM_API_KEY: {KEY}}}}}"), encoding="utf-8"
    )
    places = {
        "twin_prefix": f"{node}/opt",
        "twin_config_dir": f"{node}/etc",
        "twin_choices_file": f"{node}/facts.d/twin.fact",
    }
    tasks = [{"ansible.builtin.include_tasks": str(ROOT / "ansible/roles/join/tasks/checkout.yaml")}]
    play(folder, "join", tasks, **places)
    with_key = {
        path for path in node.rglob("*") if path.is_file() and KEY in path.read_text(encoding="utf-8")
    }
    copied = {str(path.relative_to(node)) for path in with_key}
    assert copied >= {"etc/inventory.yaml", "opt/checkout/group_vars/controller_nodes.yaml"}
    open_files = set(readable_to_others(node))
    assert with_key & open_files == set()
    assert node / "opt/checkout/playbooks/play.yaml" in open_files
