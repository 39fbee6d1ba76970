"""A placement plan in plain words.

It owns the sentences; what they say is `planning.placement`'s.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipecatapp.planning.placement import (
    PROMPT_TOKENS,
    STICK_MB,
    Assignment,
    Placement,
    PlacementPlan,
    available_mb_of,
)
from pipecatapp.planning.profile import NodeProfile, expert_threads
from pipecatapp.planning.speed import code_path
from pipecatapp.ports import MAIN_EXPERT

CODE_PATHS = {
    "x64": "no AVX: llama.cpp's code for old CPUs",
    "avx": "AVX",
    "avx2": "AVX2",
    "avx512": "AVX-512",
}


def format_plan(plan: PlacementPlan) -> Iterator[str]:
    """Return the plan, line by line."""
    yield from _nodes(plan)
    yield ""
    yield "Who answers:"
    for assignment in plan.experts:
        yield from _expert(assignment)
    yield ""
    yield "Splitting:"
    yield from _splitting(plan)
    yield ""
    yield f"One more stick of memory ({STICK_MB // 1024} GB):"
    yield from _gains(plan)


def _nodes(plan: PlacementPlan) -> Iterator[str]:
    taken = plan.taken_mb()
    yield "Nodes:"
    for node in plan.nodes:
        yield f"  {node.node}: {node.cpu_model}, {_count(node.cores, 'core')}, {node.memory_mb} MB"
        yield f"    {_abilities(node)}; experts would take {taken[node.node]} of {available_mb_of(node)} MB"
        yield f"    hears by {transcribes_by(node)}"


def _abilities(node: NodeProfile) -> str:
    speed = node.at(expert_threads(node.cores))
    return (
        f"{CODE_PATHS[code_path(node.cpu_flags)]}; {node.model} with {_count(speed.threads, 'thread')}: reads"
        f" {speed.prefill_tokens_s:.0f} and writes {speed.decode_tokens_s:.0f} tokens/s"
    )


def transcribes_by(node: NodeProfile) -> str:
    """Return the recogniser that the agent would take on a node (docs/engines.md)."""
    return "Whisper" if "sse4_1" in node.cpu_flags else "PocketSphinx, for Whisper's library needs SSE4.1"


def programs_of(plan: PlacementPlan) -> dict[str, tuple[str, ...]]:
    """Return the programs of llama.cpp that the plan would start, node by node."""
    found: dict[str, set[str]] = {node.node: set() for node in plan.nodes}
    for assignment in plan.experts:
        if assignment.placement is not None:
            found[assignment.placement.server].add("llama-server")
            for worker in assignment.placement.workers:
                found[worker].add("ggml-rpc-server")
    return {node: tuple(sorted(programs)) for node, programs in found.items()}


def _expert(assignment: Assignment) -> Iterator[str]:
    if assignment.placement is None:
        yield f"  {assignment.expert}: nobody of its own; {assignment.reason}."
    else:
        yield f"  {assignment.expert}: {_way(assignment.placement)}."
        yield f"    {_speed(assignment.placement)}."
        if assignment.reason:
            yield (
                f"    Mind that it is {assignment.reason}."
                if assignment.expert == MAIN_EXPERT
                else f"    Mind that {assignment.reason}."
            )
    for name, why in assignment.passed:
        yield f"    Not {name}: {why}."


def _way(placement: Placement) -> str:
    if placement.is_split:
        workers = _names(placement.workers)
        return f"{placement.model.name}, its server on {placement.server}, split over {workers}"
    return f"{placement.model.name} on {placement.server}"


def _speed(placement: Placement) -> str:
    speed = placement.speed
    wait_s = speed.first_word_s(PROMPT_TOKENS)
    return f"First word after {wait_s:.1f} s, then {speed.decode_tokens_s:.1f} tokens/s"


def _splitting(plan: PlacementPlan) -> Iterator[str]:
    said = False
    for assignment in plan.experts:
        placement, other = assignment.placement, assignment.other_way
        if placement is not None and placement.is_split and other is not None:
            said = True
            yield (
                f"  It helps {assignment.expert}: {other.server} alone would be slower,"
                f" {other.speed.decode_tokens_s:.1f} tokens/s; {_names(placement.workers)} together write"
                f" {placement.speed.decode_tokens_s:.1f}."
            )
        elif placement is not None and placement.is_split:
            said = True
            yield (
                f"  It helps {assignment.expert}: no node has {placement.model.memory_mb} MB free for"
                f" {placement.model.name}, and {_names(placement.workers)} have it together."
                " It buys memory, not speed."
            )
        elif placement is not None and other is not None:
            said = True
            speeds = (
                f"{placement.speed.decode_tokens_s:.1f} tokens/s on {placement.server} alone,"
                f" {other.speed.decode_tokens_s:.1f} split over {_names(other.workers)}"
            )
            if other.speed.decode_tokens_s < placement.speed.decode_tokens_s:
                yield f"  It would only slow {assignment.expert} down: {speeds}."
            else:
                yield f"  It would borrow {assignment.expert} cores that others need: {speeds}."
    if not said:
        yield "  There is nothing to split: no model that would be deployed has room on two nodes."


def _gains(plan: PlacementPlan) -> Iterator[str]:
    if not plan.benefits:
        yield "  In none of the nodes would it change who answers: memory is not what keeps them back."
    for benefit in plan.benefits:
        for assignment in benefit.changes:
            if assignment.placement is not None:
                way, speed = _way(assignment.placement), _speed(assignment.placement)
                yield f"  In {benefit.node}: {assignment.expert} would be {way}. {speed}."
    without = [
        node.node for node in plan.nodes if node.node not in {benefit.node for benefit in plan.benefits}
    ]
    if plan.benefits and without:
        yield f"  In {_names(without)}: no change."


def _names(names: tuple[str, ...] | list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
