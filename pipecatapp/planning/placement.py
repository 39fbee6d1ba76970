"""Placement of experts on nodes, proposed from profiles and lists of models.

It owns the choice; speeds are `planning.speed`'s, how it is told `planning.report`'s. What deploying will
reckon (role expert, `expert_order.py`) is reckoned here in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipecatapp.artifacts.model_schema import ModelEntry, ModelShape
from pipecatapp.experts.model_fit import HEAD_NODE_FRACTION, SPLIT_MARGIN, SpeedFloor
from pipecatapp.planning.profile import NodeProfile
from pipecatapp.planning.speed import Expected, expected_alone, expected_split
from pipecatapp.ports import MAIN_EXPERT

NODE_SHARE = 0.75
"""Part of a node's memory that experts may take; the system and the agent have the rest (role expert)."""
HOST_MB = 160
"""What the program beside an expert's server takes (mebibytes; role expert)."""
STICK_MB = 4096
"""The memory that is thought of adding to a node (mebibytes): the largest stick of DDR2 and a common one of
later kinds."""
PROMPT_TOKENS = SpeedFloor().prompt_tokens
"""Prompt that the first word is reckoned for, all of it new to the server."""


@dataclass(frozen=True, slots=True)
class SpeedTarget:
    """How slow an expert may be that people listen to.

    Args:
        decode_tokens_s: Least speed of an answer (tokens a second).
        first_word_s: Longest wait for its first word (seconds).
    """

    decode_tokens_s: float
    first_word_s: float

    def allows(self, speed: Expected) -> bool:
        """Whether people listen to it."""
        return (
            speed.decode_tokens_s >= self.decode_tokens_s
            and speed.first_word_s(PROMPT_TOKENS) <= self.first_word_s
        )


TALK = SpeedTarget(4.0, 6.0)
"""In conversation: people speak 150 words a minute, which are 3.3 tokens a second, and after a silence of
more than a few seconds they ask again."""
EXPERTISE = SpeedTarget(3.0, 15.0)
"""Of an expert that is asked for something special: what the role expert takes for too slow."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A way to run a model.

    Args:
        model: Which.
        server: Node of the expert's server.
        workers: Nodes that lend memory; none when it runs in one piece.
        speed: What is expected.
    """

    model: ModelEntry
    server: str
    workers: tuple[str, ...]
    speed: Expected

    @property
    def is_split(self) -> bool:
        """Whether it is split over workers."""
        return bool(self.workers)

    def takes_mb(self) -> dict[str, int]:
        """Return the memory that it takes of each node (mebibytes)."""
        if not self.workers:
            return {self.server: self.model.memory_mb + HOST_MB}
        lent = math.ceil(self.model.memory_mb * SPLIT_MARGIN / len(self.workers))
        taken = dict.fromkeys(self.workers, lent)
        here = math.ceil(self.model.memory_mb * HEAD_NODE_FRACTION) + HOST_MB
        taken[self.server] = taken.get(self.server, 0) + here
        return taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What is proposed for one expert.

    Args:
        expert: Its name.
        placement: How it would run; None when it would not.
        rank: Place of the model in the expert's list, from 0.
        reason: Why it would not run, or what is to be known; "" for nothing.
        other_way: The same model split, or in one piece, for comparison; None where there is no other way.
        passed: Better models of its list and why each is not proposed.
        models: What it may serve: the proposed model, and those after it in its list.
    """

    expert: str
    placement: Placement | None
    rank: int = 0
    reason: str = ""
    other_way: Placement | None = None
    passed: tuple[tuple[str, str], ...] = ()
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UpgradeBenefit:
    """What one more stick of memory would change.

    Args:
        node: Where it would be put.
        changes: Expert and how it would run then.
    """

    node: str
    changes: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class PlacementPlan:
    """A proposal.

    Args:
        nodes: The profiles, by name.
        experts: What is proposed for each, in the order in which they chose.
        benefits: What one more stick of memory would change, node by node; nodes where it changes nothing are
            left out.
    """

    nodes: tuple[NodeProfile, ...]
    experts: tuple[Assignment, ...]
    benefits: tuple[UpgradeBenefit, ...] = ()

    def taken_mb(self) -> dict[str, int]:
        """Return what all experts together take of each node (mebibytes)."""
        total = {node.node: 0 for node in self.nodes}
        for assignment in self.experts:
            for node, memory in assignment.placement.takes_mb().items() if assignment.placement else ():
                total[node] += memory
        return total


def available_mb_of(node: NodeProfile) -> int:
    """Return the memory of a node that experts may take (mebibytes)."""
    return int(node.memory_mb * NODE_SHARE)


def plan_placement(
    nodes: Sequence[NodeProfile], lists: Mapping[str, Sequence[ModelEntry]], small: ModelEntry
) -> PlacementPlan:
    """Return the proposal for a cluster, with what one more stick of memory in each node would change.

    Args:
        nodes: Their profiles, at least one.
        lists: Models of each expert in order of preference, each with a shape.
        small: The model that the nodes measured.
    """
    plan = _Planner(nodes, lists, _shape(small)).plan()
    benefits = []
    for index, node in enumerate(nodes):
        more = [*nodes]
        more[index] = node.model_copy(
            update={"memory_mb": node.memory_mb + STICK_MB, "available_mb": node.available_mb + STICK_MB}
        )
        changes = _better(plan, _Planner(more, lists, _shape(small)).plan())
        if changes:
            benefits.append(UpgradeBenefit(node.node, changes))
    return replace(plan, benefits=tuple(benefits))


def _better(plan: PlacementPlan, other: PlacementPlan) -> tuple[Assignment, ...]:
    """Return the experts that do better in `other`: a better model, one at all, or the same unsplit."""
    before = {assignment.expert: assignment for assignment in plan.experts}
    found = []
    for assignment in other.experts:
        old = before[assignment.expert]
        if assignment.placement is None:
            continue
        is_new = old.placement is None or assignment.rank < old.rank
        is_whole = (
            old.placement is not None
            and assignment.rank == old.rank
            and old.placement.is_split
            and not assignment.placement.is_split
        )
        if is_new or is_whole:
            found.append(assignment)
    return tuple(found)


def _shape(model: ModelEntry) -> ModelShape:
    if model.shape is None:
        raise ValueError(f"{model.name} has no shape")
    return model.shape


class _Planner:
    """Places the experts one after the other, the conversation's own first."""

    def __init__(
        self, nodes: Sequence[NodeProfile], lists: Mapping[str, Sequence[ModelEntry]], small: ModelShape
    ) -> None:
        self._nodes = {node.node: node for node in sorted(nodes, key=lambda node: node.node)}
        self._lists = lists
        self._small = small
        self._free = {name: available_mb_of(node) for name, node in self._nodes.items()}
        self._busy: set[str] = set()
        self._main: Placement | None = None

    def plan(self) -> PlacementPlan:
        order = sorted(self._lists, key=lambda expert: expert != MAIN_EXPERT)
        return PlacementPlan(tuple(self._nodes.values()), tuple(self._place(expert) for expert in order))

    def _place(self, expert: str) -> Assignment:
        target = TALK if expert == MAIN_EXPERT else EXPERTISE
        passed: list[tuple[str, str]] = []
        chosen: tuple[int, Placement] | None = None
        slow: tuple[int, Placement] | None = None
        for rank, model in enumerate(self._lists[expert]):
            placement = self._best_placement(model, target)
            if placement is None:
                passed.append((model.name, self._rejection_reason(model)))
            elif target.allows(placement.speed):
                chosen = rank, placement
                break
            else:
                passed.append((model.name, _describe_slow(placement, target)))
                if slow is None or placement.speed.decode_tokens_s > slow[1].speed.decode_tokens_s:
                    slow = rank, placement
        reason = ""
        if chosen is None and slow is not None and expert == MAIN_EXPERT:
            chosen = slow
            reason = f"{_describe_slow(slow[1], target)}; nothing quicker is there"
        if chosen is None:
            return Assignment(
                expert=expert,
                placement=None,
                rank=len(self._lists[expert]),
                reason=self._no_placement_reason(expert),
                other_way=None,
                passed=tuple(passed),
            )
        rank, placement = chosen
        if self._main is not None and placement.model.name == self._main.model.name:
            reason = f"{MAIN_EXPERT} runs the same model, so {MAIN_EXPERT} answers"
            return Assignment(
                expert=expert,
                placement=None,
                rank=len(self._lists[expert]),
                reason=reason,
                other_way=None,
                passed=tuple(passed),
            )
        other_way = self._other_way(placement, target)
        better = [entry for entry in passed if entry[0] != placement.model.name]
        if shared := self._busy & set(placement.takes_mb()):
            reason = reason or f"it shares the cores of {', '.join(sorted(shared))} with another expert"
        self._take(expert, placement)
        models = tuple(model.name for model in self._lists[expert][rank:])
        return Assignment(
            expert=expert,
            placement=placement,
            rank=rank,
            reason=reason,
            other_way=other_way,
            passed=tuple(better),
            models=models,
        )

    def _no_placement_reason(self, expert: str) -> str:
        if expert == MAIN_EXPERT:
            return "no model fits in any node; the agent does without one"
        return f"none of its models fits and is quick enough, so {MAIN_EXPERT} answers"

    def _take(self, expert: str, placement: Placement) -> None:
        for node, memory in placement.takes_mb().items():
            self._free[node] -= memory
            self._busy.add(node)
        if expert == MAIN_EXPERT:
            self._main = placement

    def _best_placement(self, model: ModelEntry, target: SpeedTarget) -> Placement | None:
        """Return the best way to run a model now: in one piece where that will do, else split."""
        ways = [way for way in (self._alone(model, target), self._split(model)) if way is not None]
        return next((way for way in ways if target.allows(way.speed)), ways[0] if ways else None)

    def _alone(self, model: ModelEntry, target: SpeedTarget) -> Placement | None:
        options = [
            Placement(model, name, (), expected_alone(_shape(model), self._small, node))
            for name, node in self._nodes.items()
            if self._runs(model, node) and model.memory_mb + HOST_MB <= self._free[name]
        ]

        def goodness(placement: Placement) -> tuple[bool, bool, float]:
            # Of nodes that are quick enough, one with nobody on it goes before a quicker one that is shared.
            is_free = placement.server not in self._busy
            return target.allows(placement.speed), is_free, placement.speed.decode_tokens_s

        return max(options, key=goodness, default=None)

    def _split(self, model: ModelEntry, always: str = "") -> Placement | None:
        """Return the way to run a model over workers now, `always` being one of them."""
        able = [name for name, node in self._nodes.items() if self._runs(model, node)]
        # As few workers as will do: each makes every token slower.
        for count in range(2, len(able) + 1):
            workers = sorted(able, key=lambda name: (name != always, -self._free[name], name))[:count]
            speed = expected_split(_shape(model), self._small, [self._nodes[name] for name in workers])
            for server in sorted(able, key=lambda name: (name in workers, -self._free[name], name)):
                placement = Placement(model, server, tuple(sorted(workers)), speed)
                if all(memory <= self._free[node] for node, memory in placement.takes_mb().items()):
                    return placement
        return None

    def _other_way(self, placement: Placement, target: SpeedTarget) -> Placement | None:
        """Return what a model would come to in one piece, if it is split, and split, if it is not."""
        if placement.is_split:
            return self._alone(placement.model, target)
        return self._split(placement.model, placement.server)

    @staticmethod
    def _runs(model: ModelEntry, node: NodeProfile) -> bool:
        return set(model.requires_cpu) <= set(node.cpu_flags)

    def _rejection_reason(self, model: ModelEntry) -> str:
        able = [node for node in self._nodes.values() if self._runs(model, node)]
        if not able:
            return f"no node has {', '.join(model.requires_cpu)}"
        most = max(self._free[node.node] for node in able)
        who = "the node that can run it" if len(able) == 1 else "any node, or split over them"
        return f"it takes {model.memory_mb} MB, which {who} has not free ({max(0, most)} MB at most)"


def _describe_slow(placement: Placement, target: SpeedTarget) -> str:
    speed = placement.speed
    if speed.decode_tokens_s < target.decode_tokens_s:
        return f"{speed.decode_tokens_s:.1f} tokens/s, and {target.decode_tokens_s:g} are wanted"
    wait_s = speed.first_word_s(PROMPT_TOKENS)
    return f"{wait_s:.1f} s to the first word, and {target.first_word_s:g} are the most"
