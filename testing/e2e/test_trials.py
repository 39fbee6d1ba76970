"""A real llama.cpp with a planted CPU library, and engines that die: what lives takes their place."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from pipecatapp.adapters.host.cpu import CpuInfo, read_cpu
from pipecatapp.adapters.host.trial_results import FOLDER, Outcome, TrialResults, this_machine
from pipecatapp.adapters.llm.llama_variants import PROMPT_TOKENS, LlamaVariants, build_of
from pipecatapp.adapters.llm.server_process import HOST, free_ports
from pipecatapp.app.engines import pick_embedder, pick_llm, pick_stt, pick_tts
from pipecatapp.app.models import model_store
from pipecatapp.app.trials import EngineTrials
from pipecatapp.errors import ConfigError
from pipecatapp.ops.expert_supervisor import ExpertOrder, ExpertSecrets, ExpertSupervisor
from pipecatapp.ops.node_profile import PROFILE_FILE
from pipecatapp.ports import ChatRequest, Message
from pipecatapp.settings import Settings
from testing.conformance.llm_suite import collect, text_of
from testing.e2e.engine_models import MODELS, SMOLLM, llama_binary, model
from testing.e2e.processes import eventually
from testing.log_lines import log_lines
from testing.plans import PROFILES
from testing.planted import path_with, plant_package, plant_variant, plant_withheld

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PLANTED = "libggml-cpu-planted.so"
READY_TIMEOUT_S = 120.0
ASK = ChatRequest(messages=(Message("user", "Is water wet?"),), max_tokens=4, grammar='root ::= "yes" | "no"')
KEY = "not-a-secret"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TWIN_CACHE_DIR with a real build, among whose CPU libraries the one that dies has the highest score."""
    folder = tmp_path / "cache"
    built = llama_binary().parent.parent
    shutil.copytree(built, folder / "artifacts" / "llama.cpp" / built.name, symlinks=True)
    plant_variant(programs(folder), "planted", 1_000_000, dies="init")
    places = {"TWIN_CACHE_DIR": folder, "TWIN_DATA_DIR": tmp_path / "data", "TWIN_MODELS_DIR": MODELS}
    more = {
        "LLM_SERVICE": "llama-server",
        "LLM_MODEL": "smollm2-135m",
        "LLM_CONTEXT": "512",
        "LLM_SLOTS": "1",
    }
    for name, value in (places | more).items():
        monkeypatch.setenv(name, str(value))
    # What a trial sets in this process is taken back.
    monkeypatch.setenv("CT2_FORCE_CPU_ISA", "")
    return folder


def programs(cache: Path) -> Path:
    return next((cache / "artifacts" / "llama.cpp").glob("*/bin"))


def settings(**values: str) -> Settings:
    return Settings(**values)  # type: ignore[arg-type]


def variants(cache: Path) -> LlamaVariants:
    return LlamaVariants(TrialResults(cache / FOLDER, this_machine(read_cpu())))


def believe(cache: Path) -> None:
    """Have the memory say that the build works, as on a guest that was moved to another host since."""
    memory = TrialResults(cache / FOLDER, this_machine(read_cpu()))
    build = build_of(programs(cache) / "llama-server")
    memory.keep(build.subject, Outcome(build=build.key))


def twin(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipecatapp", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)


def bench(program: Path, prompt: int = 4) -> subprocess.CompletedProcess[str]:
    command = [str(program), "-m", str(model(SMOLLM)), "-p", str(prompt), "-n", "1", "-r", "1", "-o", "json"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_program_runs_without_the_library_that_dies(cache: Path) -> None:
    assert bench(programs(cache) / "llama-bench").returncode == -signal.SIGILL
    fitted = variants(cache).fitted(programs(cache) / "llama-bench", model(SMOLLM))
    assert bench(fitted).returncode == 0
    # The build is as it was: others may share it.
    assert (programs(cache) / PLANTED).exists()
    assert sorted(path.name for path in fitted.parent.glob("libggml-cpu-*.so")) != [PLANTED]


def test_amx_that_is_shown_and_withheld_is_found_by_a_prompt_of_several_tokens(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real library for AMX; only a CPU whose system lets programs use AMX runs it."""
    (programs(cache) / PLANTED).unlink()
    allowed = plant_withheld(programs(cache), "libggml-cpu-sapphirerapids.so")
    monkeypatch.setenv("LD_PRELOAD", str(allowed))
    died = bench(programs(cache) / "llama-bench", prompt=PROMPT_TOKENS).returncode == -signal.SIGILL
    assert died or "amx_tile" in read_cpu().flags
    fitted = variants(cache).fitted(programs(cache) / "llama-bench", model(SMOLLM))
    aside = variants(cache).set_aside(programs(cache) / "llama-bench")
    assert list(aside) == (["libggml-cpu-shown.so"] if died else [])
    assert bench(fitted, prompt=PROMPT_TOKENS).returncode == 0


def test_the_commands_use_and_tell_it(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of the models only the one that llama.cpp is tried with.
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / SMOLLM).symlink_to(model(SMOLLM))
    monkeypatch.setenv("TWIN_MODELS_DIR", str(tmp_path / "models"))
    profile = next(PROFILES.glob("*.json"))
    (tmp_path / "data").mkdir()
    shutil.copy(profile, tmp_path / "data" / PROFILE_FILE)
    shown = twin("trials")
    assert f"set aside  {PLANTED}: when it computed a token it ended by SIGILL" in shown.stdout, shown.stderr
    told = twin("doctor").stdout
    assert f"warn set aside on this CPU: {PLANTED}: when it computed a token it ended by SIGILL" in told
    # What has measured itself before adds it to its profile, and does not measure anew.
    shown_profile = json.loads(twin("node", "profile", "--json").stdout)
    assert list(shown_profile.pop("set_aside")) == [PLANTED]
    assert shown_profile == json.loads(profile.read_text(encoding="utf-8"))
    assert PLANTED in (tmp_path / "data" / PROFILE_FILE).read_text(encoding="utf-8")
    run = twin("artifacts", "run", "llama-bench", "-m", str(model(SMOLLM)), "-p", "4", "-n", "1", "-r", "1")
    assert run.returncode == 0, run.stderr
    path = twin("artifacts", "path", "llama.cpp", "llama-server").stdout.strip()
    assert Path(path).is_relative_to(cache / FOLDER)
    fetched = twin("artifacts", "fetch", "llama.cpp", "--json")
    assert json.loads(fetched.stdout)["paths"]["llama.cpp"] == str(Path(path).parent)


async def test_the_agents_server_answers(cache: Path) -> None:
    picked = await pick_llm(settings(), model_store(settings()), read_cpu())
    try:
        assert text_of(await collect(picked.client, ASK)) in {"yes", "no"}
    finally:
        await picked.close()
    assert PLANTED in EngineTrials(settings()).notes()["llm"]


async def test_a_server_that_dies_at_its_start_is_tried_anew_and_serves(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    believe(cache)
    picked = await pick_llm(settings(), model_store(settings()), read_cpu())
    try:
        assert text_of(await collect(picked.client, ASK)) in {"yes", "no"}
    finally:
        await picked.close()
    assert "died of an instruction; its engine is tried anew" in caplog.text


async def test_a_server_that_dies_later_is_tried_anew_and_serves(cache: Path) -> None:
    (programs(cache) / PLANTED).unlink()
    picked = await pick_llm(settings(), model_store(settings()), read_cpu())
    assert picked.server is not None
    try:
        plant_variant(programs(cache), "planted", 1_000_000, dies="init")
        believe(cache)
        os.kill(picked.server.pid, signal.SIGILL)
        await eventually(lambda: picked.server is not None and picked.server.restarts > 0, READY_TIMEOUT_S)
        await picked.server.wait_ready(timeout_s=READY_TIMEOUT_S)
        assert text_of(await collect(picked.client, ASK)) in {"yes", "no"}
    finally:
        await picked.close()
    assert list(variants(cache).set_aside(programs(cache) / "llama-server")) == [PLANTED]


def test_the_service_of_the_model_tries_anew_when_it_is_started_again(cache: Path) -> None:
    believe(cache)
    port = free_ports(1)[0]
    died = twin("llm", "--port", str(port))
    assert died.returncode == 128 + signal.SIGILL
    with subprocess.Popen([sys.executable, "-m", "pipecatapp", "llm", "--port", str(port)]) as service:
        try:
            asyncio.run(eventually(lambda: is_healthy(port), READY_TIMEOUT_S))
        finally:
            service.terminate()
    assert service.returncode == 128 + signal.SIGTERM or service.returncode == 0
    assert not is_healthy(port)


def is_healthy(port: int) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://{HOST}:{port}/health", trust_env=False).status_code == 200
    return False


@asynccontextmanager
async def expert(cache: Path, folder: Path) -> AsyncIterator[ExpertSupervisor]:
    digest = hashlib.sha256(model(SMOLLM).read_bytes()).hexdigest()
    listed = {"filename": SMOLLM, "sha256": digest, "memory_mb": 270}
    order = {
        "expert": "creative",
        "models": [{"name": "first"} | listed, {"name": "second"} | listed],
        "models_dir": str(MODELS),
        "program": str(programs(cache) / "llama-server"),
        "port": free_ports(1)[0],
        "folder": str(folder),
        "context": 512,
        "slots": 1,
        "threads": 1,
    }
    made = ExpertOrder.model_validate(order)
    host = ExpertSupervisor(made, ExpertSecrets(KEY), variants=variants(cache))
    running = asyncio.create_task(host.run())
    try:
        yield host
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_an_expert_serves_the_same_model_after_a_new_trial(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    believe(cache)
    async with expert(cache, tmp_path) as host:
        await eventually(lambda: host.served is not None, READY_TIMEOUT_S)
        assert host.served is not None
        assert host.served.model.name == "first"
    [told] = [line for line in log_lines(caplog) if "A model is not served" in line]
    assert "model=first where=this node reason=creative: first ended at once (SIGILL," in told


async def test_an_expert_whose_server_dies_later_serves_the_same_model(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with expert(cache, tmp_path) as host:
            await eventually(lambda: host.served is not None, READY_TIMEOUT_S)
            before = host.served
            assert before is not None
            caplog.clear()
            os.kill(before.server.pid, signal.SIGILL)
            await eventually(lambda: host.served not in (None, before), READY_TIMEOUT_S)
            assert host.served is not None
            assert host.served.model.name == "first"
    [told] = [line for line in log_lines(caplog) if "The server of a model ended" in line]
    assert "model=first ending=SIGILL, an instruction" in told
    assert "Trying llama.cpp once on this CPU" in caplog.text


async def test_pocketsphinx_listens_where_whispers_library_dies(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", path_with(plant_package(tmp_path / "planted", "ctranslate2", "die()\n")))
    picked = await pick_stt(settings(), model_store(settings()), read_cpu())
    await picked.engine.close()
    assert "pocketsphinx (en-us), because Whisper (CTranslate2) does not work on this CPU" in picked.reason
    with pytest.raises(ConfigError, match=r"STT_SERVICE=embedded: .*SIGILL.*valid here: auto, pocketsphinx"):
        await pick_stt(settings(stt_service="embedded"), model_store(settings()), read_cpu())


async def test_espeak_speaks_where_pipers_library_dies_and_the_memory_says_what_it_needs(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", path_with(plant_package(tmp_path / "planted", "onnxruntime", "die()\n")))
    picked = await pick_tts(settings(), model_store(settings()), read_cpu())
    await picked.engine.close()
    assert "because Piper (ONNX Runtime) does not work on this CPU: it ended by SIGILL" in picked.reason
    with pytest.raises(ConfigError, match=r"MiniLM .*SIGILL.*; the memory and the choice") as caught:
        await pick_embedder(settings(), model_store(settings()), read_cpu())
    assert "EMBEDDER_SERVICE=openai" in caught.value.hint


async def test_the_built_server_thinks_where_the_prebuilt_engine_dies(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", path_with(plant_package(tmp_path / "planted", "xllamacpp", "die()\n")))
    monkeypatch.setenv("LLM_SERVICE", "auto")
    cpu: CpuInfo = read_cpu()
    picked = await pick_llm(settings(), model_store(settings()), cpu)
    try:
        assert text_of(await collect(picked.client, ASK)) in {"yes", "no"}
    finally:
        await picked.close()
    assert "llama-server, because the prebuilt language model's engine" in picked.reason
