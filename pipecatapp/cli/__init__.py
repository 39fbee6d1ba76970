"""The command line, `twin`.

It owns the list of commands, how an error is told, and exit codes; each command's work is elsewhere.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from pipecatapp import __version__
from pipecatapp.errors import AgentError
from pipecatapp.settings import keep_libraries_in_the_house

COMMANDS = (
    "serve",
    "llm",
    "memory",
    "talk",
    "chat",
    "status",
    "cluster",
    "check_experts",
    "expert",
    "measure",
    "benchmark",
    "plan",
    "doctor",
    "models",
    "artifacts",
    "trials",
    "workflow",
    "tls",
    "token",
    "keys",
)
"""Modules of this package, in the order of `twin --help`; each has `add_parser(subparsers)`."""

EXIT_ERROR = 1
"""Something failed; the message says what and what to do."""
EXIT_INTERRUPTED = 130
"""Ctrl-C, as shells count it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="twin", description="A private voice assistant for old desktops.")
    parser.add_argument("--version", action="version", version=f"twin {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    words = sys.argv[1:] if arguments is None else arguments
    # A command that is named is imported alone: all of them together take seconds on an old machine.
    for name in words[:1] if words and words[0] in COMMANDS else COMMANDS:
        importlib.import_module(f"pipecatapp.cli.{name}").add_parser(subparsers)
    options = parser.parse_args(arguments)
    keep_libraries_in_the_house()
    try:
        return int(options.func(options))
    except AgentError as exc:
        print(f"twin {options.command}: {exc.message}", file=sys.stderr)
        if exc.hint:
            print(f"  {exc.hint}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return 0
