"""Of a build's CPU libraries the best that does not die is used, by every program."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pipecatapp.adapters.host.trial_results import Machine, TrialResults
from pipecatapp.adapters.llm.llama_variants import LlamaVariants
from pipecatapp.errors import AdapterError
from testing.planted import plant_variant, stand_in_build

pytestmark = pytest.mark.integration

MACHINE = Machine("Xeon", frozenset({"avx512f", "amx_tile"}), "6.1.0-28-amd64 #1 SMP")


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build whose best library works."""
    folder = tmp_path / "build"
    stand_in_build(folder)
    plant_variant(folder, "x64", 1)
    plant_variant(folder, "haswell", 64)
    plant_variant(folder, "icelake", 500)
    plant_variant(folder, "zen9", 0)
    (tmp_path / "model.gguf").touch()
    return folder


def variants(folder: Path, machine: Machine = MACHINE) -> LlamaVariants:
    return LlamaVariants(TrialResults(folder / "trials", machine))


def used_by(program: Path) -> str:
    done = subprocess.run([str(program)], capture_output=True, text=True, check=True, cwd="/")
    return Path(done.stdout.strip()).name


def fitted(folder: Path, program: str = "llama-server", machine: Machine = MACHINE) -> Path:
    return variants(folder, machine).fitted(folder / "build" / program, folder / "model.gguf")


def test_a_build_whose_best_library_works_is_used_as_it_is(tmp_path: Path, build: Path) -> None:
    assert fitted(tmp_path) == build / "llama-server"
    assert variants(tmp_path).set_aside(build / "llama-server") == {}


@pytest.mark.parametrize("dies", ["init", "score"])
def test_a_library_that_dies_is_set_aside_for_every_program(tmp_path: Path, build: Path, dies: str) -> None:
    plant_variant(build, "sapphirerapids", 4000, dies=dies)
    files = sorted(path.name for path in build.iterdir())
    for program in ("llama-server", "llama-bench"):
        assert used_by(fitted(tmp_path, program)) == "libggml-cpu-icelake.so"
    assert sorted(path.name for path in build.iterdir()) == files
    why = variants(tmp_path).set_aside(build / "llama-server")
    assert list(why) == ["libggml-cpu-sapphirerapids.so"]
    assert "SIGILL" in why["libggml-cpu-sapphirerapids.so"]


def test_the_next_one_is_taken_until_one_lives(tmp_path: Path, build: Path) -> None:
    plant_variant(build, "sapphirerapids", 4000, dies="init")
    plant_variant(build, "icelake", 500, dies="init")
    assert used_by(fitted(tmp_path)) == "libggml-cpu-haswell.so"


def test_what_was_tried_is_not_tried_again(tmp_path: Path, build: Path) -> None:
    plant_variant(build, "sapphirerapids", 4000, dies="init")
    first = fitted(tmp_path)
    # Without a model nothing could be tried.
    (tmp_path / "model.gguf").unlink()
    assert fitted(tmp_path) == first


@pytest.mark.parametrize(
    "change",
    [{"kernel": "6.1.0-29-amd64 #1 SMP"}, {"cpu": "another Xeon"}, {"flags": frozenset({"avx512f"})}],
)
def test_another_kernel_or_cpu_tries_anew(tmp_path: Path, build: Path, change: dict[str, str]) -> None:
    plant_variant(build, "sapphirerapids", 4000, dies="init")
    first = fitted(tmp_path)
    plant_variant(build, "sapphirerapids", 4000)
    there = replace(MACHINE, **change)
    assert fitted(tmp_path, machine=there) == build / "llama-server"
    # One that a link of the time before still leads to is followed back to its build.
    assert variants(tmp_path, there).fitted(first, tmp_path / "model.gguf") == build / "llama-server"


def test_another_build_in_the_folder_is_tried_anew(tmp_path: Path, build: Path) -> None:
    assert fitted(tmp_path) == build / "llama-server"
    plant_variant(build, "sapphirerapids", 4000, dies="init")
    assert used_by(fitted(tmp_path)) == "libggml-cpu-icelake.so"


def test_a_build_that_died_when_it_served_is_tried_anew(tmp_path: Path, build: Path) -> None:
    plant_variant(build, "sapphirerapids", 4000, dies="init")
    file = tmp_path / "trials" / f"{MACHINE.key}.json"
    first = fitted(tmp_path)
    # As on a guest that was moved to another host: the same CPU by name, and a trial that said it works.
    kept = json.loads(file.read_text(encoding="utf-8"))
    entry = next(iter(kept["tried"].values()))
    entry |= {"set_aside": {}, "uses": ""}
    file.write_text(json.dumps(kept), encoding="utf-8")
    assert fitted(tmp_path) == build / "llama-server"
    variants(tmp_path).doubt(build / "llama-server", "SIGILL")
    assert fitted(tmp_path) == first


def test_a_folder_of_another_user_is_taken_as_it_is(tmp_path: Path, build: Path) -> None:
    plant_variant(build, "sapphirerapids", 4000, dies="init")
    roots = fitted(tmp_path)
    (tmp_path / "model.gguf").unlink()
    mine = LlamaVariants(TrialResults(tmp_path / "mine", MACHINE))
    link = tmp_path / "llama-server"
    link.symlink_to(roots)
    assert mine.fitted(link, tmp_path / "model.gguf") == roots
    assert list(mine.set_aside(build / "llama-server")) == ["libggml-cpu-sapphirerapids.so"]


def test_where_all_die_the_sentence_names_each(tmp_path: Path, build: Path) -> None:
    for name, score in (("x64", 1), ("haswell", 64), ("icelake", 500)):
        plant_variant(build, name, score, dies="init")
    with pytest.raises(AdapterError, match=r"icelake.so: .*SIGILL.*haswell.so: .*x64.so: ") as caught:
        fitted(tmp_path)
    assert "twin models verify" in caught.value.hint
    # It may have been the model: another one is tried.
    plant_variant(build, "x64", 1)
    assert used_by(fitted(tmp_path)) == "libggml-cpu-x64.so"


def test_a_trial_that_shows_nothing_of_the_cpu_is_not_remembered(tmp_path: Path, build: Path) -> None:
    (tmp_path / "model.gguf").unlink()
    assert fitted(tmp_path) == build / "llama-server"
    plant_variant(build, "sapphirerapids", 4000, dies="init")
    (tmp_path / "model.gguf").touch()
    assert used_by(fitted(tmp_path)) == "libggml-cpu-icelake.so"


def test_without_a_model_nothing_is_tried(tmp_path: Path, build: Path) -> None:
    plant_variant(build, "sapphirerapids", 4000, dies="init")
    assert variants(tmp_path).fitted(build / "llama-server") == build / "llama-server"
