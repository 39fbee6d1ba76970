"""An expert keeps itself served: real llama.cpp, real workers behind real doors, and what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from pipecatapp.adapters.discovery.static import StaticDirectory
from pipecatapp.adapters.llm.rpc_tunnel import TlsIdentity, reaches
from pipecatapp.adapters.llm.server_process import HOST
from pipecatapp.app.clock import SystemClock
from pipecatapp.experts.service_names import RPC_PROVIDER
from pipecatapp.ops.expert_supervisor import ExpertOrder, ExpertSecrets, ExpertSupervisor
from testing.e2e.engine_models import MODELS, SMOLLM, llama_binary, model
from testing.e2e.experts.workers import Cable, Worker, free_port, make_identity
from testing.e2e.processes import eventually
from testing.log_lines import log_lines

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[3]
KEY = "not-a-secret"
MEMORY_MB = 270
HALF_THE_LAYERS_MB = 30
"""What a worker holds at least when it has its half of the layers; with nothing it has 10 (resident, MiB)."""
READY_TIMEOUT_S = 120.0
QUESTION = "Write the numbers from one to two hundred in words: one, two, three,"


def say(line: str) -> None:
    """Print a measured line, past pytest's capture with -s and into its report without."""
    sys.stdout.write(f"\n{line}\n")


def listed(name: str = "smollm2-135m", **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256(model(SMOLLM).read_bytes()).hexdigest()
    return {"name": name, "filename": SMOLLM, "sha256": digest, "memory_mb": MEMORY_MB} | more


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> TlsIdentity:
    """The expert's certificate, made as the role makes it."""
    return make_identity(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def workers(identity: TlsIdentity) -> Iterator[list[Worker]]:
    """Two workers."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(contextlib.closing(Worker(number, identity, identity.certificate.parent)))
            for number in (1, 2)
        ]


class Expert:
    """The expert under test, and who asks it."""

    def __init__(self, host: ExpertSupervisor, url: str) -> None:
        self.host, self._url = host, url

    async def ready(self) -> str:
        """Wait until a model is served; return its name."""
        await eventually(lambda: self.host.served is not None, READY_TIMEOUT_S)
        assert self.host.served is not None
        return self.host.served.model.name

    async def complete(self, tokens: int = 24) -> str:
        body = {"prompt": QUESTION, "n_predict": tokens, "temperature": 0, "cache_prompt": False}
        async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {KEY}"}) as http:
            reply = await http.post(f"{self._url}/completion", json=body, timeout=60)
            reply.raise_for_status()
            return str(reply.json()["content"])

    async def lose_the_second_worker(self, lose: Callable[[], None]) -> float:
        """Have `lose` take it away in mid-answer; return when the first alone serves (seconds after)."""
        served = self.host.served
        assert served is not None
        answer = asyncio.create_task(self.complete(600))
        await asyncio.sleep(1.0)
        assert not answer.done()
        lose()
        began_s = time.monotonic()
        with pytest.raises(httpx.HTTPError):
            await answer
        await eventually(lambda: self.host.served not in (None, served), READY_TIMEOUT_S)
        assert self.host.served is not None
        assert [worker.id for worker in self.host.served.workers] == ["w1"]
        return time.monotonic() - began_s


@asynccontextmanager
async def expert(
    tmp_path: Path,
    models: list[dict[str, Any]],
    directory: StaticDirectory | None = None,
    identity: TlsIdentity | None = None,
    **more: Any,
) -> AsyncIterator[Expert]:
    port = free_port()
    order = ExpertOrder.model_validate(
        {
            "expert": "creative",
            "models": models,
            "models_dir": str(MODELS),
            "program": str(llama_binary()),
            "port": port,
            "folder": str(tmp_path),
            "context": 1024,
            "slots": 1,
            "threads": 1,
        }
        | more
    )
    text = identity.bundle.read_text(encoding="ascii") if identity else ""
    certificate, begin, key = text.partition("-----BEGIN PRIVATE KEY")
    host = ExpertSupervisor(order, ExpertSecrets(KEY, certificate, begin + key), directory)
    running = asyncio.create_task(host.run())
    try:
        yield Expert(host, f"http://{HOST}:{port}")
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_what_is_not_there_not_right_or_too_big_is_passed_over_for_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    whole = model(SMOLLM).read_bytes()
    (models / SMOLLM).symlink_to(model(SMOLLM))
    (models / "flipped.gguf").write_bytes(
        whole[:50_000_000] + bytes([whole[50_000_000] ^ 1]) + whole[50_000_001:]
    )
    (models / "text.gguf").write_text("A page that says: not found")
    (models / "cut.gguf").write_bytes(whole[:1_000_000])
    cut = hashlib.sha256(whole[:1_000_000]).hexdigest()
    choice = [
        listed("absent", filename="absent.gguf"),
        listed("flipped", filename="flipped.gguf"),
        listed("text", filename="text.gguf"),
        # Its hash is right, and llama-server ends when it reads it.
        listed("cut", filename="cut.gguf", sha256=cut),
        listed("big", memory_mb=900_000),
        listed("new", requires_cpu=["a-flag-of-tomorrow"]),
        listed(),
    ]
    with caplog.at_level(logging.INFO):
        async with expert(tmp_path, choice, models_dir=str(models)) as creative:
            assert await creative.ready() == "smollm2-135m"
            assert await creative.complete()
    said = "\n".join(log_lines(caplog))
    assert "absent.gguf is not on this node" in said
    assert "the sha256 of" in said and "flipped.gguf is wrong" in said
    assert "text.gguf is no GGUF file" in said
    assert "A model is not served model=cut where=this node reason=creative: cut ended at once" in said
    assert "A model is not served model=big where=this node reason=it takes 900000 MiB" in said
    assert "this CPU lacks a-flag-of-tomorrow" in said


async def test_a_model_too_slow_to_listen_to_is_passed_over_and_the_last_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with expert(tmp_path, [listed("slow"), listed("last")], decode=1e9) as creative:
            assert await creative.ready() == "last"
    assert re.search(
        r"A model is not served model=slow where=this node reason=it says [\d.]+ tokens/s",
        "\n".join(log_lines(caplog)),
    )


async def test_a_model_whose_context_has_no_room_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # 8192 tokens more than its memory is told for, each of a gibibyte.
    choice = [listed("long", token_bytes=2**30), listed()]
    with caplog.at_level(logging.INFO):
        async with expert(tmp_path, choice, context=8192, slots=2) as creative:
            assert await creative.ready() == "smollm2-135m"
    reason = f"it takes {MEMORY_MB + 8192 * 1024} MiB"
    assert f"A model is not served model=long where=this node reason={reason}" in "\n".join(log_lines(caplog))


async def test_a_server_that_is_killed_comes_again(tmp_path: Path) -> None:
    async with expert(tmp_path, [listed()]) as creative:
        await creative.ready()
        served = creative.host.served
        assert served is not None
        os.kill(served.server.pid, signal.SIGKILL)
        await eventually(lambda: creative.host.served is not served, READY_TIMEOUT_S)
        await creative.ready()
        assert await creative.complete()


async def test_a_model_is_split_over_workers_and_says_the_same(
    tmp_path: Path, workers: list[Worker], identity: TlsIdentity
) -> None:
    async with expert(tmp_path, [listed()]) as alone:
        await alone.ready()
        unsplit = await alone.complete()
    directory = StaticDirectory(SystemClock(), [worker.endpoint for worker in workers])
    # Too little for the whole of it.
    async with expert(
        tmp_path, [listed()], directory, memory_mb=MEMORY_MB // 2, workers=2, identity=identity
    ) as split:
        await split.ready()
        assert await split.complete() == unsplit
        held = [worker.resident_mb() for worker in workers]
        say(f"  split: the workers hold {held} MiB")
        assert all(mb > HALF_THE_LAYERS_MB for mb in held)


async def test_the_loss_of_a_worker_in_mid_answer_is_told_and_the_expert_comes_again_with_the_others(
    tmp_path: Path, workers: list[Worker], identity: TlsIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    directory = StaticDirectory(SystemClock(), [worker.endpoint for worker in workers])
    with caplog.at_level(logging.INFO):
        async with expert(tmp_path, [listed()], directory, workers=2, identity=identity) as creative:
            await creative.ready()
            took_s = await creative.lose_the_second_worker(workers[1].server.kill)
            say(f"  a worker lost: served again after {took_s:.1f} s")
            assert await creative.complete()
    assert "what it was answering is lost here" in caplog.text
    assert "A worker does not answer; going on without it node=node2" in "\n".join(log_lines(caplog))


async def test_a_worker_that_falls_silent_is_not_waited_for(
    tmp_path: Path, workers: list[Worker], identity: TlsIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    directory = StaticDirectory(SystemClock(), [worker.endpoint for worker in workers])

    def fall_silent() -> None:
        # As when the machine has lost its power, to all that can be seen: nothing ends or replies.
        for process in (workers[1].server, workers[1].door):
            process.send_signal(signal.SIGSTOP)
        directory.remove(RPC_PROVIDER, "w2")

    with caplog.at_level(logging.INFO):
        async with expert(tmp_path, [listed()], directory, workers=2, identity=identity) as creative:
            await creative.ready()
            await creative.lose_the_second_worker(fall_silent)
            assert await creative.complete()
    lost = "What is being answered is lost: a worker does not answer workers=node2"
    assert lost in "\n".join(log_lines(caplog))
    assert "It starts anew in the middle of an answer" not in caplog.text


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft")
async def test_a_cut_cable_ends_the_connections_of_both_sides_whatever_the_directory_says(
    tmp_path: Path, identity: TlsIdentity
) -> None:
    with contextlib.ExitStack() as stack:
        here = stack.enter_context(contextlib.closing(Worker(1, identity, identity.certificate.parent)))
        cable = stack.enter_context(contextlib.closing(Cable()))
        far = stack.enter_context(
            contextlib.closing(Worker(2, identity, identity.certificate.parent, cable.address, cable.within))
        )
        directory = StaticDirectory(SystemClock(), [here.endpoint, far.endpoint])
        async with expert(tmp_path, [listed()], directory, workers=2, identity=identity) as creative:
            await creative.ready()
            served = creative.host.served
            assert served is not None and len(served.workers) == 2
            assert cable.is_talking_to(far.inner)
            took_s = await creative.lose_the_second_worker(cable.cut)
            say(f"  a cable cut: served again after {took_s:.1f} s")
            # The worker has only one place, and it is free for who comes next.
            await eventually(lambda: not cable.is_talking_to(far.inner), READY_TIMEOUT_S)


async def test_a_worker_that_comes_is_taken_when_nobody_is_being_answered(
    tmp_path: Path, workers: list[Worker], identity: TlsIdentity
) -> None:
    directory = StaticDirectory(SystemClock(), [workers[0].endpoint])
    async with expert(tmp_path, [listed()], directory, workers=1, identity=identity) as creative:
        await creative.ready()
        answer = asyncio.create_task(creative.complete(300))
        await asyncio.sleep(0.5)
        directory.add(workers[1].endpoint)
        # The answer that was being given is given to its end.
        assert len((await answer).split()) > 50
        await eventually(
            lambda: creative.host.served is not None and len(creative.host.served.workers) == 2,
            READY_TIMEOUT_S,
        )
        assert await creative.complete()


async def test_a_worker_lets_in_only_who_shows_its_experts_certificate(
    tmp_path: Path, workers: list[Worker], identity: TlsIdentity
) -> None:
    worker = workers[0].endpoint
    await eventually(lambda: reaches(worker, identity), 10.0)
    other = make_identity(tmp_path)
    assert not await reaches(worker, other)
    # Neither without TLS, nor by TLS without a certificate.
    reader, writer = await asyncio.open_connection(worker.address, worker.port)
    # llama.cpp's greeting (ggml/src/ggml-rpc/ggml-rpc.cpp: command HELLO, no payload).
    writer.write(bytes([14]) + bytes(8))
    async with asyncio.timeout(10):
        assert await reader.read() in (b"", b"\x15\x03\x03\x00\x02\x02\x46")
    writer.close()
    command = ["openssl", "s_client", "-quiet", "-connect", f"{worker.address}:{worker.port}"]
    refused = await asyncio.to_thread(
        subprocess.run, command, input=b"x", capture_output=True, check=False, timeout=10
    )
    assert b"certificate required" in refused.stderr + refused.stdout


def test_the_list_of_a_job_holds_what_models_yaml_holds() -> None:
    entries = yaml.safe_load((ROOT / "group_vars/models.yaml").read_text(encoding="utf-8"))["main_models"]
    keys = ("name", "filename", "sha256", "memory_mb", "requires_cpu")
    for entry in entries:
        given = {key: entry[key] for key in keys if key in entry}
        order = {
            "expert": "main",
            "models": [given],
            "models_dir": "/m",
            "program": "/p",
            "port": 1,
            "folder": "/f",
        }
        assert ExpertOrder.model_validate(order).models[0].name == entry["name"]
