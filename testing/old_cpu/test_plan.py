"""Each program that a plan for machines without SSE4.1 would start runs there, and on older CPUs still.

Which machines those are, and what is planned for them, is `testing/plans.py`'s.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from pipecatapp.adapters.llm.openai_chat import OpenAiLlm
from pipecatapp.adapters.llm.server_process import LlmServerProcess, llama_server_command
from pipecatapp.planning.report import programs_of
from pipecatapp.ports import ChatRequest, Message
from testing.conformance.llm_suite import collect, text_of
from testing.e2e.engine_models import SMOLLM, llama_binary, model
from testing.old_cpu.test_old_cpu import CORE2, emulator, run
from testing.plans import PROFILES, plan_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

OPTERON = "Opteron_G1"
"""The first x86-64: SSE2, neither SSSE3 nor SSE4.1, like the Athlon 64 X2 of the recorded profiles."""
CPUS = [CORE2, OPTERON]
LOAD_S = 400.0
"""Longest start of an emulated program (seconds)."""


def test_the_plan_starts_the_programs_that_are_tried_here() -> None:
    plan = plan_of("no-sse41")
    assert not any("sse4_1" in node.cpu_flags for node in plan.nodes)
    started = {program for programs in programs_of(plan).values() for program in programs}
    assert started
    assert started <= {"llama-server", "ggml-rpc-server"}
    models = {placed.placement.model.filename for placed in plan.experts if placed.placement}
    assert models == {SMOLLM}


@pytest.mark.parametrize("cpu", CPUS)
async def test_the_planned_server_answers(cpu: str) -> None:
    build = llama_server_command(llama_binary(), model(SMOLLM), threads=1, context=512, slots=1)
    server = LlmServerProcess(lambda port: [*emulator(cpu), *build(port)], ready_timeout_s=LOAD_S)
    await server.start()
    llm = OpenAiLlm(server.base_url, "smollm2", server.api_key, request_timeout_s=LOAD_S)
    try:
        request = ChatRequest(
            messages=(Message("user", "Is water wet?"),), max_tokens=4, grammar='root ::= "yes" | "no"'
        )
        assert text_of(await collect(llm, request)) in {"yes", "no"}
    finally:
        await llm.close()
        await server.close()


@pytest.fixture
def worker(request: pytest.FixtureRequest) -> Iterator[str]:
    """An RPC worker on an emulated CPU; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*emulator(request.param), str(llama_binary("ggml-rpc-server"))]
    command += ["--host", "127.0.0.1", "--port", str(port), "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline_s = time.monotonic() + LOAD_S
        while True:
            assert process.poll() is None, f"the worker ended with {process.returncode}"
            assert time.monotonic() < deadline_s, "the worker does not listen"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("worker", CPUS, indirect=True)
def test_a_worker_computes_a_models_layers(worker: str) -> None:
    command = [str(llama_binary("llama-bench")), "-m", str(model(SMOLLM)), "--rpc", worker, "-ngl", "99"]
    command += ["-p", "2", "-n", "2", "-r", "1", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LOAD_S, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout)
    assert all("RPC" in row["backends"] and row["avg_ts"] > 0 for row in rows)


@pytest.mark.parametrize("cpu", CPUS)
def test_the_planner_itself_runs_there(cpu: str) -> None:
    done = run(cpu, [sys.executable, "-m", "pipecatapp", "plan", "--json", "--profiles", os.fspath(PROFILES)])
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(json.loads(done.stdout)["nodes"]) == 10


@pytest.mark.parametrize("cpu", CPUS)
def test_memory_is_measured_there(cpu: str) -> None:
    script = "from pipecatapp.adapters.host.benchmark import memory_read_mb_s; print(memory_read_mb_s(2, 64))"
    done = run(cpu, [sys.executable, "-c", script])
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) > 0
