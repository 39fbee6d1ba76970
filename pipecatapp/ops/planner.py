"""Plans the placement of experts from published profiles, and deploys it.

It owns reading and publishing profiles in Nomad, the lists of models, and the commands that deploy; the
choice is `planning.placement`'s.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipecatapp.app.cluster import nomad_of
from pipecatapp.app.llama_build import SMALL_MODEL
from pipecatapp.artifacts.catalogue import Catalogue, load_catalogue
from pipecatapp.artifacts.model_schema import ModelEntry
from pipecatapp.errors import AdapterError, ConfigError
from pipecatapp.planning.placement import PROMPT_TOKENS, Assignment, Placement, PlacementPlan, plan_placement
from pipecatapp.planning.profile import NodeProfile, from_meta
from pipecatapp.planning.report import programs_of
from pipecatapp.ports import MAIN_EXPERT, ClusterNode
from pipecatapp.settings import Settings, child_environment

PLAYBOOK = Path("playbooks/deploy_expert.yaml")
EXPERTS_FILE = "experts.yaml"
NOT_EXPERTS = frozenset({"fallback"})
"""Lists of language models that are no expert's."""


def lists_of(catalogue: Catalogue, *, embedded_only: bool = False) -> dict[str, tuple[ModelEntry, ...]]:
    """Return the experts with a list of language models of their own.

    Args:
        catalogue: What there is.
        embedded_only: Leave out what only the model hub has.
    """
    found = {}
    for expert, models in catalogue.experts.items():
        usable = tuple(model for model in models if not embedded_only or model.profile == "embedded")
        if expert not in NOT_EXPERTS and usable and all(model.shape is not None for model in models):
            found[expert] = usable
    return found


def experts_without_list(catalogue: Catalogue) -> tuple[str, ...]:
    """Return the experts of `experts.yaml` that have no list of models in `models.yaml`.

    Raises:
        ConfigError: The file is wrong.
    """
    path = catalogue.folder / EXPERTS_FILE
    try:
        names = list(yaml.safe_load(path.read_text(encoding="utf-8"))["experts"])
    except FileNotFoundError:
        return ()
    except (OSError, yaml.YAMLError, KeyError, TypeError) as exc:
        raise ConfigError("experts-file", f"{path} cannot be read: {exc}") from exc
    return tuple(name for name in names if name not in catalogue.experts)


def make_plan(
    settings: Settings, profiles: Sequence[NodeProfile], *, embedded_only: bool = False
) -> PlacementPlan:
    """Return the proposal for these nodes.

    Raises:
        ConfigError: The catalogue is wrong, or a node measured another model than the catalogue's.
    """
    catalogue = load_catalogue(settings.catalogue_dir)
    other = [profile.node for profile in profiles if profile.model != SMALL_MODEL]
    if other:
        raise ConfigError(
            "other-model",
            f"{', '.join(other)} measured another model than {SMALL_MODEL}.",
            hint="Measure anew there: twin node profile --force",
        )
    lists = lists_of(catalogue, embedded_only=embedded_only)
    return plan_placement(profiles, lists, catalogue.model(SMALL_MODEL))


@dataclass(frozen=True, slots=True)
class Published:
    """What a cluster's nodes published of themselves.

    Args:
        profiles: Of those that a plan may use, by name.
        left_out: The other nodes by name, and why each is left out, in words that follow the name.
    """

    profiles: tuple[NodeProfile, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


async def published_profiles(settings: Settings) -> Published:
    """Return what the cluster's nodes published of themselves.

    Raises:
        AdapterError: Nomad cannot be asked.
        ConfigError: No node that takes work published a profile, or one is wrong.
    """
    nomad = nomad_of(settings)
    profiles, left_out = [], {}
    try:
        for node in await nomad.nodes():
            why = _exclusion_reason(node)
            profile = None if why else from_meta(node.name, await nomad.node_meta(node.id))
            if profile is not None:
                profiles.append(profile)
            else:
                left_out[node.name] = why or "has published no profile; there: twin node profile --publish"
    finally:
        await nomad.close()
    # A machine that was set up anew is known a second time, as the one that is gone.
    left_out = {name: why for name, why in left_out.items() if name not in {one.node for one in profiles}}
    if not profiles:
        reasons = "; ".join(f"{name} {why}" for name, why in left_out.items())
        raise ConfigError(
            "no-profiles",
            f"No node of the cluster has published a profile and takes work ({reasons or 'there is none'}).",
            hint="ansible-playbook playbooks/measure.yaml measures them all; or: twin plan --profiles FOLDER",
        )
    return Published(tuple(profiles), left_out)


def _exclusion_reason(node: ClusterNode) -> str:
    """Return why nothing can be placed on a node, "" when it takes work."""
    if node.status != "ready":
        return f"is {node.status}"
    return "" if node.is_eligible else "takes no work: it is drained, or was made ineligible"


async def publish(settings: Settings, profile: NodeProfile) -> bool:
    """Publish a profile as metadata of its node in Nomad; return whether anything changed.

    Raises:
        AdapterError: Nomad cannot be asked or refuses, or has no such node.
    """
    nomad = nomad_of(settings)
    try:
        nodes = {node.name: node.id for node in await nomad.nodes()}
        if profile.node not in nodes:
            known = ", ".join(nodes) or "none"
            raise AdapterError("unknown-node", f"Nomad knows no node '{profile.node}'; known: {known}.")
        wanted = profile.to_meta()
        there = await nomad.node_meta(nodes[profile.node])
        if all(there.get(key) == value for key, value in wanted.items()):
            return False
        await nomad.set_node_meta(nodes[profile.node], wanted)
        return True
    finally:
        await nomad.close()


def deploy_command(assignment: Assignment) -> list[str] | None:
    """Return the command that deploys an expert as proposed, None for one that is not deployed."""
    if assignment.placement is None:
        return None
    names = json.dumps(list(assignment.models))
    values = {
        "job_name": "llama-expert" if assignment.expert == MAIN_EXPERT else f"{assignment.expert}-expert",
        "service_name": f"llama-api-{assignment.expert}",
        "namespace": "default",
        # Better models of the list are left out: they fit nowhere, or are too slow here.
        "model_list": f'{{{{ {assignment.expert}_models | selectattr("name", "in", {names}) | list }}}}',
        "worker_count": len(assignment.placement.workers),
        "expert_server_nodes": [assignment.placement.server],
        "expert_worker_nodes": list(assignment.placement.workers),
    }
    return ["ansible-playbook", str(PLAYBOOK), "-e", json.dumps(values)]


def deploy_commands(plan: PlacementPlan) -> list[list[str]]:
    """Return the commands that bring a plan about, in order."""
    return [command for assignment in plan.experts if (command := deploy_command(assignment)) is not None]


def apply(settings: Settings, commands: Sequence[Sequence[str]]) -> None:
    """Run the commands, one after the other, where the playbooks are.

    Raises:
        ConfigError: The playbook or Ansible is not here.
        AdapterError: One failed; those after it were not begun.
    """
    folder = settings.catalogue_dir.resolve().parent
    if not (folder / PLAYBOOK).is_file():
        raise ConfigError(
            "no-playbook", f"{folder / PLAYBOOK} is not here.", hint="Run it in a clone of the repository."
        )
    if shutil.which("ansible-playbook") is None:
        raise ConfigError(
            "no-ansible",
            "ansible-playbook is not on PATH.",
            hint="Run it where ./bootstrap.sh ran, or: pip install 'twin[cluster]'",
        )
    for command in commands:
        done = subprocess.run(list(command), cwd=folder, env=child_environment(), check=False)
        if done.returncode:
            raise AdapterError(
                "deploy-failed",
                f"{' '.join(command[:2])} ended with exit code {done.returncode}; what it printed says why.",
                hint="What was deployed before it stays; the rest was not begun.",
            )


def to_json(plan: PlacementPlan, left_out: Mapping[str, str]) -> dict[str, Any]:
    """Return the plan for programs.

    Args:
        plan: The proposal.
        left_out: The nodes that it does without, and why.
    """
    taken, programs = plan.taken_mb(), programs_of(plan)
    return {
        "nodes": [
            {"node": node.node, "taken_mb": taken[node.node], "programs": list(programs[node.node])}
            for node in plan.nodes
        ],
        "left_out": [{"node": node, "why": why} for node, why in left_out.items()],
        "experts": [_assignment_json(assignment) for assignment in plan.experts],
        "one_more_stick": [
            {
                "node": benefit.node,
                "experts": [_assignment_json(assignment) for assignment in benefit.changes],
            }
            for benefit in plan.benefits
        ],
        "commands": deploy_commands(plan),
    }


def _assignment_json(assignment: Assignment) -> dict[str, Any]:
    return {
        "expert": assignment.expert,
        "runs": _placement_json(assignment.placement),
        "reason": assignment.reason,
        "split_instead": _placement_json(assignment.other_way),
        "passed": [{"model": name, "why": why} for name, why in assignment.passed],
    }


def _placement_json(placement: Placement | None) -> Mapping[str, Any] | None:
    if placement is None:
        return None
    return {
        "model": placement.model.name,
        "server": placement.server,
        "workers": list(placement.workers),
        "memory_mb": placement.takes_mb(),
        "first_word_s": round(placement.speed.first_word_s(PROMPT_TOKENS), 2),
        "prefill_tokens_s": round(placement.speed.prefill_tokens_s, 1),
        "decode_tokens_s": round(placement.speed.decode_tokens_s, 1),
    }
