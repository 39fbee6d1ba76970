"""Fallback replies: what the agent says when it cannot answer.

It owns the sentences. They are constants because they must be there when everything else is not.
"""

from __future__ import annotations

from pipecatapp.errors import AdapterError, AgentError

NO_ANSWER = "Sorry, I have no answer to that."
"""The workflow ended without a word."""
TOO_SLOW = "Sorry, that took me too long. Please ask me again."
"""A part did not answer in time."""
PART_MISSING = "Sorry, a part of me is not answering right now. Please try again in a moment."
"""The language model, or another engine, cannot be reached."""
WENT_WRONG = "Sorry, something went wrong on my side. Please try again."
"""Anything else."""
FALLBACK_REPLIES = (NO_ANSWER, TOO_SLOW, PART_MISSING, WENT_WRONG)
"""All of them."""


def without_fallback_reply(answer: str) -> str:
    """Return what was said before the fallback reply that ends an answer; all of it when none does.

    A prompt that shows a small model its own apologies makes it apologise again.
    """
    for reply in FALLBACK_REPLIES:
        if answer.rstrip().endswith(reply):
            return answer.rstrip().removesuffix(reply).rstrip()
    return answer


def fallback_reply_for(error: BaseException) -> str:
    """Return the sentence that tells a listener why there is no answer."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__
    codes = [cause.code for cause in causes if isinstance(cause, AgentError)]
    if any("timeout" in code or "timed-out" in code for code in codes):
        return TOO_SLOW
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return TOO_SLOW
    if any(isinstance(cause, AdapterError) for cause in causes):
        return PART_MISSING
    return WENT_WRONG
