"""The LLM stage: a turn of the session, as a pipecat LLM service.

It owns how a turn of the agent follows pipecat's frames (begun in advance, confirmed, withdrawn,
interrupted, spoken to its end); what is answered is the agent's.
"""

from __future__ import annotations

import asyncio

from pipecat.frames.frames import (
    EagerEndOfTurnCancelFrame,
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings

from pipecatapp.agent.turn import Turn
from pipecatapp.errors import AgentError
from pipecatapp.speech.spoken_text import SpokenText
from pipecatapp.voice.call_context import CallContext
from pipecatapp.voice.clause_aggregator import ClauseAggregator
from pipecatapp.voice.tts_stage import PreparedSpeech

CUT_EARLY_S = 2.0
"""A user who goes on within this time of the turn's end, unanswered, was cut off in mid-thought (seconds)."""
PREPARED_CLAUSES = 2
"""Pieces of a speculative answer that are made into sound before the turn is confirmed."""


class LlmStage(LLMService):
    """Pipecat's LLM stage over our session.

    Args:
        context: The call's shared state.
        prepared: Where sound is made in advance.
        spoken_text: Knows what is said as one and must not be cut.
    """

    def __init__(self, context: CallContext, prepared: PreparedSpeech, spoken_text: SpokenText) -> None:
        super().__init__(
            settings=LLMSettings(
                model="twin",
                system_instruction=None,
                temperature=None,
                max_tokens=None,
                top_p=None,
                top_k=None,
                frequency_penalty=None,
                presence_penalty=None,
                seed=None,
                filter_incomplete_user_turns=False,
                user_turn_completion_config=None,
            )
        )
        self._context = context
        self._prepared = prepared
        self._spoken_text = spoken_text
        self._turn: Turn | None = None
        self._confirmed_s = 0.0
        self._cut_off = ""

    def can_generate_metrics(self) -> bool:
        """Return True: pipecat measures the time to the first token."""
        return True

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer contexts; confirm or withdraw the answer under way as the turn goes."""
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMContextFrame):
            await self._answer(frame.context)
            return
        if isinstance(frame, UserStoppedSpeakingFrame):
            self._confirm()
        elif isinstance(frame, EagerEndOfTurnCancelFrame):
            await self._withdraw()
        await self.push_frame(frame, direction)

    async def finish_turn(self, text: str, *, interrupted: bool) -> None:
        """End the turn under way.

        Args:
            text: The pieces that were sent whole.
            interrupted: Whether the answer was cut; then the words of the piece that was cut are added.
        """
        turn, self._turn = self._turn, None
        self._prepared.clear()
        if interrupted:
            text = f"{text} {self._context.playout.partial_text()}".strip()
        self._context.playout.clear()
        if turn is None:
            return
        if turn.is_confirmed:
            self._context.turn = None
            gap_s = self._context.clock.monotonic_s() - self._confirmed_s
            self._cut_off = turn.text if interrupted and not text and gap_s < CUT_EARLY_S else ""
            # Pieces carry their own spaces, and pipecat joins them with one more.
            await turn.finish(" ".join(text.split()), interrupted=interrupted)
        else:
            self._turn = turn

    async def _answer(self, llm_context: LLMContext) -> None:
        await self._leave_previous()
        speculative = self._speculation_gate.is_speculating
        try:
            text = f"{self._cut_off} {_newest(llm_context)}".strip()
            turn = self._context.session.begin_turn(text, "voice", speculative=speculative)
        except AgentError as exc:
            self._context.report(exc)
            return
        self._turn = turn
        if not speculative:
            self._turn_begins(turn)
        await self.push_frame(LLMFullResponseStartFrame())
        await self.start_processing_metrics()
        await self.start_ttfb_metrics()
        try:
            await self._stream(turn)
        except asyncio.CancelledError:
            await self._withdraw()
            raise
        except AgentError as exc:
            self._context.report(exc)
        finally:
            await self.stop_processing_metrics()
            await self.push_frame(LLMFullResponseEndFrame())

    async def _stream(self, turn: Turn) -> None:
        aggregator = ClauseAggregator(self._spoken_text.is_cut_by)
        count = 0

        async def give(pieces: list[str]) -> None:
            nonlocal count
            for piece in pieces:
                self._context.trace.mark("first_clause")
                if not turn.is_confirmed and count < PREPARED_CLAUSES:
                    self._prepared.prepare(piece)
                count += 1
                await self._push_llm_text(piece)

        async for delta in turn.deltas():
            self._context.trace.mark("llm_first_token")
            await self.stop_ttfb_metrics()
            await give(aggregator.feed(delta))
        await give(aggregator.flush())

    def _confirm(self) -> None:
        self._context.trace.mark("turn_end")
        if self._turn is not None and not self._turn.is_confirmed:
            self._turn.confirm()
            self._turn_begins(self._turn)

    def _turn_begins(self, turn: Turn) -> None:
        self._confirmed_s = self._context.clock.monotonic_s()
        self._cut_off = ""
        self._context.turn = turn
        self._context.turn_over()

    async def _withdraw(self) -> None:
        if self._turn is not None and not self._turn.is_confirmed:
            turn, self._turn = self._turn, None
            self._context.trace.withdraw_answer()
            self._prepared.clear()
            await turn.discard()

    async def _leave_previous(self) -> None:
        """Settle a turn that nothing else settled: withdrawn, or interrupted before a sound."""
        await self._withdraw()
        if self._turn is not None:
            await self.finish_turn("", interrupted=True)


def _newest(llm_context: LLMContext) -> str:
    """Return what the user said last."""
    for message in reversed(llm_context.get_messages()):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            return content if isinstance(content, str) else ""
    return ""
