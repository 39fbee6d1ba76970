"""`twin llm`: the chosen LLM server in the foreground, for a service manager.

It owns the command's arguments; which engine and model is `app.engines`'.
"""

from __future__ import annotations

import argparse
import sys

from pipecatapp.adapters.host.child_trial import guard
from pipecatapp.adapters.host.cpu import read_cpu
from pipecatapp.adapters.host.process_shim import exec_with_shim
from pipecatapp.adapters.llm.api_key import ensure_llm_key
from pipecatapp.app.configuration import load_settings
from pipecatapp.app.local_llm import LocalLlm
from pipecatapp.app.models import model_store
from pipecatapp.settings import child_environment

DEFAULT_PORT = 8080
"""Loopback port when LLM_PORT is not set; llama.cpp's own."""
OPENMP_WAITING = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT")
"""Settings of the media process that halve an LLM server's speed."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("llm", help="run the LLM server that fits this machine, in the foreground")
    parser.add_argument("--port", type=int, help=f"loopback port (LLM_PORT, else {DEFAULT_PORT})")
    parser.add_argument("--print-command", action="store_true", help="print the command and end")
    parser.set_defaults(func=_llm)


def _llm(options: argparse.Namespace) -> int:
    settings = load_settings()
    port = options.port or settings.llm_port or DEFAULT_PORT
    own = LocalLlm(settings, model_store(settings), read_cpu())
    command = list(own.command(port))
    print(own.reason, file=sys.stderr)
    if options.print_command:
        print(" ".join(command))
        return 0
    environment = child_environment(without=OPENMP_WAITING)
    key = settings.llm_api_key.get_secret_value() or ensure_llm_key(settings.data_dir)
    environment["LLAMA_API_KEY"] = key
    crash_command = [sys.executable, "-m", "pipecatapp", "trials", "--doubt", own.doubted]
    exec_with_shim([*guard(), *command], crash_command, environment)
