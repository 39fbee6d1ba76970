"""What the agent asks of the outside, as Protocols.

It owns the shapes that cross a layer: requests, answers and their units. Every port has one
conformance suite in `testing/conformance`, which its fake and its real adapters both pass.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

MAIN_EXPERT = "main"
"""The expert that answers when nobody better is asked."""
Role = Literal["system", "user", "assistant"]
Vectors = npt.NDArray[np.float32]
"""Shape (n, dimensions), rows of length 1."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class ChatDelta:
    """A piece of an answer.

    Args:
        text: What is added.
        finish: "" until the last one, then stop, length or error.
        prompt_tokens: Of the whole prompt, in the last piece.
        cached_tokens: How many of them were in the prompt cache, in the last piece.
        completion_tokens: Of the whole answer, in the last piece.
        by: Who says it, where the client has several to ask; "" for the client itself.
        because: Why it is not whom the client asked first, in words; "" when it is.
    """

    text: str
    finish: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    by: str = ""
    because: str = ""


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
class Transcript:
    """What was said. `text` is "" for silence."""

    text: str


@runtime_checkable
class SpeechToText(Protocol):
    """A recogniser of whole utterances, quick enough to be called on a growing one."""

    @property
    def name(self) -> str:
        """Engine and model."""
        ...

    async def transcribe(self, pcm: bytes, *, final: bool) -> Transcript:
        """Recognise an utterance so far.

        Args:
            pcm: Mono 16-bit samples at `SPEECH_RATE_HZ`.
            final: False for an interim transcript, which may be rougher.

        Raises:
            AdapterError: The engine failed.
        """
        ...

    async def close(self) -> None:
        """Free the model."""
        ...


@runtime_checkable
class TextToSpeech(Protocol):
    """A voice."""

    @property
    def name(self) -> str:
        """Engine and voice."""
        ...

    @property
    def language(self) -> str:
        """Language of the voice, as in BCP 47, such as "en-US"; "" where it is not known."""
        ...

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second of what `synthesize` yields."""
        ...

    def synthesize(self, text: str) -> AsyncIterator[bytes]:
        """Yield mono 16-bit samples of `text`, with no silence before the first sound.

        Raises:
            AdapterError: The engine failed.
        """
        ...

    async def close(self) -> None:
        """Free the model."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Text to unit vectors."""

    @property
    def name(self) -> str:
        """Engine and model; vectors of different names must not be mixed."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a text.

        Raises:
            AdapterError: The engine failed.
        """
        ...

    async def close(self) -> None:
        """Free the model."""
        ...


@dataclass(frozen=True, slots=True)
class Fact:
    """Something the agent knows for good.

    Args:
        id: Stable name.
        text: One sentence.
        created_s: Seconds since the epoch.
        session_id: The conversation it was said in.
        score: Similarity with the query, -1 to 1; 0 outside a search.
    """

    id: str
    text: str
    created_s: float
    session_id: str = ""
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """One finished turn of a conversation, as the store keeps it."""

    turn_id: str
    user_text: str
    assistant_text: str
    interrupted: bool
    created_s: float


@dataclass(frozen=True, slots=True)
class MemoryState:
    """The whole memory: facts and conversations (session id to turns, oldest first)."""

    facts: tuple[Fact, ...] = ()
    conversations: Mapping[str, tuple[StoredTurn, ...]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered."""
        return not (self.facts or self.conversations)


@runtime_checkable
class MemoryStore(Protocol):
    """Facts and conversations that outlive the process.

    What a call has returned survives `kill -9`; several processes may share one store.
    """

    async def add_fact(self, text: str, *, session_id: str = "") -> Fact:
        """Remember `text`; saying a known fact again returns the known one."""
        ...

    async def search(self, query: str, *, limit: int) -> list[Fact]:
        """Return the facts nearest in meaning, best first."""
        ...

    async def list_facts(self) -> list[Fact]:
        """Return every fact, oldest first."""
        ...

    async def delete_fact(self, fact_id: str) -> bool:
        """Forget one fact; False when there was none."""
        ...

    async def delete_all(self) -> int:
        """Forget every fact and conversation; return how many facts there were."""
        ...

    async def append_turn(self, session_id: str, turn: StoredTurn) -> None:
        """Add a finished turn to a conversation."""
        ...

    async def recent_turns(self, session_id: str, *, limit: int) -> list[StoredTurn]:
        """Return a conversation's last turns, oldest first."""
        ...

    async def export_state(self) -> MemoryState:
        """Return everything."""
        ...

    async def import_state(self, state: MemoryState) -> None:
        """Replace everything by `state`, all or nothing."""
        ...

    async def close(self) -> None:
        """Let go of files."""
        ...


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model sees it.

    Args:
        name: Snake-case name.
        description: One or two sentences.
        parameters: JSON schema of an object.
        needs_approval: True when it writes, runs code, spends money or leaves the house.
        examples: Requests that call for it, for the router.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    needs_approval: bool = False
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back.

    Args:
        ok: False when the tool refused or failed.
        content: What the model is told.
        speech: A sentence that answers the user as it stands, or "" when the model must phrase it.
        is_final: True when the turn ends with `speech` or `content`.
    """

    ok: bool
    content: str
    speech: str = ""
    is_final: bool = False


@runtime_checkable
class ToolBox(Protocol):
    """The tools that a session may use."""

    def specs(self) -> Sequence[ToolSpec]:
        """Return every tool, in a stable order."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any], *, session_id: str) -> ToolResult:
        """Run one tool. A ToolError becomes a result with `ok` False.

        Raises:
            ToolError: There is no tool of that name; the message lists those there are.
        """
        ...

    def extract(self, name: str, text: str) -> Mapping[str, Any] | None:
        """Return arguments for tool `name` that rules can read from a user's `text` for certain.

        None means that no rule is sure, or that the tool has none: a model must fill the arguments in.

        Raises:
            ToolError: There is no tool of that name; the message lists those there are.
        """
        ...


@runtime_checkable
class Clock(Protocol):
    """Time, so that tests can own it."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        ...

    def wall_s(self) -> float:
        """Seconds since the epoch."""
        ...


@dataclass(frozen=True, slots=True)
class CallOffer:
    """A browser's wish to talk, in SmallWebRTC's wire format."""

    sdp: str
    type: str
    pc_id: str = ""
    restart_pc: bool = False
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class CallAnswer:
    """Our side of the call."""

    sdp: str
    type: str
    pc_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class IceCandidate:
    """One address at which the browser may be reached."""

    candidate: str
    sdp_mid: str
    sdp_mline_index: int


@runtime_checkable
class CallGateway(Protocol):
    """Voice, as the web layer sees it."""

    async def offer(self, offer: CallOffer) -> CallAnswer:
        """Take or renew a call.

        Raises:
            VoiceError: Malformed SDP (422), or busy (503).
        """
        ...

    async def add_candidates(self, pc_id: str, candidates: Sequence[IceCandidate]) -> None:
        """Add addresses to a call.

        Raises:
            VoiceError: There is no such call (404).
        """
        ...

    def status(self) -> Mapping[str, Any]:
        """Return calls under way and the limit."""
        ...

    async def say(self, session_id: str, text: str) -> bool:
        """Hand typed `text` to the session's call as its next turn; False when it has no call."""
        ...

    async def close(self) -> None:
        """End every call; clients are told."""
        ...


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Whether one part of the agent has answered."""

    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One instance of a service.

    Args:
        service: The service's name, such as `llama-api-main`.
        id: Name of this instance, unlike any other's.
        node: The machine that runs it.
        address: Address or name to connect to.
        port: TCP port.
        tags: As registered, such as `pool=main`.
        passing: Whether every health check of it passes.
        meta: What it says of itself, as registered.
        elsewhere: Base URL, ending in /v1, of a server that is no service of the house; "" for one that is.
    """

    service: str
    id: str
    node: str
    address: str
    port: int
    tags: tuple[str, ...] = ()
    passing: bool = True
    meta: Mapping[str, str] = field(default_factory=dict, hash=False)
    elsewhere: str = ""

    @property
    def url(self) -> str:
        """Its HTTP address, without a path."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}"

    @property
    def base_url(self) -> str:
        """Where its OpenAI-compatible interface begins."""
        return self.elsewhere or f"{self.url}/v1"


@dataclass(frozen=True, slots=True)
class DirectoryState:
    """How far a directory can be trusted.

    Args:
        is_stale: What it says is what it last knew; its source does not answer.
        age_s: Time since the source was last heard, 0 while it answers (seconds).
        reason: Why it is stale, in words; "" when it is not.
    """

    is_stale: bool
    age_s: float = 0.0
    reason: str = ""


@runtime_checkable
class ServiceDirectory(Protocol):
    """Which services there are and where; it follows changes by itself.

    Questions are answered from the last snapshot, without IO. When its source is gone, the snapshot stays
    and is marked stale.
    """

    @property
    def name(self) -> str:
        """Where its knowledge comes from, in words a person knows."""
        ...

    @property
    def version(self) -> int:
        """A number that grows with every change of the snapshot or its staleness."""
        ...

    def current(self, name: str) -> tuple[Endpoint, ...]:
        """Return the instances of service `name` that pass their checks, in the order of their ids."""
        ...

    def known(self, name: str) -> tuple[Endpoint, ...]:
        """Return every instance of service `name`, those that fail their checks included."""
        ...

    def names(self, prefix: str = "") -> tuple[str, ...]:
        """Return the services with that prefix that have an instance, passing or not, sorted."""
        ...

    def state(self) -> DirectoryState:
        """Return how far this can be trusted."""
        ...

    async def changed(self, version: int) -> int:
        """Wait until `version` is no longer the newest; return the newest."""
        ...

    async def close(self) -> None:
        """Stop following."""
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
