"""Every engine of the old-CPU path runs, or is replaced, on a Core 2 Duo without AVX or SSE4.

QEMU runs the real programs instruction by instruction and ends them with SIGILL at the first one that the
CPU lacks, so that a pass means "runs", and says nothing about speed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipecatapp.adapters.llm.openai_chat import OpenAiLlm
from pipecatapp.adapters.llm.server_process import LlmServerProcess, llama_server_command
from pipecatapp.app.engines import EMBEDDER, STT, TTS, EngineKind
from pipecatapp.ports import ChatRequest, Message
from testing.conformance.llm_suite import collect, text_of
from testing.conformance.stt_suite import word_overlap
from testing.e2e.engine_models import SMOLLM, llama_binary, model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

CORE2 = "core2duo"
"""65 nm Core 2 Duo (T7700): SSSE3, no SSE4.1."""
PENRYN = "Penryn"
"""45 nm Core 2 Duo: SSE4.1."""
UNTRIED = {"kokoro": "a sentence takes many minutes under the emulator; its library is Piper's"}
"""Engines of the tables that are not run here, and why."""
SIGILL = -4
ROOT = Path(__file__).parents[2]
TUNING = ("OPENBLAS_", "OMP_", "MKL_")
"""Variables by which a development machine may force code for its own CPU."""


def emulator(cpu: str) -> list[str]:
    program = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    assert program, "there is no qemu-x86_64; bring it with: apt-get install qemu-user-static"
    return [program, "-cpu", cpu]


def run(cpu: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(TUNING)}
    return subprocess.run(
        [*emulator(cpu), *command],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=850,
        check=False,
    )


def result_of(cpu: str, *words: str) -> dict[str, Any]:
    name = " ".join(words)
    done = run(cpu, [sys.executable, "-m", "testing.old_cpu.engines", *words])
    assert done.returncode == 0, f"{name} on {cpu}: {done.returncode}\n{done.stderr[-2000:]}"
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_without_sse41_the_agent_picks_what_runs_and_says_so() -> None:
    picked = result_of(CORE2, "pick")
    assert picked["stt"].startswith("pocketsphinx")
    assert "lacks sse4_1" in picked["stt"]
    assert picked["llm"][0] == "llama-server"
    assert "lacks avx2" in picked["llm"][1]


@pytest.mark.parametrize("cpu", [CORE2, PENRYN])
def test_the_prebuilt_llm_engine_was_refused_for_it_would_have_crashed(cpu: str) -> None:
    options = ["--model", str(model(SMOLLM)), "--port", "0", "--context", "256", "--slots", "1"]
    done = run(cpu, [sys.executable, "-m", "pipecatapp.adapters.llm.xllamacpp_server", *options])
    assert done.returncode in {SIGILL, 128 - SIGILL}, done.stderr[-2000:]


def speaks(sound: dict[str, Any]) -> bool:
    return 0.2 < sound["seconds"] < 2


def hears(heard: dict[str, Any]) -> bool:
    return word_overlap("what is the capital of france", heard["text"]) > 0.8


def knows_what_is_near(vectors: dict[str, Any]) -> bool:
    return bool(vectors["near"] > 0.6 > vectors["far"])


USES: dict[str, tuple[EngineKind[Any], Callable[[dict[str, Any]], bool]]] = {
    "hear": (STT, hears),
    "speak": (TTS, speaks),
    "embed": (EMBEDDER, knows_what_is_near),
}
CPUS = {CORE2: {"sse2", "ssse3"}, PENRYN: {"sse2", "ssse3", "sse4_1"}}


def engines_here() -> list[tuple[str, str, str]]:
    """Every engine of the tables that runs in a process of Python, with its use and a CPU.

    Of those with the same native code it is the first, which is the quickest. What needs nothing of the CPU
    is run on the oldest only.
    """
    found, tried = [], set()
    for use, (kind, _) in USES.items():
        for name, spec in kind.engines.items():
            code = spec.trial.name if spec.trial else name
            if not spec.needs_server and not spec.package and name not in UNTRIED and code not in tried:
                tried.add(code)
                found += [(use, name, cpu) for cpu in (CPUS if spec.requires_cpu else [CORE2])]
    return found


@pytest.mark.parametrize(("use", "name", "cpu"), engines_here())
def test_an_engine_runs_where_its_table_says_and_dies_elsewhere(use: str, name: str, cpu: str) -> None:
    kind, is_right = USES[use]
    if CPUS[cpu].issuperset(kind.engines[name].requires_cpu):
        result = result_of(cpu, use, name)
        assert is_right(result), result
    else:
        done = run(cpu, [sys.executable, "-m", "testing.old_cpu.engines", use, name])
        assert done.returncode in {SIGILL, 128 - SIGILL}, done.stderr[-2000:]


def test_the_memory_finds_a_fact() -> None:
    assert result_of(CORE2, "memory") == {"found": ["The dog is called Biscuit."]}


def test_calls_encode_sound_and_hear_voice() -> None:
    heard = result_of(CORE2, "media")
    assert heard["opus_packets"] >= 1
    assert heard["voiced"] > 0.4


def test_requests_are_answered() -> None:
    assert result_of(CORE2, "requests") == {"status": 200, "echo": {"said": "hello"}}


def test_llama_bench_generates() -> None:
    gguf = str(model(SMOLLM))
    command = [str(llama_binary("llama-bench")), "-m", gguf, "-p", "4", "-n", "4", "-r", "1", "-o", "json"]
    done = run(CORE2, command)
    assert done.returncode == 0, done.stderr[-2000:]
    speeds = [entry["avg_ts"] for entry in json.loads(done.stdout)]
    assert len(speeds) == 2
    assert all(speed > 0 for speed in speeds)


class TestServer:
    @pytest.fixture
    async def server(self) -> AsyncIterator[LlmServerProcess]:
        build = llama_server_command(llama_binary(), model(SMOLLM), threads=2, context=256, slots=1)
        process = LlmServerProcess(lambda port: [*emulator(CORE2), *build(port)], ready_timeout_s=400)
        await process.start()
        yield process
        await process.close()

    async def test_llama_server_answers(self, server: LlmServerProcess) -> None:
        llm = OpenAiLlm(server.base_url, "smollm2", server.api_key, request_timeout_s=400)
        request = ChatRequest(
            messages=(Message("user", "Is water wet?"),), max_tokens=4, grammar='root ::= "yes" | "no"'
        )
        assert text_of(await collect(llm, request)) in {"yes", "no"}
        await llm.close()
