"""The agent's process in `scripts/dev`: it imports the libraries, waits for its turn, and serves.

A successor is told by words on standard input: at `import` it imports our own modules, at `serve` it takes
the port; when the other end closes, it ends. Not here: when that is (`scripts/dev_loop.py`), and what the
agent is made of (`pipecatapp.app`, or `testing.bench.standin_agent` with `--fake`).

Usage: python -m testing.dev_agent [--fake] [--now]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipecatapp.agent.service import TwinService
    from pipecatapp.ports import CallAnswer, CallManager, CallOffer, Clock, IceCandidate
    from pipecatapp.settings import Settings

LIBRARIES = (
    "pipecat.pipeline.worker",
    "pipecat.services.llm_service",
    "pipecat.services.stt_service",
    "pipecat.services.tts_service",
    "pipecat.transports.smallwebrtc.transport",
    "cryptography.x509",
    "faiss",
    "fastapi",
    "httpx",
    "numpy",
    "pydantic_settings",
    "uvicorn",
    "websockets",
    "yaml",
)
"""What takes longest to import and is none of ours; what is missing here only costs time."""
ENGINES = ("onnxruntime", "ctranslate2", "faster_whisper", "piper", "tokenizers")
"""Likewise of the real agent."""
OURS = ("pipecatapp.cli.serve", "pipecatapp.app.composition")
"""Modules that import the rest of the real agent."""
STANDINS = ("testing.bench.standin_agent", "pipecatapp.voice.call_manager")
"""Modules that import the rest of the agent with stand-in models."""
VOICE_AFTER_S = 0.3
"""When voice is imported after a first start with stand-ins (seconds): the page is loaded first."""


class LateCalls:
    """The CallManager port of an agent that serves before it has imported pipecat, which takes a second.

    Args:
        make: Makes the real one, once its modules are imported.
    """

    def __init__(self, make: Callable[[], CallManager]) -> None:
        self._make = make
        self._calls: CallManager | None = None
        self._lock = asyncio.Lock()
        self._early = asyncio.create_task(self._import_soon())

    async def offer(self, offer: CallOffer) -> CallAnswer:
        """Take or renew a call."""
        return await (await self._ready()).offer(offer)

    async def add_candidates(self, pc_id: str, candidates: Sequence[IceCandidate]) -> None:
        """Add addresses to a call."""
        await (await self._ready()).add_candidates(pc_id, candidates)

    def status(self) -> Mapping[str, Any]:
        """Return calls under way and the limit."""
        return self._calls.status() if self._calls else {"active": 0, "limit": 0, "sessions": []}

    async def say(self, session_id: str, text: str) -> bool:
        """Hand typed `text` to the session's call; False when it has none."""
        return await self._calls.say(session_id, text) if self._calls else False

    async def close(self) -> None:
        """End every call."""
        self._early.cancel()
        await asyncio.gather(self._early, return_exceptions=True)
        if self._calls is not None:
            await self._calls.close()

    async def _import_soon(self) -> None:
        await asyncio.sleep(VOICE_AFTER_S)
        await self._ready()

    async def _ready(self) -> CallManager:
        async with self._lock:
            if self._calls is None:
                await asyncio.to_thread(importlib.import_module, "pipecatapp.voice.call_manager")
                self._calls = self._make()
            return self._calls


def import_libraries(names: Sequence[str]) -> None:
    """Import what does not change here, and forget what of ours that took."""
    from loguru import logger

    # Pipecat announces itself when it is imported.
    logger.remove()
    from pipecatapp.environment import disable_telemetry, let_openmp_wait_idly

    disable_telemetry()
    let_openmp_wait_idly()
    for name in [name for name in sys.modules if name.partition(".")[0] == "pipecatapp"]:
        del sys.modules[name]
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def wait_for(word: str) -> None:
    """Wait until standard input has this word; end when it has no more."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            sys.exit(0)
        line += piece
    assert line.decode().strip() == word, line


def end_with_standard_input() -> None:
    """End as with a signal when the other end closes: the loop is gone."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="standard-input", daemon=True).start()


def serve_standins(*, late_voice: bool) -> None:
    """Serve the agent with stand-in models."""
    from pipecatapp.app.configuration import load_settings
    from pipecatapp.app.logs import quiet_pipecat
    from testing.bench import standin_agent

    def calls_of(service: TwinService, settings: Settings, clock: Clock) -> CallManager:
        def make() -> CallManager:
            return standin_agent.voice_calls(service, settings, clock)

        return LateCalls(make) if late_voice else make()

    quiet_pipecat(load_settings().log_level)
    asyncio.run(standin_agent.run(calls_of))


def serve() -> int:
    """Serve the real agent, as `twin serve` does."""
    from pipecatapp.cli import main as twin

    return twin(["serve"])


def main() -> int:
    """Import, wait and serve."""
    parser = argparse.ArgumentParser(prog="python -m testing.dev_agent")
    parser.add_argument("--fake", action="store_true", help="stand-in models")
    parser.add_argument("--now", action="store_true", help="serve at once")
    options = parser.parse_args()
    if not options.now:
        import_libraries(LIBRARIES if options.fake else (*LIBRARIES, *ENGINES))
        wait_for("import")
        for name in STANDINS if options.fake else OURS:
            importlib.import_module(name)
        wait_for("serve")
    end_with_standard_input()
    if options.fake:
        serve_standins(late_voice=options.now)
        return 0
    return serve()


if __name__ == "__main__":
    sys.exit(main())
