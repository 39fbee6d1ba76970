"""Chat models: requests, streamed replies, and the experts that are known by name.

Not here: how a model is reached (`adapters/llm`), and which of several replies (`experts`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

MAIN_EXPERT = "main"
"""The expert that answers when nobody better is asked."""
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A prompt and how to answer it.

    Args:
        messages: From the system prompt to the newest user message. When the assistant's is the last, the
            answer goes on from its text, and only what comes after it is yielded.
        max_tokens: Bound of the answer, > 0.
        temperature: 0 is greedy.
        json_schema: The answer must be JSON of this schema.
        grammar: The answer must match this GBNF; not together with `json_schema`.
        stop: Texts that end the answer.
        slot: Which prompt cache of the server to use, or -1 for any.
        session: The conversation that it belongs to, so that it finds its prompt cache warm; "" for none.
        deadline_s: For the whole answer, from asking to its last piece (seconds); 0 for the client's own
            limit.
    """

    messages: tuple[Message, ...]
    max_tokens: int = 160
    temperature: float = 0.0
    json_schema: Mapping[str, Any] | None = None
    grammar: str | None = None
    stop: tuple[str, ...] = ()
    slot: int = -1
    session: str = ""
    deadline_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatDelta:
    """A piece of an answer.

    Args:
        text: What is added.
        finish: "" until the last one, then stop, length or error.
        prompt_tokens: Of the whole prompt, in the last piece.
        cached_tokens: How many of them were in the prompt cache, in the last piece.
        completion_tokens: Of the whole answer, in the last piece.
        source: Backend that produced this piece, where the client has several; "" for the client itself.
        fallback_reason: Why it is not the one asked first, for people; "" when it is.
    """

    text: str
    finish: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    source: str = ""
    fallback_reason: str = ""


@runtime_checkable
class LlmClient(Protocol):
    """A chat model."""

    @property
    def name(self) -> str:
        """What answers, in words a person knows."""
        ...

    def stream(self, request: ChatRequest) -> AsyncIterator[ChatDelta]:
        """Yield the answer piece by piece; closing the iterator stops the work.

        Raises:
            AdapterError: The model cannot be reached, refused, or broke off.
        """
        ...

    async def prefill(self, request: ChatRequest) -> None:
        """Warm the prompt cache with `request`, which need not be complete. Never raises AdapterError."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@runtime_checkable
class ExpertClients(Protocol):
    """The chat models of the house by name."""

    def client(self, expert: str) -> LlmClient:
        """Return the client of an expert, such as `main`; `main` answers for one that nobody knows."""
        ...


@dataclass(frozen=True, slots=True)
class Expert:
    """A chat model that the house knows by name.

    Args:
        name: Such as `math`.
        description: What it is good at, in a sentence or two; "" when nobody says.
        examples: Requests that are for it.
        is_up: Whether it can be asked now.
    """

    name: str
    description: str = ""
    examples: tuple[str, ...] = ()
    is_up: bool = True


@runtime_checkable
class Experts(ExpertClients, Protocol):
    """Who there is to answer, and their clients. Who there is, is answered without IO."""

    def all(self) -> Sequence[Expert]:
        """Return every expert, up or not, in a stable order; `main` is always there, first and up."""
        ...
