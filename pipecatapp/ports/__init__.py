"""Ports: what the layers above ask of the outside, as Protocols, and the values that cross them.

Every port has one conformance suite in `testing/conformance`, which its fake and its real adapters both pass.
Not here: any implementation (`adapters`), and the choice among them (`app`).
"""

from __future__ import annotations

from pipecatapp.ports.api_keys import ApiKey, ApiKeyStore
from pipecatapp.ports.audio import AudioCodec, AudioWriter, SplitSpeech
from pipecatapp.ports.calls import CallAnswer, CallManager, CallOffer, IceCandidate
from pipecatapp.ports.clock import Clock
from pipecatapp.ports.discovery import DirectoryState, Endpoint, ServiceDirectory
from pipecatapp.ports.embedding import Embedder, Vectors
from pipecatapp.ports.health import CheckResult
from pipecatapp.ports.http import ConnectionPool, ParseRejection, StreamedResponse
from pipecatapp.ports.llm import (
    MAIN_EXPERT,
    ChatDelta,
    ChatRequest,
    Expert,
    ExpertClients,
    Experts,
    LlmClient,
    Message,
    Role,
)
from pipecatapp.ports.memory import Fact, MemoryState, MemoryStore, SavedState, SavedStates, StoredTurn
from pipecatapp.ports.replication import (
    REPLICA_FENCED,
    REPLICA_UNAVAILABLE,
    EventKind,
    JournaledStore,
    KeptTurn,
    MemoryChange,
    MemoryEvent,
    MemoryItem,
    MemoryJournal,
    MemoryReplica,
    ReplicaHead,
    WriteIntent,
)
from pipecatapp.ports.scheduler import (
    Allocation,
    ClusterClient,
    ClusterJob,
    ClusterNode,
    JobGroup,
    JobPlan,
    JobSpec,
)
from pipecatapp.ports.speech import SpeechToText, TextToSpeech, Transcript
from pipecatapp.ports.tools import ToolBox, ToolResult, ToolSpec

__all__ = [
    "Allocation",
    "ApiKey",
    "ApiKeyStore",
    "AudioCodec",
    "AudioWriter",
    "CallAnswer",
    "CallManager",
    "CallOffer",
    "ChatDelta",
    "ChatRequest",
    "CheckResult",
    "Clock",
    "ClusterClient",
    "ClusterJob",
    "ClusterNode",
    "ConnectionPool",
    "DirectoryState",
    "Embedder",
    "Endpoint",
    "EventKind",
    "Expert",
    "ExpertClients",
    "Experts",
    "Fact",
    "IceCandidate",
    "JobGroup",
    "JobPlan",
    "JobSpec",
    "JournaledStore",
    "KeptTurn",
    "LlmClient",
    "MAIN_EXPERT",
    "MemoryChange",
    "MemoryEvent",
    "MemoryItem",
    "MemoryJournal",
    "MemoryReplica",
    "MemoryState",
    "MemoryStore",
    "Message",
    "ParseRejection",
    "REPLICA_FENCED",
    "REPLICA_UNAVAILABLE",
    "ReplicaHead",
    "Role",
    "SavedState",
    "SavedStates",
    "ServiceDirectory",
    "SpeechToText",
    "SplitSpeech",
    "StoredTurn",
    "StreamedResponse",
    "TextToSpeech",
    "ToolBox",
    "ToolResult",
    "ToolSpec",
    "Transcript",
    "Vectors",
    "WriteIntent",
]
