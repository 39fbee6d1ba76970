"""llama.cpp's server from the prebuilt `xllamacpp` wheel, in the foreground.

Run as `python -m pipecatapp.adapters.llm.xllamacpp_server`. It owns the wheel's parameters and the
process's end: on SIGTERM, on SIGINT, or when its parent is gone. Supervision is `server_process`'s.
The API key comes in the environment variable LLAMA_API_KEY, as for `llama-server`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import sys
import threading
from pathlib import Path
from types import ModuleType

from pipecatapp.adapters.llm.llama_status import PROMPT
from pipecatapp.adapters.llm.server_process import BATCH_TOKENS, HOST, PROMPT_CACHE_MIB
from pipecatapp.errors import AdapterError
from pipecatapp.settings import child_environment

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal this process gets when its parent dies."""
END_TIMEOUT_S = 2.0
"""Time for a clean end (seconds)."""
PARENT_POLL_S = 2.0
"""Time between two looks at the parent, where prctl did not help (seconds)."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to end; return the exit status."""
    options = _parse(arguments)
    # Blocked before the engine makes its threads, so that only the wait below takes these signals.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    _die_with_parent()
    import xllamacpp  # heavy, and needs a CPU that `app.engines` has checked

    parameters = _parameters(xllamacpp, options)
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as exc:
        sys.stderr.write(f"xllamacpp cannot serve {options.model}: {exc}\n")
        return 1
    sys.stderr.write(f"listening on {server.listening_address}\n")
    # A parent that became this process named itself: none to watch.
    watched = options.parent if options.parent != os.getpid() else 0
    while signal.sigtimedwait(ends, PARENT_POLL_S) is None:
        if watched and os.getppid() != watched:
            break
    _end_within(END_TIMEOUT_S)
    del server
    return 0


def compute_once(model: Path) -> None:
    """Read a prompt and write a few tokens: what tells whether this CPU runs the engine.

    Raises:
        AdapterError: The model does not load.
    """
    import xllamacpp

    options = _parse(["--model", str(model), "--port", "0", "--context", "512", "--slots", "1"])
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, options))
        server.handle_completions({"prompt": PROMPT, "max_tokens": 2})
    except RuntimeError as exc:
        raise AdapterError("engine-failed", f"xllamacpp cannot serve {model}: {exc}") from exc
    del server


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="xllamacpp_server", description="Serve a GGUF model on loopback.")
    parser.add_argument("--model", required=True, help="GGUF file")
    parser.add_argument("--port", type=int, required=True, help="loopback port")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--context", type=int, default=4096, help="tokens of each slot")
    parser.add_argument("--slots", type=int, default=2, help="prompt caches")
    parser.add_argument("--parent", type=int, default=0, help="end when this is no longer the parent")
    return parser.parse_args(arguments)


def _parameters(xllamacpp: ModuleType, options: argparse.Namespace) -> object:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = options.model
    # What answers name as their model; else it is the file with its folder.
    parameters.model_alias = {Path(options.model).stem}
    parameters.hostnames = [HOST]
    parameters.port = options.port
    parameters.n_ctx = options.context * options.slots
    parameters.n_parallel = options.slots
    parameters.n_batch = BATCH_TOKENS
    parameters.cpuparams.n_threads = options.threads
    parameters.cpuparams_batch.n_threads = options.threads
    parameters.cache_ram_mib = PROMPT_CACHE_MIB
    parameters.offline = True
    parameters.ui = False
    key = child_environment().get("LLAMA_API_KEY")
    if key:
        parameters.api_keys = [key]
    return parameters


def _end_within(timeout_s: float) -> None:
    """End the process by force when its clean end, which waits for requests, takes longer."""
    watchdog = threading.Timer(timeout_s, os._exit, (0,))
    watchdog.daemon = True
    watchdog.start()


def _die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies, however it dies."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
