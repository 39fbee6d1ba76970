"""Earlier words of the command line: accepted, told on standard error in one line, and in no help."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

from pipecatapp.cli import COMMANDS, main, module_of
from pipecatapp.cli import deprecated_words as deprecated

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("given", "meant", "told"),
    [
        ("artifacts go", "artifacts go-path", "'artifacts go' is now 'artifacts go-path'"),
        ("benchmark --model x", "node bench --model x", "'benchmark' is now 'node bench'"),
        (
            "expert serve --order order.json",
            "expert serve --config order.json",
            "'expert serve --order' is now 'expert serve --config'",
        ),
        (
            "expert serve --order=order.json",
            "expert serve --config=order.json",
            "'expert serve --order' is now 'expert serve --config'",
        ),
        ("keys list", "api-keys list", "'keys' is now 'api-keys'"),
        ("measure --json", "node profile --json", "'measure' is now 'node profile'"),
        ("measure --again", "node profile --force", "'measure --again' is now 'node profile --force'"),
        (
            "node profile --again",
            "node profile --force",
            "'node profile --again' is now 'node profile --force'",
        ),
        ("memory begin", "memory init", "'memory begin' is now 'memory init'"),
        (
            "memory begin --look",
            "memory init --dry-run",
            "'memory begin --look' is now 'memory init --dry-run'",
        ),
        ("tls authority --dir d", "tls init-ca --dir d", "'tls authority' is now 'tls init-ca'"),
        (
            "tls sign --dir d --host h --client",
            "tls sign --dir d --host h --client-auth",
            "'tls sign --client' is now 'tls sign --client-auth'",
        ),
        ("token create --ttl 1h", "join-token create --ttl 1h", "'token' is now 'join-token'"),
    ],
)
def test_earlier_words_are_the_new_ones_and_what_is_new_is_said(given: str, meant: str, told: str) -> None:
    assert deprecated.current_words(given.split()) == (
        meant.split(),
        f"{told}; the next version refuses it",
    )


@pytest.mark.parametrize(
    "given",
    [
        "",
        "--help",
        "trials --again",
        "tls sign --client-auth",
        "memory serve --host h",
        "chat token",
        "api-keys create keys",
        "artifacts path go",
        "artifacts run llama-bench -- --again",
        "node profile -- --again",
    ],
)
def test_other_words_stay_as_they_are(given: str) -> None:
    assert deprecated.current_words(given.split()) == (given.split(), "")


def test_an_earlier_word_is_told_in_one_line_before_its_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWIN_DATA_DIR", str(tmp_path))

    assert main(["keys", "list"]) == 0

    shown = capsys.readouterr()
    assert shown.out == "There are no keys; only programs on the agent's own machine may use /v1.\n"
    assert shown.err == "twin: 'keys' is now 'api-keys'; the next version refuses it\n"


def test_no_help_names_an_earlier_word(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ")}
    assert set(COMMANDS) <= shown
    assert not {old[0] for old in deprecated.COMMANDS if len(old) == 1} & shown


def parser_of(command: tuple[str, ...]) -> argparse.ArgumentParser | None:
    parser = argparse.ArgumentParser()
    importlib.import_module(module_of(command[0])).add_parser(parser.add_subparsers())
    for word in command:
        (choices,) = (
            action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)
        )
        if word not in choices:
            return None
        parser = choices[word]
    return parser


def test_every_command_that_is_meant_is_there() -> None:
    for old, new in deprecated.COMMANDS.items():
        assert parser_of(new) is not None
        assert old[0] not in COMMANDS or parser_of(old) is None


def test_every_option_that_is_meant_is_there() -> None:
    for command, options in deprecated.OPTIONS.items():
        parser = parser_of(command)
        assert parser is not None
        assert set(options.values()) <= parser._option_string_actions.keys()
        assert not set(options) & parser._option_string_actions.keys()
