"""docs/reference/command-line.md, from the parsers of `twin`.

It owns the page's form; what a command says is its own.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from pathlib import Path

from pipecatapp.cli import COMMANDS, module_of
from verification.reference.markdown import code, page, paragraph, table

HEADS = ("argument", "default", "meaning")


def text(_repo: Path) -> str:
    """Return the page."""
    parser = argparse.ArgumentParser(prog="twin")
    top = parser.add_subparsers(dest="command")
    parts = [
        paragraph(
            "Every command prints its help with `--help`. Settings are environment variables: "
            "[settings.md](settings.md)."
        ),
        table(
            ("command", "what it does"),
            ((f"[`twin {name}`](#twin-{name})", line) for name, line in COMMANDS.items()),
        ),
    ]
    for name in COMMANDS:
        importlib.import_module(module_of(name)).add_parser(top)
        parts += _described(top.choices[name], f"twin {name}", COMMANDS[name], 2)
    return page("The command line", "the parsers in pipecatapp/cli", *parts)


def _described(parser: argparse.ArgumentParser, name: str, line: str, level: int) -> Iterator[str]:
    yield f"{'#' * level} {name}"
    yield paragraph(_sentence(parser.description or line))
    yield table(HEADS, map(_row, _shown(parser)))
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            lines = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for choice, sub in action.choices.items():
                yield from _described(sub, f"{name} {choice}", lines.get(choice, ""), level + 1)


def _shown(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    hidden = (argparse._HelpAction, argparse._SubParsersAction)
    return [
        action
        for action in parser._actions
        if not isinstance(action, hidden) and action.help is not argparse.SUPPRESS
    ]


def _row(action: argparse.Action) -> tuple[str, str, str]:
    value = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else "")
    if isinstance(value, tuple):
        value = " ".join(value)
    if not action.option_strings:
        name = value or action.dest.upper()
        form = f"[{name}]" if action.nargs in ("?", "*") else name
    else:
        takes = action.nargs != 0
        form = ", ".join(action.option_strings) + (f" {value or action.dest.upper()}" if takes else "")
    is_told = action.default not in (None, False, "", argparse.SUPPRESS) and action.default != []
    default = code(action.default) if is_told and isinstance(action.default, str | int | float) else ""
    shown = (action.help or "") % {**vars(action), "prog": "twin"} if action.help else ""
    return code(form), default, shown


def _sentence(text: str) -> str:
    whole = text[:1].upper() + text[1:]
    return whole if whole.endswith((".", ":")) else f"{whole}."
