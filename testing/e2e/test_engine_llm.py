"""The LLM server runs in both engines, is kept alive, and its client passes the port's suite."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from pipecatapp.adapters.llm.openai_chat import OpenAiLlm
from pipecatapp.adapters.llm.server_process import (
    BATCH_TOKENS,
    CommandBuilder,
    LlmServerProcess,
    llama_server_command,
    xllamacpp_command,
)
from pipecatapp.errors import AdapterError
from pipecatapp.ports import ChatRequest, Message
from testing.conformance.llm_suite import COUNT, LlmSuite, collect, text_of
from testing.e2e.engine_models import SMOLLM, llama_binary, model
from testing.e2e.processes import cmdline, environment, eventually, is_running, niceness

pytestmark = pytest.mark.e2e

ENGINES = ("xllamacpp", "llama-server")


def command(engine: str, gguf: Path | None = None, slots: int = 2) -> CommandBuilder:
    options = {"threads": 2, "context": 1024, "slots": slots}
    path = gguf or model(SMOLLM)
    if engine == "xllamacpp":
        return xllamacpp_command(path, **options)
    return llama_server_command(llama_binary(), path, **options)


def client(server: LlmServerProcess) -> OpenAiLlm:
    return OpenAiLlm(server.base_url, "smollm2-135m", server.api_key)


@pytest.fixture(params=ENGINES)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[LlmServerProcess]:
    process = LlmServerProcess(command(request.param), name=request.param)
    await process.start()
    yield process
    await process.close()


@pytest.fixture
async def llm(server: LlmServerProcess) -> AsyncIterator[OpenAiLlm]:
    engine = client(server)
    yield engine
    await engine.close()


class TestServedModel(LlmSuite):
    async def test_a_grammar_bounds_the_answer(self, llm: OpenAiLlm) -> None:
        request = ChatRequest(
            messages=(Message("user", "Is water wet?"),), max_tokens=8, grammar='root ::= "yes" | "no"'
        )
        assert text_of(await collect(llm, request)) in {"yes", "no"}

    async def test_prefill_leaves_little_to_read(self, llm: OpenAiLlm) -> None:
        system = Message("system", "You are a helpful assistant. " * 20)
        await llm.prefill(ChatRequest(messages=(system, Message("user", "What is the capital")), slot=1))
        whole = ChatRequest(
            messages=(system, Message("user", "What is the capital of France?")), max_tokens=4, slot=1
        )
        last = (await collect(llm, whole))[-1]
        assert last.prompt_tokens - last.cached_tokens < 16
        assert last.cached_tokens > 80

    async def test_a_long_prompt_is_read_in_steps_between_which_neighbours_speak(
        self, server: LlmServerProcess
    ) -> None:
        body = {
            "prompt": "word " * 900,
            "n_predict": 1,
            "stream": True,
            "return_progress": True,
            "cache_prompt": False,
        }
        headers = {"Authorization": f"Bearer {server.api_key}"}
        url = server.base_url.removesuffix("/v1") + "/completion"
        async with httpx.AsyncClient(headers=headers, timeout=120) as http:
            lines = (await http.post(url, json=body)).text.splitlines()
        events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        read = [event["prompt_progress"]["processed"] for event in events if "prompt_progress" in event]
        assert read[-1] >= 900
        assert max(after - before for before, after in pairwise([0, *read])) <= BATCH_TOKENS

    async def test_a_closed_answer_stops_the_server(self, llm: OpenAiLlm, server: LlmServerProcess) -> None:
        async with aclosing(llm.stream(ChatRequest(messages=(COUNT,), max_tokens=900))) as stream:
            await anext(stream)
        headers = {"Authorization": f"Bearer {server.api_key}"}
        url = server.base_url.removesuffix("/v1") + "/slots"
        async with httpx.AsyncClient(headers=headers) as http:

            async def is_idle() -> bool:
                return not any(slot["is_processing"] for slot in (await http.get(url)).json())

            await eventually(is_idle, timeout_s=3)

    async def test_who_has_no_key_is_refused(self, server: LlmServerProcess) -> None:
        stranger = OpenAiLlm(server.base_url, "x", "wrong")
        with pytest.raises(AdapterError, match="401") as refusal:
            await collect(stranger, ChatRequest(messages=(COUNT,)))
        assert (refusal.value.code, refusal.value.retryable) == ("llm-refused", False)
        await stranger.close()

    async def test_too_long_a_prompt_is_refused_in_words(self, llm: OpenAiLlm) -> None:
        request = ChatRequest(messages=(Message("user", "word " * 3000),), max_tokens=4)
        with pytest.raises(AdapterError, match="context") as refusal:
            await collect(llm, request)
        assert refusal.value.code == "llm-refused"


class TestSupervision:
    async def test_a_server_killed_in_mid_answer_comes_back(
        self, server: LlmServerProcess, llm: OpenAiLlm
    ) -> None:
        heard = 0
        with pytest.raises(AdapterError) as failure:
            async with aclosing(llm.stream(ChatRequest(messages=(COUNT,), max_tokens=900))) as stream:
                async for _ in stream:
                    heard += 1
                    if heard == 3:
                        os.kill(server.pid, signal.SIGKILL)
        assert heard >= 3
        assert (failure.value.code, failure.value.retryable) == ("llm-broke-off", True)
        await eventually(lambda: not server.is_ready, timeout_s=2)
        with pytest.raises(AdapterError) as absence:
            await collect(llm, ChatRequest(messages=(COUNT,), max_tokens=4))
        assert absence.value.retryable
        await server.wait_ready(timeout_s=30)
        assert server.restarts == 1
        assert text_of(await collect(llm, ChatRequest(messages=(COUNT,), max_tokens=4)))

    async def test_the_child_is_nice_and_waits_its_own_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
        process = LlmServerProcess(command("llama-server"), nice=7)
        await process.start()
        try:
            assert b"OMP_WAIT_POLICY" not in environment(process.pid)
            assert niceness(process.pid) == {7}
            assert process.api_key.encode() not in cmdline(process.pid)
        finally:
            await process.close()
        assert process.pid == 0

    @pytest.mark.parametrize("engine", ENGINES)
    async def test_a_damaged_model_ends_the_start_with_the_servers_words(
        self, engine: str, tmp_path: Path
    ) -> None:
        damaged = tmp_path / "damaged.gguf"
        damaged.write_bytes(b"GGUF" + bytes(1000))
        process = LlmServerProcess(command(engine, damaged), name=engine)
        with pytest.raises(AdapterError, match=r"damaged\.gguf") as failure:
            await process.start()
        assert failure.value.code == "llm-server-failed"
        assert "its last words" in failure.value.message
        assert process.pid == 0

    async def test_a_missing_program_ends_the_start(self, tmp_path: Path) -> None:
        build = llama_server_command(tmp_path / "nothing", tmp_path / "x", threads=1, context=512, slots=1)
        with pytest.raises(AdapterError, match="nothing"):
            await LlmServerProcess(build).start()

    @pytest.mark.parametrize("engine", ENGINES)
    async def test_a_killed_parent_leaves_no_server(self, engine: str, tmp_path: Path) -> None:
        program = tmp_path / "parent.py"
        program.write_text(
            "import asyncio, sys\n"
            "from pathlib import Path\n"
            "from pipecatapp.adapters.llm.server_process import LlmServerProcess\n"
            "from testing.e2e.test_engine_llm import command\n"
            "async def main():\n"
            f"    process = LlmServerProcess(command({engine!r}))\n"
            "    await process.start()\n"
            "    print(process.pid, flush=True)\n"
            "    await asyncio.sleep(60)\n"
            "asyncio.run(main())\n",
            encoding="utf-8",
        )
        root = Path(__file__).parents[2]
        parent = await asyncio.create_subprocess_exec(
            sys.executable, str(program), stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(root)}
        )
        assert parent.stdout is not None
        async with asyncio.timeout(60):
            pid = int(await parent.stdout.readline())
        parent.kill()
        await parent.wait()
        await eventually(lambda: not is_running(pid), timeout_s=5)
