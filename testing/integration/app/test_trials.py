"""An engine that dies of an instruction is never used in this process, and is told in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipecatapp.adapters.llm.server_process import free_ports
from pipecatapp.app.clock import SystemClock
from pipecatapp.app.health import Health
from pipecatapp.app.memory import faiss_works, pick_memory
from pipecatapp.app.trials import EngineTrials
from pipecatapp.cli import main
from pipecatapp.errors import ConfigError
from pipecatapp.settings import Settings
from testing.fakes.fake_embedder import FakeEmbedder
from testing.planted import path_with, plant_package

pytestmark = pytest.mark.integration

DIES = "def omp_set_num_threads(count): pass\ndef IndexFlatIP(dimensions): die()\n"
DIES_ABOVE_GENERIC = """
import os
import numpy
def omp_set_num_threads(count): pass
class IndexFlatIP:
    ntotal = 64
    def __init__(self, dimensions):
        if os.environ.get('FAISS_OPT_LEVEL') != 'generic': die()
    def add(self, rows): pass
    def search(self, rows, limit): return numpy.zeros((1, limit)), numpy.zeros((1, limit))
"""


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TWIN_CACHE_DIR", "TWIN_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    # What a trial sets in this process is taken back.
    monkeypatch.setenv("FAISS_OPT_LEVEL", "")


def settings() -> Settings:
    return Settings()  # type: ignore[call-arg]


def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> None:
    monkeypatch.setenv("PYTHONPATH", path_with(plant_package(tmp_path / "planted", name, code)))


def test_real_faiss_works(tmp_path: Path) -> None:
    trials = EngineTrials(settings())
    assert trials.engine_fault("faiss") == ""
    assert trials.tried() == ("faiss",)
    assert trials.set_aside() == {}


async def test_the_memory_finds_by_numpy_where_faiss_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(tmp_path, monkeypatch, "faiss", DIES)
    uses_faiss = await faiss_works(settings())
    assert not uses_faiss
    settings().data_dir.mkdir()
    memory = pick_memory(settings(), FakeEmbedder(), SystemClock(), lambda: [], uses_faiss=uses_faiss)
    await memory.store.add_fact("The dog is called Biscuit.")
    found = await memory.store.search("What is the dog called?", limit=1)
    await memory.store.close()
    assert [fact.text for fact in found] == ["The dog is called Biscuit."]
    why = "FAISS does not work on this CPU: it ended by SIGILL, an instruction"
    assert EngineTrials(settings()).set_aside()["FAISS"].startswith("it ended by SIGILL, an instruction")
    assert why in EngineTrials(settings()).notes()["memory"]


def test_doctor_says_what_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(tmp_path, monkeypatch, "faiss", DIES)
    EngineTrials(settings()).engine_fault("faiss")
    main(["doctor"])
    said = capsys.readouterr().out
    assert "warn set aside on this CPU: FAISS: it ended by SIGILL" in said
    assert "twin trials --again" in said


def test_a_lower_instruction_set_is_taken_where_it_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, monkeypatch, "faiss", DIES_ABOVE_GENERIC)
    trials = EngineTrials(settings())
    assert trials.engine_fault("faiss") == ""
    assert os.environ["FAISS_OPT_LEVEL"] == "generic"
    assert "it works with FAISS_OPT_LEVEL=generic" in trials.notes()["memory"]


def test_it_is_tried_once_and_again_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, monkeypatch, "faiss", DIES)
    assert EngineTrials(settings()).engine_fault("faiss")
    monkeypatch.delenv("PYTHONPATH")
    assert EngineTrials(settings()).engine_fault("faiss")
    assert main(["trials", "--doubt", "faiss", "it ended by SIGILL when it served"]) == 0
    assert EngineTrials(settings()).engine_fault("faiss") == ""


async def test_what_has_no_other_is_refused_in_a_sentence_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, monkeypatch, "onnxruntime", "die()\n")
    with pytest.raises(ConfigError, match=r"Silero .*SIGILL.*; calls need it\.") as caught:
        await EngineTrials(settings()).require("silero", "calls need it")
    assert "CPU model" in caught.value.hint


def test_serving_stops_before_the_library_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, monkeypatch, "onnxruntime", "die()\n")
    command = [
        sys.executable,
        "-m",
        "pipecatapp",
        "serve",
        "--port",
        str(free_ports(1)[0]),
        "--tls-port",
        "0",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "twin serve: the voice detector Silero (ONNX Runtime) does not work on this CPU" in done.stderr


def test_a_package_that_is_not_there_or_fails_in_words_is_no_fault_of_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, monkeypatch, "faiss", "raise ImportError('no libgomp')\n")
    trials = EngineTrials(settings())
    assert trials.engine_fault("faiss") == ""
    assert trials.tried() == ()


def test_health_tells_it_with_the_part(tmp_path: Path) -> None:
    async def answers() -> str:
        return "memory answered a search"

    health = Health({"memory": answers}, {}, lambda: {"memory": "FAISS is set aside"})
    assert health.checks()["memory"].detail.endswith("; FAISS is set aside")


def test_trials_prints_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(tmp_path, monkeypatch, "faiss", DIES)
    # Without a model only what needs none is tried.
    assert main(["trials", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "SIGILL" in told["tried"]["FAISS"]
    assert list(told["set_aside"]) == ["FAISS"]
