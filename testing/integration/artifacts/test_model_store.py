"""The models on this machine, as the agent and the command line see them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipecatapp.artifacts.artifact_store import ArtifactStore
from pipecatapp.artifacts.catalogue import load_catalogue
from pipecatapp.artifacts.mirror import publish
from pipecatapp.artifacts.model_store import ModelStore
from pipecatapp.cli import main
from pipecatapp.errors import ArtifactError
from testing.integration.artifacts.entries import payload, sha256
from testing.integration.artifacts.hub import Hub

pytestmark = pytest.mark.integration

TALK = payload(20_000, seed=1)
BETTER = payload(30_000, seed=2)
HEAR = {"model.bin": payload(9_000, seed=3), "config.json": b'{"a": 1}'}


def lines_of(expert: str, name: str, hub: str, body: bytes, **more: str) -> str:
    fields = {"memory_mb": "1", "profile": "embedded", **more}
    extra = "".join(f"    {key}: {value}\n" for key, value in fields.items())
    return (
        f"  - name: {name}\n    url: {hub}/{name}\n    filename: {name}.gguf\n    sha256: {sha256(body)}\n"
        f"    size_bytes: {len(body)}\n    licence: MIT\n    parameters: 1B\n    context_length: 0\n{extra}"
    )


def write_catalogue(folder: Path, hub: str) -> Path:
    folder.mkdir()
    files = "".join(
        f"      - filename: {name}\n        sha256: {sha256(body)}\n        size_bytes: {len(body)}\n"
        for name, body in HEAR.items()
    )
    hearing = (
        f"  - name: hear\n    url: {hub}/hear/{{filename}}\n    licence: MIT\n    parameters: 1B\n"
        f"    memory_mb: 1\n    context_length: 0\n    profile: embedded\n    files:\n{files}"
    )
    better = lines_of("main", "better", hub, BETTER, profile="hub")
    giant = lines_of("main", "giant", hub, BETTER[:-1], memory_mb="99999999")
    talk = lines_of("main", "talk", hub, TALK)
    text = (
        f"main_models:\n{giant}{better}{talk}stt_models:\n{hearing}"
        f"tts_models:\n{lines_of('tts', 'speak', hub, TALK)}embedding_models:\n"
        f"{lines_of('embedding', 'embed', hub, b'embed')}"
    )
    (folder / "models.yaml").write_text(text)
    (folder / "artifacts.yaml").write_text("artifacts: []\n")
    return folder


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        for name, body in (("talk", TALK), ("speak", TALK), ("embed", b"embed"), ("better", BETTER)):
            server.serve(f"/{name}", body)
        for name, body in HEAR.items():
            server.serve(f"/hear/{name}", body)
        yield server


@pytest.fixture
def store(tmp_path: Path, hub: Hub) -> ModelStore:
    return ModelStore(tmp_path / "models", load_catalogue(write_catalogue(tmp_path / "catalogue", hub.url)))


@pytest.fixture
def command(tmp_path: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command line's settings; returns the folder of the models."""
    monkeypatch.setenv("TWIN_CATALOGUE_DIR", str(tmp_path / "catalogue"))
    monkeypatch.setenv("TWIN_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("TWIN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("TWIN_MIRROR_URL", raising=False)
    monkeypatch.delenv("TWIN_PROFILE", raising=False)
    return tmp_path / "models"


def test_absent_model_comes_with_the_command_that_fetches_it(store: ModelStore) -> None:
    with pytest.raises(ArtifactError, match="model 'talk' is not on this machine") as caught:
        store.path("talk")
    assert caught.value.hint == "Fetch it with: twin models fetch talk"
    assert not store.root.exists(), "asking made a folder"


def test_model_of_one_file_is_a_path_and_of_many_a_folder(store: ModelStore) -> None:
    assert store.ensure("talk")
    assert store.ensure("hear")
    assert not store.ensure("hear")
    assert store.path("talk").read_bytes() == TALK
    assert {path.name: path.read_bytes() for path in store.path("hear").iterdir()} == HEAR
    assert store.present() == ("talk", "hear")


def test_flipped_byte_stops_the_start_and_names_the_file(store: ModelStore) -> None:
    store.ensure("hear")
    (store.root / "hear" / "config.json").write_bytes(b'{"a": 2}')
    with pytest.raises(ArtifactError, match=r"model 'hear' is damaged: the sha256 of hear/config.json"):
        store.path("hear")
    with pytest.raises(ArtifactError, match="damaged"):
        store.verify("hear")
    assert store.ensure("hear")
    store.verify("hear")


def test_best_model_that_is_here_is_chosen(store: ModelStore) -> None:
    with pytest.raises(ArtifactError, match="no model for 'main'.*candidates: talk") as caught:
        store.choose("main", memory_mb=100)
    assert "twin models fetch --expert main" in caught.value.hint
    store.ensure("talk")
    assert store.choose("main", memory_mb=100).name == "talk"
    store.ensure("better")
    assert store.choose("main", memory_mb=100).name == "better"
    assert store.choose("main", memory_mb=100, profile="embedded").name == "talk"


def test_whole_model_comes_from_a_mirror_when_nothing_else_answers(store: ModelStore, hub: Hub) -> None:
    store.ensure("hear")
    folder = store.root.parent / "mirror"
    artifacts = ArtifactStore(store.root.parent / "artifacts", store.catalogue)
    assert publish(folder, store.catalogue, store, artifacts) == 2
    hub.pages.clear()
    for path in folder.iterdir():
        hub.serve(f"/mirror/{path.name}", path.read_bytes())
    second = ModelStore(store.root.parent / "second", store.catalogue, mirror_url=f"{hub.url}/mirror")
    assert second.ensure("hear")
    second.verify("hear")


def test_fetch_brings_what_this_machine_needs_and_says_so_to_programs(
    command: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "fetch", "--json", "--changed-exit-code", "9"]) == 9
    first = json.loads(capsys.readouterr().out)
    assert first["changed"] is True
    assert first["fetched"] == ["talk", "hear", "speak", "embed"]
    assert main(["models", "fetch", "--json", "--changed-exit-code", "9"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["changed"] is False
    assert again["present"] == ["talk", "hear", "speak", "embed"]


def test_fetch_prints_sizes_first_and_dry_run_stops_there(
    command: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "fetch", "talk", "--dry-run"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["talk", "0.0", "MB", "absent"]
    assert shown[1].startswith("To fetch: 0.0 MB into")
    assert hub.requests == []


def test_hub_that_is_down_falls_back_to_the_embedded_model(
    command: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    del hub.pages["/better"]
    assert main(["models", "fetch", "--profile", "hub", "--expert", "main"]) == 0
    assert "Trying the next model for main" in capsys.readouterr().err
    assert (command / "talk.gguf").read_bytes() == TALK


def test_fetch_that_fails_says_why_and_exits_with_an_error(
    command: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.pages.clear()
    assert main(["models", "fetch", "talk"]) == 1
    assert "talk.gguf cannot be had. Tried: 1. " in capsys.readouterr().err


def test_unknown_model_lists_the_known_ones(command: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "fetch", "gpt"]) == 1
    assert "unknown model 'gpt'; known: giant, better, talk" in capsys.readouterr().err


def test_verify_names_a_damaged_file_and_exits_with_an_error(
    command: Path, store: ModelStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store.ensure("hear")
    assert main(["models", "verify"]) == 0
    (command / "hear" / "config.json").write_bytes(b'{"a": 2}')
    capsys.readouterr()
    assert main(["models", "verify"]) == 1
    assert "hear/config.json is damaged" in capsys.readouterr().out
    assert main(["models", "verify", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["models"]["hear"]["hear/config.json"] == "damaged"


def test_list_shows_state_and_why_a_model_does_not_run_here(
    command: Path, store: ModelStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store.ensure("talk")
    assert main(["models", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["models"]}
    assert rows["talk"]["state"] == "present"
    assert rows["talk"]["experts"] == ["main"]
    assert rows["giant"]["runs_here"] is False
    assert "this machine has" in rows["giant"]["why_not"]
    assert main(["models", "list"]) == 0
    assert "talk" in capsys.readouterr().out


def test_path_is_printed_alone(command: Path, store: ModelStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.ensure("talk")
    assert main(["models", "path", "talk"]) == 0
    assert capsys.readouterr().out == f"{command / 'talk.gguf'}\n"
