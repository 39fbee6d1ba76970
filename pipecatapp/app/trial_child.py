"""One real operation of one native engine, in a process of its own.

Run as `python -m pipecatapp.app.trial_child NAME PATH`. It exits 0 when the engine worked; where the CPU
cannot run it, the process dies by a signal, which is the answer (`app.trials`). The operations are those
that the agent will do, by the same adapters.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

import numpy as np

from pipecatapp.environment import disable_telemetry, let_openmp_wait_idly
from pipecatapp.errors import AgentError
from pipecatapp.units import SPEECH_RATE_HZ

NOISE_S = 1.0


def _noise() -> bytes:
    """Return a second of soft noise: silence is not even decoded."""
    count = int(NOISE_S * SPEECH_RATE_HZ)
    return bytes((np.random.default_rng(1).normal(0, 2000, count)).astype(np.int16).tobytes())


async def _whisper(model: Path) -> None:
    from pipecatapp.adapters.stt.whisper_short_window import ShortWindowWhisper

    engine = await ShortWindowWhisper.load(model)
    await engine.transcribe(_noise(), final=True)
    await engine.close()


async def _piper(voice: Path) -> None:
    from pipecatapp.adapters.tts.piper import PiperTts

    await (await PiperTts.load(voice, threads=1)).close()


async def _kokoro(voice: Path) -> None:
    from pipecatapp.adapters.tts.kokoro import KokoroTts

    await (await KokoroTts.load(voice, voice="", threads=1)).close()


async def _minilm(model: Path) -> None:
    from pipecatapp.adapters.embed.minilm import MiniLmEmbedder

    embedder = await MiniLmEmbedder.load(model)
    await embedder.embed(["one", "a sentence of some more words than the other"])
    await embedder.close()


async def _silero(_nothing: Path) -> None:
    from pipecatapp.voice.vad import SileroVad

    detector = SileroVad(start_s=0.2, stop_s=0.2)
    detector.set_sample_rate(SPEECH_RATE_HZ)
    detector.voice_confidence(_noise()[: 2 * detector.num_frames_required()])


async def _faiss(_nothing: Path) -> None:
    from pipecatapp.adapters.memory.vector_index import FaissIndex

    vectors = np.random.default_rng(1).normal(size=(64, 384)).astype(np.float32)
    index = FaissIndex(384)
    index.add(vectors)
    index.search(vectors[:1], 8)


async def _xllamacpp(model: Path) -> None:
    from pipecatapp.adapters.llm.xllamacpp_server import compute_once

    compute_once(model)


OPERATIONS: dict[str, Callable[[Path], Coroutine[None, None, None]]] = {
    "whisper": _whisper,
    "piper": _piper,
    "kokoro": _kokoro,
    "minilm": _minilm,
    "silero": _silero,
    "faiss": _faiss,
    "xllamacpp": _xllamacpp,
}
"""What can be tried: name to operation; its argument is the model's file or folder."""


def main(arguments: list[str]) -> int:
    """Do one operation; return the exit status."""
    name, path = arguments
    disable_telemetry()
    let_openmp_wait_idly()
    try:
        asyncio.run(OPERATIONS[name](Path(path)))
    except AgentError as exc:
        sys.stderr.write(f"{exc.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
