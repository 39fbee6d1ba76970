"""The command line, `twin`.

It owns the list of commands, how an error is told, and exit codes; each command's work is elsewhere.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from pipecatapp import __version__
from pipecatapp.cli.deprecated_words import current_words
from pipecatapp.environment import disable_telemetry
from pipecatapp.errors import AgentError

COMMANDS = {
    "serve": "run the agent",
    "llm": "run the LLM server that fits this machine, in the foreground",
    "memory": "run, check, fill or copy the long-term memory",
    "talk": "speak WAV files to a running agent",
    "chat": "write with a running agent",
    "status": "say how a running agent is",
    "cluster": "look at the cluster",
    "check-experts": "ask every expert of the cluster a real question",
    "expert": "serve an expert of the house, the best model that works",
    "node": "measure what this machine can do, and how quick its model is",
    "plan": "propose which expert runs where",
    "doctor": "check this machine, its models and its ports",
    "models": "list, fetch and verify the models",
    "artifacts": "list, fetch or build, and verify the binaries",
    "trials": "try the native engines on this CPU, and say which are set aside",
    "workflow": "check, run and draw workflows",
    "tls": "make the local CA and this node's certificate",
    "join-token": "make, list and revoke the tokens that machines join by",
    "api-keys": "make, list and revoke the keys that programs use /v1 by",
}
"""Every command with its line of `twin --help`, in that order; `module_of` says where each is."""

EXIT_ERROR = 1
"""Something failed; the message says what and what to do."""
EXIT_INTERRUPTED = 130
"""Ctrl-C, as shells count it."""


def module_of(command: str) -> str:
    """Return the module of a command; it has `add_parser(subparsers)`."""
    return f"pipecatapp.cli.{command.replace('-', '_')}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="twin", description="A private voice assistant for old desktops.")
    parser.add_argument("--version", action="version", version=f"twin {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    words, told = current_words(sys.argv[1:] if arguments is None else arguments)
    if told:
        print(f"twin: {told}", file=sys.stderr)
    named = next((word for word in words if not word.startswith("-")), "")
    # Only the command that is named is imported: all of them together take seconds on an old machine.
    for command, line in COMMANDS.items():
        if command == named:
            importlib.import_module(module_of(command)).add_parser(subparsers)
        else:
            subparsers.add_parser(command, help=line)
    options = parser.parse_args(words)
    disable_telemetry()
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
