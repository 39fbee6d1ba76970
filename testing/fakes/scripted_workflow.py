"""A workflow that answers by a script.

It owns what is yielded and when: a step may wait for the test, or fail. It stands where
`WorkflowRunner.run` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from pipecatapp.events import Event
from pipecatapp.workflow.run_events import EventRaised, RunEvent, RunFinished, TextPiece
from pipecatapp.workflow.services import RunContext

Step = str | Event | asyncio.Event | Exception | Callable[[], object]


class ScriptedWorkflow:
    """Answers every turn by the same steps, or the n-th turn by the n-th script.

    A text is a piece of the answer, an event is raised, an `asyncio.Event` is waited for, an exception is
    raised, "confirmed" in angle brackets waits for the turn, and anything callable is called.

    Args:
        scripts: One list of steps a turn; the last one is used for ever.
    """

    CONFIRMED = "<confirmed>"

    def __init__(self, *scripts: Sequence[Step]) -> None:
        self._scripts = scripts or (["Hello."],)
        self.inputs: list[Mapping[str, Any]] = []
        self.contexts: list[RunContext] = []
        self.ended = 0
        """Runs that ended, by themselves or because nobody wanted the rest."""

    async def __call__(self, inputs: Mapping[str, object], context: RunContext) -> AsyncIterator[RunEvent]:
        self.inputs.append(inputs)
        self.contexts.append(context)
        script = self._scripts[min(len(self.inputs), len(self._scripts)) - 1]
        pieces: list[str] = []
        try:
            for step in script:
                if step == self.CONFIRMED:
                    await context.confirmed.wait()
                elif isinstance(step, str):
                    pieces.append(step)
                    yield TextPiece(step)
                elif isinstance(step, Event):
                    yield EventRaised(step)
                elif isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    step()
            yield RunFinished({}, "".join(pieces))
        finally:
            self.ended += 1
