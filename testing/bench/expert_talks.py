"""The talks by which experts are measured.

It owns what is said and which figures a talk tells; whom it is held with is `experts`'.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Any

from pipecatapp.adapters.http.stream_client import HttpConnectionPool
from pipecatapp.workflow.loader import shipped_prompts
from testing.bench.asking import Run, Side, ask, chat
from testing.bench.expert_figures import Samples

STORY = (
    "On a windy morning in March a woman walks down to the harbour with a basket of bread. The boats are "
    "still out, and the gulls sit in a row on the wall. She puts the basket down, counts the empty moorings, "
    "and finds that one more boat is missing than the keeper of the light has written down. She asks him, "
    "and he shows her a lamp far out on the water, which goes on and off, slowly, three times. Then both "
    "of them run to the bell."
)
QUESTIONS = (
    f"{STORY} Tell me in a few sentences what happens here.",
    "What will happen when they have rung the bell? Tell it in a few sentences.",
    "How does the story end for the missing boat? Tell that, too, in a few sentences.",
)
"""A talk: about 170 tokens that no cache has, then two questions to which most of the prompt is known."""


async def talk(servers: HttpConnectionPool, side: Side, questions: int, body: dict[str, Any]) -> list[Run]:
    """Hold a talk that no cache knows; return its answers.

    Args:
        servers: Connections.
        side: Whom to ask.
        questions: How many of `QUESTIONS`.
        body: What `chat` takes beside the conversation, `tokens` among it.
    """
    # What differs from every other talk comes first: a cache is of use up to there.
    opening = f"Talk {secrets.randbelow(10**6):06}. {shipped_prompts().get('assistant_system')}"
    messages, runs = [{"role": "system", "content": opening}], []
    for question in QUESTIONS[:questions]:
        messages.append({"role": "user", "content": question})
        runs.append(await ask(servers, side, chat(messages, **body)))
        messages.append({"role": "assistant", "content": runs[-1].text})
    return runs


def samples_of(runs: Sequence[Run]) -> Samples:
    """Return what one talk tells: of its first answer, which nothing was ready for, and of the others."""
    first, *others = runs
    return {
        "first_cold_s": [first.first_s],
        "first_warm_s": [run.first_s for run in others],
        "reads_per_s": [first.reads_per_s],
        "writes_per_s": [run.tokens_per_s for run in runs],
    }


async def ask_together(servers: HttpConnectionPool, side: Side, count: int, body: dict[str, Any]) -> Samples:
    """Begin so many talks at the same time; return what all together write, and each one's first token."""
    began_s = time.perf_counter()
    talks = await asyncio.gather(*(talk(servers, side, 1, body) for _ in range(count)))
    elapsed_s = time.perf_counter() - began_s
    runs = [run for runs in talks for run in runs]
    return {
        f"at_once_{count}_per_s": [sum(run.tokens for run in runs) / elapsed_s],
        f"at_once_{count}_first_s": [run.first_s for run in runs],
    }
