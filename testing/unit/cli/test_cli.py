"""The command line itself: what it lists, and what a run of one command imports."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

from pipecatapp.cli import COMMANDS, main, module_of

pytestmark = pytest.mark.unit

NOT_COMMANDS = {"__init__", "agent_client", "deprecated_words"}


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    real = importlib.import_module

    def remember(name: str) -> object:
        names.append(name)
        return real(name)

    monkeypatch.setattr("pipecatapp.cli.importlib.import_module", remember)
    return names


@pytest.mark.parametrize("command", ["artifacts", "check-experts"])
def test_a_command_that_is_named_is_imported_alone(imported: list[str], command: str) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert imported == [module_of(command)]


@pytest.mark.parametrize("words", [["--help"], ["--version"], [], ["dance"]])
def test_without_a_command_none_is_imported(
    imported: list[str], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert imported == []
    assert capsys.readouterr()


def test_help_lists_every_command_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for command, line in COMMANDS.items():
        assert f" {command} {line} " in f"{shown} "


@pytest.mark.parametrize("command", COMMANDS)
def test_a_commands_own_line_is_the_lists(command: str) -> None:
    subparsers = argparse.ArgumentParser().add_subparsers()
    importlib.import_module(module_of(command)).add_parser(subparsers)
    (choice,) = subparsers._choices_actions
    assert (choice.dest, choice.help) == (command, COMMANDS[command])


def test_every_module_is_listed() -> None:
    folder = Path(__file__).resolve().parents[3] / "pipecatapp/cli"
    modules = {path.stem for path in folder.glob("*.py")} - NOT_COMMANDS
    assert {module_of(command).rpartition(".")[2] for command in COMMANDS} == modules
