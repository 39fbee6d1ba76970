"""Saved states in a folder: the port's promises, and what is on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipecatapp.adapters.memory.state_folder import StateFolder
from pipecatapp.errors import ConfigError
from testing.conformance.states_suite import StatesSuite

pytestmark = pytest.mark.unit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "states"


def modes(folder: Path) -> dict[str, int]:
    return {item.name: item.stat().st_mode & 0o777 for item in folder.iterdir()}


class TestStateFolder(StatesSuite):
    @pytest.fixture
    def states(self, folder: Path) -> StateFolder:
        return StateFolder(folder)


async def test_only_the_owner_may_read_and_no_draft_is_left(folder: Path) -> None:
    for data in (b"old", b"new"):
        await StateFolder(folder).save("x", data, saved_s=1.0)
    assert modes(folder) == {"x.json": 0o600}


async def test_a_write_that_fails_leaves_the_old_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = StateFolder(folder)
    await states.save("x", b"old", saved_s=1.0)

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConfigError, match="No space left") as caught:
        await states.save("x", b"new", saved_s=2.0)
    assert caught.value.status == 507
    assert await states.load("x") == b"old"
    assert list(modes(folder)) == ["x.json"]


async def test_files_that_are_no_state_are_not_listed(folder: Path) -> None:
    await StateFolder(folder).save("monday", b"x", saved_s=1.0)
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.json").write_text("x")
    assert [state.name for state in await StateFolder(folder).list()] == ["monday"]
