"""Saved states come back whole, or say what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipecatapp.errors import ConfigError
from pipecatapp.memory.state_file import STATE_VERSION, list_states, load_state, save_state
from pipecatapp.ports import MemoryState
from testing.conformance.memory_suite import STATE

pytestmark = pytest.mark.unit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "states"


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Save a good state called x, then change its data."""
    save_state(folder, "x", STATE, saved_s=1.0)
    file = folder / "x.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def test_a_state_comes_back_as_it_was(folder: Path) -> None:
    saved = save_state(folder, "monday_1", STATE, saved_s=12.5)
    assert load_state(folder, "monday_1") == STATE
    file = folder / "monday_1.json"
    assert saved.size_bytes == file.stat().st_size
    assert json.loads(file.read_text())["version"] == STATE_VERSION == 1
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_empty_state_comes_back(folder: Path) -> None:
    save_state(folder, "empty", MemoryState(), saved_s=1.0)
    assert load_state(folder, "empty") == MemoryState()


def test_saving_again_replaces_and_leaves_no_draft(folder: Path) -> None:
    save_state(folder, "x", STATE, saved_s=1.0)
    save_state(folder, "x", MemoryState(), saved_s=2.0)
    assert load_state(folder, "x") == MemoryState()
    assert [item.name for item in folder.iterdir()] == ["x.json"]


def test_a_write_that_fails_leaves_the_old_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state(folder, "x", STATE, saved_s=1.0)

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConfigError, match="No space left") as caught:
        save_state(folder, "x", MemoryState(), saved_s=2.0)
    assert caught.value.status == 507
    assert load_state(folder, "x") == STATE
    assert [item.name for item in folder.iterdir()] == ["x.json"]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/etc/passwd", "a.json", "-x", ".x", "a b", "x\n", "x" * 65, "ü", "a\0"],
)
def test_a_name_that_is_a_path_is_refused(folder: Path, name: str) -> None:
    for call in (lambda: save_state(folder, name, STATE, saved_s=1.0), lambda: load_state(folder, name)):
        with pytest.raises(ConfigError, match="use 1 to 64 letters") as caught:
            call()
        assert caught.value.status == 422
    assert not folder.exists()


def test_an_unknown_state_lists_the_saved_ones(folder: Path) -> None:
    save_state(folder, "monday", STATE, saved_s=1.0)
    with pytest.raises(ConfigError, match="no saved state 'tuesday'; saved: monday") as caught:
        load_state(folder, "tuesday")
    assert caught.value.status == 404


def test_states_are_listed_without_what_is_none(folder: Path) -> None:
    assert list_states(folder) == []
    save_state(folder, "monday", STATE, saved_s=1.0)
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.json").write_text("x")
    assert [state.name for state in list_states(folder)] == ["monday"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "line 1, column 1"),
        (b'{"format": "twin-memory-state", "version": 1, "facts": [', "line 1, column"),
        (b"\xff\xfe\x00", "byte 0 is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "does not say"),
        (b'{"format": "other", "version": 1}', "does not say"),
    ],
)
def test_a_damaged_file_says_where(folder: Path, data: bytes, why: str) -> None:
    folder.mkdir()
    (folder / "x.json").write_bytes(data)
    with pytest.raises(ConfigError, match=why) as caught:
        load_state(folder, "x")
    assert (caught.value.code, caught.value.status) == ("state-damaged", 422)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: data.update(version=0), "version is 0; valid: 1 to 1"),
        (lambda data: data.update(version="1"), "version is '1'"),
        (lambda data: data.update(extra=1), "extra: Extra inputs"),
        (lambda data: data.pop("facts"), "facts: Field required"),
        (lambda data: data["facts"][0].update(text=7), r"facts\.0\.text: Input should be a valid string"),
        (lambda data: data["facts"].append(data["facts"][0]), "facts holds 'a' twice"),
        (lambda data: data["conversations"]["old"][0].pop("turn_id"), r"conversations\.old\.0\.turn_id"),
        (
            lambda data: data["conversations"]["old"].append(data["conversations"]["old"][0]),
            r"conversations\.old holds 'turn-1' twice",
        ),
    ],
)
def test_wrong_content_is_named(folder: Path, change: Callable[[dict[str, Any]], object], why: str) -> None:
    rewrite(folder, change)
    with pytest.raises(ConfigError, match=why):
        load_state(folder, "x")


def test_a_newer_version_is_refused(folder: Path) -> None:
    rewrite(folder, lambda data: data.update(version=2, novelty={}))
    with pytest.raises(ConfigError, match="has version 2; this program reads up to 1") as caught:
        load_state(folder, "x")
    assert (caught.value.code, caught.value.status) == ("state-too-new", 409)
