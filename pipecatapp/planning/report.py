"""A plan in plain words.

It owns the sentences; what they say is `planning.placement`'s.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipecatapp.planning.placement import (
    PROMPT_TOKENS,
    STICK_MB,
    Option,
    Placed,
    Plan,
    room_mb,
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


def lines_of(plan: Plan) -> Iterator[str]:
    """Return the plan, line by line."""
    yield from _nodes(plan)
    yield ""
    yield "Who answers:"
    for placed in plan.experts:
        yield from _expert(placed)
    yield ""
    yield "Splitting:"
    yield from _splitting(plan)
    yield ""
    yield f"One more stick of memory ({STICK_MB // 1024} GB):"
    yield from _gains(plan)


def _nodes(plan: Plan) -> Iterator[str]:
    taken = plan.taken_mb()
    yield "Nodes:"
    for node in plan.nodes:
        yield f"  {node.node}: {node.cpu_model}, {_count(node.cores, 'core')}, {node.memory_mb} MB"
        yield f"    {_abilities(node)}; experts would take {taken[node.node]} of {room_mb(node)} MB"
        yield f"    hears by {hears_by(node)}"


def _abilities(node: NodeProfile) -> str:
    speed = node.at(expert_threads(node.cores))
    return (
        f"{CODE_PATHS[code_path(node.cpu_flags)]}; {node.model} with {_count(speed.threads, 'thread')}: reads"
        f" {speed.prefill_tokens_s:.0f} and writes {speed.decode_tokens_s:.0f} tokens/s"
    )


def hears_by(node: NodeProfile) -> str:
    """Return the recogniser that the agent would take on a node (docs/engines.md)."""
    return "Whisper" if "sse4_1" in node.cpu_flags else "PocketSphinx, for Whisper's library needs SSE4.1"


def programs_of(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return the programs of llama.cpp that the plan would start, node by node."""
    found: dict[str, set[str]] = {node.node: set() for node in plan.nodes}
    for placed in plan.experts:
        if placed.option is not None:
            found[placed.option.server].add("llama-server")
            for worker in placed.option.workers:
                found[worker].add("ggml-rpc-server")
    return {node: tuple(sorted(programs)) for node, programs in found.items()}


def _expert(placed: Placed) -> Iterator[str]:
    if placed.option is None:
        yield f"  {placed.expert}: nobody of its own; {placed.reason}."
    else:
        yield f"  {placed.expert}: {_way(placed.option)}."
        yield f"    {_speed(placed.option)}."
        if placed.reason:
            yield (
                f"    Mind that it is {placed.reason}."
                if placed.expert == MAIN_EXPERT
                else f"    Mind that {placed.reason}."
            )
    for name, why in placed.passed:
        yield f"    Not {name}: {why}."


def _way(option: Option) -> str:
    if option.is_split:
        return f"{option.model.name}, its server on {option.server}, split over {_names(option.workers)}"
    return f"{option.model.name} on {option.server}"


def _speed(option: Option) -> str:
    speed = option.speed
    wait_s = speed.first_word_s(PROMPT_TOKENS)
    return f"First word after {wait_s:.1f} s, then {speed.decode_tokens_s:.1f} tokens/s"


def _splitting(plan: Plan) -> Iterator[str]:
    said = False
    for placed in plan.experts:
        option, other = placed.option, placed.other_way
        if option is not None and option.is_split and other is not None:
            said = True
            yield (
                f"  It helps {placed.expert}: {other.server} alone would be slower,"
                f" {other.speed.decode_tokens_s:.1f} tokens/s; {_names(option.workers)} together write"
                f" {option.speed.decode_tokens_s:.1f}."
            )
        elif option is not None and option.is_split:
            said = True
            yield (
                f"  It helps {placed.expert}: no node has {option.model.memory_mb} MB free for"
                f" {option.model.name}, and {_names(option.workers)} have it together."
                " It buys memory, not speed."
            )
        elif option is not None and other is not None:
            said = True
            speeds = (
                f"{option.speed.decode_tokens_s:.1f} tokens/s on {option.server} alone,"
                f" {other.speed.decode_tokens_s:.1f} split over {_names(other.workers)}"
            )
            if other.speed.decode_tokens_s < option.speed.decode_tokens_s:
                yield f"  It would only slow {placed.expert} down: {speeds}."
            else:
                yield f"  It would borrow {placed.expert} cores that others need: {speeds}."
    if not said:
        yield "  There is nothing to split: no model that would be deployed has room on two nodes."


def _gains(plan: Plan) -> Iterator[str]:
    if not plan.gains:
        yield "  In none of the nodes would it change who answers: memory is not what keeps them back."
    for gain in plan.gains:
        for placed in gain.changes:
            if placed.option is not None:
                way = _way(placed.option)
                yield f"  In {gain.node}: {placed.expert} would be {way}. {_speed(placed.option)}."
    without = [node.node for node in plan.nodes if node.node not in {gain.node for gain in plan.gains}]
    if plan.gains and without:
        yield f"  In {_names(without)}: no change."


def _names(names: tuple[str, ...] | list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
