"""Every setting, with its unit, its default and its environment variable.

Only it and `environment` read the environment. A wrong value stops the start with a sentence that says
what is valid; which engines may be named is in their tables (`app/configuration`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pipecatapp.environment import DEFAULT_PORT
from pipecatapp.errors import ConfigError

Profile = Literal["auto", "embedded", "hub"]
MemoryChoice = Literal["local", "remote"]

_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")
"""A host name, or an address: IPv6 in it has no brackets."""

_REPO = Path(__file__).resolve().parent.parent


def _home_dir(kind: str) -> Path:
    return Path.home() / kind / "twin"


class Settings(BaseSettings):
    """The agent's settings; each field is the environment variable named by its alias.

    A comment before fields is their section in docs/reference/settings.md, which is made from them
    (`scripts/reference`).
    """

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True, case_sensitive=True)

    # Where it listens and keeps things

    host: str = Field("0.0.0.0", alias="TWIN_HOST")  # noqa: S104 - the page is for the whole LAN
    """Address to listen on."""
    port: int = Field(DEFAULT_PORT, alias="TWIN_PORT", ge=1, le=65535)
    """HTTP port."""
    tls_port: int = Field(8443, alias="TWIN_TLS_PORT", ge=0, le=65535)
    """HTTPS port; 0 serves no HTTPS here (a front does)."""
    host_names: str = Field("", alias="TWIN_HOST_NAMES")
    """Further names or addresses of the house, with commas between; what asks for another name is refused."""
    data_dir: Path = Field(default_factory=lambda: _home_dir(".local/share"), alias="TWIN_DATA_DIR")
    """State that must not be lost: memory, saved states, certificates."""
    cache_dir: Path = Field(default_factory=lambda: _home_dir(".cache"), alias="TWIN_CACHE_DIR")
    """What can be had again: downloads and builds."""
    models_dir: Path | None = Field(None, alias="TWIN_MODELS_DIR")
    """Models; `<cache_dir>/models` when not set."""
    catalogue_dir: Path = Field(_REPO / "group_vars", alias="TWIN_CATALOGUE_DIR")
    """Folder of `models.yaml`, `artifacts.yaml`, `experts.yaml` and `external_experts.yaml`."""
    mirror_url: str = Field("", alias="TWIN_MIRROR_URL")
    """Control node's mirror of models and binaries, tried first; "" for none."""
    profile: Profile = Field("auto", alias="TWIN_PROFILE")
    """Which models: `embedded` from package registries, `hub` from the model hub, `auto` what is present."""
    worker: int = Field(0, alias="TWIN_WORKER", ge=0)
    """Number of this worker behind a front; 0 alone."""
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", alias="TWIN_LOG_LEVEL")
    """Least serious level that is logged."""

    # Hearing

    stt_service: str = Field("auto", alias="STT_SERVICE")
    """Engine of speech to text; `auto` is the first default (docs/reference/engines.md) that runs here."""
    stt_model: str = Field("", alias="STT_MODEL")
    """Model name in `models.yaml`, or the OpenAI-compatible server's; "" for the profile's own."""
    stt_base_url: str = Field("", alias="STT_BASE_URL")
    """OpenAI-compatible server, ending in /v1, for `STT_SERVICE=openai`."""
    stt_threads: int = Field(1, alias="STT_THREADS", ge=1, le=64)
    """CPU threads of a transcription; one is as quick as two on a short window."""

    # Speaking

    tts_service: str = Field("auto", alias="TTS_SERVICE")
    """Engine of text to speech; `auto` likewise: a voice is taken when its model is here."""
    tts_model: str = Field("", alias="TTS_MODEL")
    """Model name in `models.yaml`, or the server's."""
    tts_voice: str = Field("", alias="TTS_VOICE")
    """Voice within the model; "" for its first."""
    tts_base_url: str = Field("", alias="TTS_BASE_URL")
    """OpenAI-compatible server, ending in /v1, for `TTS_SERVICE=openai`."""
    tts_language: str = Field("en-US", alias="TTS_LANGUAGE", pattern=r"^([a-z]{2,3}(-[A-Za-z0-9]+)*)?$")
    """Language of the voice of `TTS_SERVICE=openai`, as in BCP 47; the other voices tell it themselves."""
    tts_threads: int = Field(2, alias="TTS_THREADS", ge=1, le=64)
    """CPU threads of a synthesis."""
    greeting: str = Field("Hello, I am Twin. What can I do for you?", alias="TWIN_GREETING")
    """Spoken when a call connects; "" for none."""

    # Thinking

    embedder_service: str = Field("auto", alias="EMBEDDER_SERVICE")
    """Engine of embeddings, for memory and the router; `auto` likewise."""
    embedder_model: str = Field("", alias="EMBEDDER_MODEL")
    """Model name in `models.yaml`, or the server's."""
    embedder_base_url: str = Field("", alias="EMBEDDER_BASE_URL")
    """OpenAI-compatible server, ending in /v1, for `EMBEDDER_SERVICE=openai`."""
    llm_service: str = Field("auto", alias="LLM_SERVICE")
    """Engine of the child LLM server; `openai` starts none and needs LLM_BASE_URL."""
    llm_base_url: str = Field("", alias="LLM_BASE_URL")
    """OpenAI-compatible server, ending in /v1; set, no child server is started."""
    llm_api_key: SecretStr = Field(SecretStr(""), alias="LLM_API_KEY")
    """Key of the LLM server; without one, this machine's own server makes one."""
    llm_model: str = Field("", alias="LLM_MODEL")
    """Model name in `models.yaml`, or the external server's; "" chooses by memory and CPU."""
    llm_threads: int = Field(0, alias="LLM_THREADS", ge=0, le=256)
    """CPU threads of the child LLM server; 0 takes all cores but one (docs/latency.md says why)."""
    llm_context: int = Field(4096, alias="LLM_CONTEXT", ge=512, le=131072)
    """Context of each of the child server's slots (tokens)."""
    llm_slots: int = Field(2, alias="LLM_SLOTS", ge=1, le=32)
    """Prompt caches of the child server, one a conversation."""
    llm_port: int = Field(0, alias="LLM_PORT", ge=0, le=65535)
    """Loopback port of the child server; 0 takes a free one."""
    llm_nice: int = Field(10, alias="LLM_NICE", ge=0, le=19)
    """Niceness of the child server: what follows the first clause is never urgent."""
    openai_api_key: SecretStr = Field(SecretStr(""), alias="OPENAI_API_KEY")
    """Key for the OpenAI-compatible servers named above."""
    workflow: str = Field("default_agent_loop", alias="TWIN_WORKFLOW")
    """Workflow that answers every turn."""
    workflows_dir: Path = Field(Path(__file__).parent / "workflows", alias="TWIN_WORKFLOWS_DIR")
    """Folder of the workflows."""
    max_answer_tokens: int = Field(120, alias="TWIN_MAX_ANSWER_TOKENS", ge=1, le=4096)
    """Bound of one answer."""
    max_text_chars: int = Field(4000, alias="TWIN_MAX_TEXT_CHARS", ge=1)
    """Longest text a user may send."""
    search_dir: Path = Field(_REPO, alias="TWIN_SEARCH_DIR")
    """Folder whose files the `search` tool may look through."""
    tool_options: Annotated[dict[str, dict[str, Any]], NoDecode] = Field({}, alias="TWIN_TOOL_OPTIONS")
    """Further options of tools, JSON by tool and option, such as `{"dice": {"sides": 20}}`."""

    # Memory and cluster

    memory: MemoryChoice = Field("local", alias="TWIN_MEMORY")
    """Long-term memory: `local` is this node's own file, `remote` the cluster's memory service."""
    memory_url: str = Field("", alias="TWIN_MEMORY_URL")
    """Memory service's address, or several with commas between; "" looks `memory-service` up in Consul."""
    memory_token: SecretStr = Field(SecretStr(""), alias="TWIN_MEMORY_TOKEN")
    """Token that the memory service wants, and that its callers show."""
    memory_ca: Path | None = Field(None, alias="TWIN_MEMORY_CA")
    """Authority (PEM) of the memory service's certificate; set, what Consul knows of it is asked by https."""
    memory_certificate: Path | None = Field(None, alias="TWIN_MEMORY_CERTIFICATE")
    """Certificate (PEM) with which the memory service serves https; plain http when not set."""
    memory_key: Path | None = Field(None, alias="TWIN_MEMORY_KEY")
    """Key (PEM) of that certificate."""
    consul_url: str = Field("", alias="TWIN_CONSUL_URL")
    """This node's Consul agent, such as `http://127.0.0.1:8500`; "" for none."""
    consul_token: SecretStr = Field(SecretStr(""), alias="CONSUL_HTTP_TOKEN")
    """Token for Consul."""
    consul_token_file: Path | None = Field(None, alias="CONSUL_HTTP_TOKEN_FILE")
    """File of the token for Consul, read for each request; it goes before CONSUL_HTTP_TOKEN."""
    consul_ca: Path | None = Field(None, alias="CONSUL_CACERT")
    """Certificate authority (PEM) of a Consul on https; the system's when not set."""
    nomad_url: str = Field("https://127.0.0.1:4646", alias="NOMAD_ADDR")
    """Nomad, for `twin cluster`."""
    nomad_token: SecretStr = Field(SecretStr(""), alias="NOMAD_TOKEN")
    """Token for Nomad."""
    nomad_ca: Path | None = Field(None, alias="NOMAD_CACERT")
    """Certificate authority (PEM) of Nomad; the system's when not set."""
    experts: str = Field("", alias="TWIN_EXPERTS")
    """Experts that `twin check-experts` expects, with commas between; "" is `main` and all in Consul."""
    expert_key: SecretStr = Field(SecretStr(""), alias="TWIN_EXPERT_KEY")
    """Key that the house's experts want; LLM_API_KEY when not set."""
    external_keys: SecretStr = Field(SecretStr(""), alias="TWIN_EXTERNAL_KEYS")
    """Keys of experts elsewhere, YAML or JSON; `external_keys.yaml` in TWIN_DATA_DIR when not set."""
    expert_certificate: str = Field("", alias="TWIN_EXPERT_CERTIFICATE")
    """Certificate (PEM text) by which `twin expert` and its workers know each other."""
    expert_certificate_key: SecretStr = Field(SecretStr(""), alias="TWIN_EXPERT_CERTIFICATE_KEY")
    """Key (PEM text) of that certificate."""

    # Calls and turns

    vad_start_s: float = Field(0.2, alias="TWIN_VAD_START_S", gt=0, le=3)
    """Voice after which voice activity has begun (seconds)."""
    vad_stop_s: float = Field(0.2, alias="TWIN_VAD_STOP_S", gt=0, le=3)
    """Silence after which voice activity has ended (seconds)."""
    turn_timeout_s: float = Field(0.3, alias="TWIN_TURN_TIMEOUT_S", ge=0, le=5)
    """Further silence after which the turn is over (seconds); below 0.3 people are cut off."""
    turn_detection: Literal["timeout", "smart"] = Field("timeout", alias="TWIN_TURN_DETECTION")
    """`smart` also asks the turn model and waits longer when the sentence sounds unfinished."""
    partial_s: float = Field(0.3, alias="TWIN_PARTIAL_S", ge=0, le=5)
    """Time between interim transcripts (seconds); 0 for none."""
    pause_s: float = Field(0.06, alias="TWIN_PAUSE_S", gt=0, le=1)
    """Pause after which an answer is prepared in advance (seconds)."""
    speculation: bool = Field(True, alias="TWIN_SPECULATION")
    """Prepare the answer while the end of the turn is still being awaited."""
    max_calls: int = Field(4, alias="TWIN_MAX_CALLS", ge=1, le=64)
    """Calls at once in this process; the next one is told "busy"."""
    call_idle_s: float = Field(900, alias="TWIN_CALL_IDLE_S", gt=0)
    """Silence of both sides after which a call is ended (seconds)."""
    benchmark_mode: bool = Field(False, alias="BENCHMARK_MODE")
    """Log every turn's latency and greet nobody."""

    @property
    def further_names(self) -> tuple[str, ...]:
        """The names in `host_names`, in small letters."""
        return tuple(
            name for each in self.host_names.lower().split(",") if (name := each.strip().rstrip("."))
        )

    @field_validator("host_names")
    @classmethod
    def _only_names(cls, given: str) -> str:
        for name in filter(None, (each.strip() for each in given.split(","))):
            if not _HOST_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name or address; write it without http:// and port")
        return given

    @field_validator("tool_options", mode="before")
    @classmethod
    def _read_json(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        try:
            return json.loads(given or "{}")
        except ValueError as exc:
            raise ValueError(f"this is no JSON: {exc}") from exc

    @property
    def expert_api_key(self) -> str:
        """What the house's experts are shown."""
        return self.expert_key.get_secret_value() or self.llm_api_key.get_secret_value()

    @property
    def models_path(self) -> Path:
        """Folder of the models."""
        return self.models_dir or self.cache_dir / "models"


def read_settings(choices: Mapping[str, Sequence[str]]) -> Settings:
    """Read the environment.

    Args:
        choices: Valid values of the variables whose values are decided elsewhere, such as engines' names.

    Raises:
        ConfigError: A variable has a wrong value; the message names it and what is valid.
    """
    faults = [
        f"{name}={given!r}: Input should be {_alternatives(valid)}"
        for name, valid in choices.items()
        if (given := os.environ.get(name)) is not None and given not in valid
    ]
    try:
        settings = Settings()  # type: ignore[call-arg]
    except ValidationError as exc:
        for problem in exc.errors():
            name = str(problem["loc"][0]) if problem["loc"] else "environment"
            faults.append(f"{name}={problem.get('input')!r}: {problem['msg']}")
        raise _wrong_values(faults) from exc
    if faults:
        raise _wrong_values(faults)
    return settings


def _alternatives(valid: Sequence[str]) -> str:
    *others, last = map(repr, valid)
    return f"{', '.join(others)} or {last}"


def _wrong_values(faults: Sequence[str]) -> ConfigError:
    return ConfigError("settings", "; ".join(faults), hint="Correct the variable and start again.")


def secret_variables() -> tuple[str, ...]:
    """Return the names of the variables that hold secrets; a child that needs one is handed it by name."""
    fields = Settings.model_fields.items()
    return tuple(field.alias or name for name, field in fields if field.annotation is SecretStr)


def child_environment(*, without: Iterable[str] = ()) -> dict[str, str]:
    """Return this process's environment for a child, without secrets and the variables named in `without`."""
    dropped = {*secret_variables(), *without}
    return {name: value for name, value in os.environ.items() if name not in dropped}


def set_for_libraries(environment: Mapping[str, str]) -> None:
    """Set variables that libraries of this process read when they are imported (`app.trials`)."""
    os.environ.update(environment)
