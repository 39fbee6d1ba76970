"""Continues a partial reply on another server, with fallbacks for servers that cannot.

It owns what such a server is asked, and finding in its text what is new; which server needs that is
`openai_chat`'s business.
"""

from __future__ import annotations

from dataclasses import replace

from pipecatapp.ports import ChatRequest, Message

GO_ON = (
    "Your answer broke off after the words above. Write what comes next, from the very next word on. "
    "Repeat nothing of it, and say nothing about it."
)


def partial_answer(request: ChatRequest) -> str:
    """Return what was said of the answer already, or ""."""
    last = request.messages[-1] if request.messages else None
    return last.content if last is not None and last.role == "assistant" else ""


def continuation_prompt(request: ChatRequest) -> ChatRequest:
    """Return a request that asks for the rest in words."""
    return replace(request, messages=(*request.messages, Message("user", GO_ON)))


def restart_request(request: ChatRequest) -> ChatRequest:
    """Return a request for the whole answer; its bound holds it, because a token has a character or more."""
    max_tokens = request.max_tokens + len(partial_answer(request))
    return replace(request, messages=request.messages[:-1], max_tokens=max_tokens)


class OverlapTrimmer:
    """Takes out of a text what was said before.

    Args:
        said: What was said, not empty.
        least: Fewest characters that count as a repetition; `len(said)` for nothing but the whole of it.
        is_spaced: The new text begins with a word, not in the middle of one.
    """

    def __init__(self, said: str, *, least: int, is_spaced: bool) -> None:
        self._said = said
        self._least = least
        self._is_spaced = is_spaced
        self._held = ""
        self._is_over = False

    def feed(self, text: str) -> str:
        """Return what is new once that is sure; until then nothing."""
        if self._is_over:
            return text
        self._held += text
        begin = self._held.lstrip()
        for length in range(max(self._least, len(begin)), len(self._said) + 1):
            if self._said[-length:].startswith(begin):
                return ""
        return self.end()

    def end(self) -> str:
        """Return what is new of a text that ended, or goes on with new words."""
        if self._is_over:
            return ""
        self._is_over = True
        begin = self._held.lstrip()
        for length in range(min(len(self._said), len(begin)), self._least - 1, -1):
            is_word = length == len(self._said) or not self._said[-length - 1].isalnum()
            if is_word and self._said.endswith(begin[:length]):
                return begin[length:]
        is_glued = self._said[-1].isalnum() and self._held[:1].isalnum()
        return f" {self._held}" if self._is_spaced and is_glued else self._held


class PrefixStripper:
    """Takes the beginning that was said out of an answer that is given anew.

    Args:
        said: What was said.
    """

    def __init__(self, said: str) -> None:
        self._left = said

    def feed(self, text: str) -> str | None:
        """Return what is new; None when the answer is another one than before."""
        both = min(len(self._left), len(text))
        if text[:both] != self._left[:both]:
            return None
        self._left = self._left[both:]
        return text[both:]
