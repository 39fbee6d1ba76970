"""The choice of engines by name, CPU and what is there."""

from __future__ import annotations

import pytest

from pipecatapp.adapters.host.cpu import LLAMA_WHEEL_FLAGS, CpuInfo
from pipecatapp.app.configuration import ENGINE_NAMES
from pipecatapp.app.engines import KINDS, STT, TTS, Closable, EngineKind, engine_choice, stt_choice
from pipecatapp.app.local_llm import llm_choice
from pipecatapp.app.trial_child import OPERATIONS
from pipecatapp.app.trials import NATIVES
from pipecatapp.errors import ConfigError
from pipecatapp.settings import Settings

pytestmark = pytest.mark.unit

SSSE3 = frozenset({"sse2", "ssse3"})
CORE2 = CpuInfo(model="Core 2 Duo T7700", flags=SSSE3, cores=2, memory_mb=8000, available_mb=6000)
PENRYN = CpuInfo(
    model="Core 2 Duo E8400", flags=SSSE3 | {"sse4_1"}, cores=2, memory_mb=8000, available_mb=6000
)
MODERN = CpuInfo(
    model="modern", flags=SSSE3 | {"sse4_1", *LLAMA_WHEEL_FLAGS}, cores=2, memory_mb=8000, available_mb=6000
)


def settings(**values: str) -> Settings:
    return Settings(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cpu", "name"), [(CORE2, "pocketsphinx"), (PENRYN, "embedded"), (MODERN, "embedded")]
)
def test_the_recogniser_follows_the_cpu(cpu: CpuInfo, name: str) -> None:
    assert stt_choice(settings(), cpu)[0] == name


def test_the_reason_names_the_missing_feature() -> None:
    assert "sse4_1" in stt_choice(settings(), CORE2)[1]


@pytest.mark.parametrize("service", ["embedded", "faster-whisper", "realtimestt"])
def test_whisper_is_refused_where_it_would_crash(service: str) -> None:
    with pytest.raises(ConfigError, match="sse4_1.*valid here: auto, pocketsphinx, openai"):
        stt_choice(settings(stt_service=service), CORE2)


def test_a_named_recogniser_is_taken() -> None:
    assert stt_choice(settings(stt_service="pocketsphinx"), MODERN)[0] == "pocketsphinx"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.variable)
def test_every_cpu_has_an_engine_of_each_kind(kind: EngineKind[Closable]) -> None:
    for cpu in (CORE2, PENRYN, MODERN):
        name, reason = engine_choice(kind, "auto", cpu)
        assert cpu.supports(kind.engines[name].requires_cpu)
        assert reason


def test_a_voice_that_is_not_here_gives_way_and_says_how_to_fetch_it() -> None:
    choice = engine_choice(TTS, "auto", MODERN, lambda _spec: False)
    assert choice == ("espeak", "no Piper voice is here (`twin models fetch --expert tts`)")
    assert engine_choice(TTS, "auto", MODERN) == ("piper", "its voice is here")


def test_what_is_named_as_valid_needs_no_trial_and_no_more_than_the_cpu_has() -> None:
    for kind, tried in ((STT, {"embedded", "faster-whisper", "realtimestt"}), (TTS, {"piper", "kokoro"})):
        assert not tried & set(kind.valid(MODERN).split(", "))
        assert {"auto", "openai"} <= set(kind.valid(CORE2).split(", "))


def test_every_trial_has_an_operation() -> None:
    assert OPERATIONS.keys() == NATIVES.keys()


def test_the_tables_name_what_the_settings_may() -> None:
    assert {kind.variable: ("auto", *kind.engines) for kind in KINDS}.items() <= ENGINE_NAMES.items()
    defaults = {field.alias: field.default for field in Settings.model_fields.values()}
    for variable, names in ENGINE_NAMES.items():
        assert defaults[variable] in names


@pytest.mark.parametrize(
    ("cpu", "service", "has_wheel", "has_binary", "engine"),
    [
        (MODERN, "auto", True, True, "xllamacpp"),
        (MODERN, "auto", False, True, "llama-server"),
        (MODERN, "llama-server", True, True, "llama-server"),
        (MODERN, "xllamacpp", True, False, "xllamacpp"),
        (PENRYN, "auto", True, True, "llama-server"),
    ],
)
def test_the_llm_engine_follows_cpu_and_presence(
    cpu: CpuInfo, service: str, has_wheel: bool, has_binary: bool, engine: str
) -> None:
    choice = llm_choice(settings(llm_service=service), cpu, has_wheel=has_wheel, has_binary=has_binary)
    assert choice[0] == engine
    assert choice[1]


DIES = "the prebuilt engine does not work on this CPU: it ended by SIGILL"


def test_a_prebuilt_engine_that_dies_gives_way_to_the_built_server() -> None:
    choice = llm_choice(settings(), MODERN, has_wheel=True, has_binary=True, wheel_fault=DIES)
    assert choice == ("llama-server", DIES)


@pytest.mark.parametrize(
    ("service", "has_binary", "words"),
    [
        ("xllamacpp", True, f"LLM_SERVICE=xllamacpp: {DIES}; valid here: auto, llama-server, openai"),
        ("auto", False, f"{DIES}, and llama-server, built from source, is not here yet"),
    ],
)
def test_a_prebuilt_engine_that_dies_is_told_with_what_to_do(
    service: str, has_binary: bool, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        llm_choice(
            settings(llm_service=service), MODERN, has_wheel=True, has_binary=has_binary, wheel_fault=DIES
        )
    assert caught.value.hint


@pytest.mark.parametrize(
    ("cpu", "service", "has_wheel", "has_binary", "words"),
    [
        (PENRYN, "xllamacpp", True, True, "lacks avx2, bmi2, f16c, fma"),
        (MODERN, "xllamacpp", False, True, "not installed"),
        (PENRYN, "auto", True, False, "lacks .* llama-server, built from source, is not here"),
        (MODERN, "llama-server", True, False, "is not here"),
    ],
)
def test_an_impossible_llm_engine_says_why(
    cpu: CpuInfo, service: str, has_wheel: bool, has_binary: bool, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        llm_choice(settings(llm_service=service), cpu, has_wheel=has_wheel, has_binary=has_binary)
