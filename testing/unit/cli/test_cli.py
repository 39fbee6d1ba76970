"""The command line itself: what a run of one command imports."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from pipecatapp.cli import COMMANDS, main

pytestmark = pytest.mark.unit


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    real = importlib.import_module

    def remember(name: str) -> ModuleType:
        names.append(name.rpartition(".")[2])
        return real(name)

    monkeypatch.setattr("pipecatapp.cli.importlib.import_module", remember)
    return names


def test_a_command_that_is_named_is_imported_alone(imported: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["artifacts", "--help"])
    assert imported == ["artifacts"]


def test_help_lists_every_command(imported: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert [name for name in imported if name in COMMANDS] == list(COMMANDS)
    assert "artifacts" in capsys.readouterr().out
