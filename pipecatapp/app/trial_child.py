"""One real operation of one native engine, in a process of its own.

Run as `python -m pipecatapp.app.trial_child NAME PATH`. It exits 0 when the engine worked; where the CPU
cannot run it, the process dies by a signal, which is the answer (`app.trials`). The operations are those
that the agent will do, by the same adapters.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from pipecatapp.adapters.embed.engines import ENGINES as EMBEDDER_ENGINES
from pipecatapp.adapters.engine import EngineOptions, LoadableEngine
from pipecatapp.adapters.stt.engines import ENGINES as STT_ENGINES
from pipecatapp.adapters.tts.engines import ENGINES as TTS_ENGINES
from pipecatapp.environment import disable_telemetry, let_openmp_wait_idly
from pipecatapp.errors import AgentError
from pipecatapp.ports import Embedder, SpeechToText, TextToSpeech
from pipecatapp.units import SPEECH_RATE_HZ

E = TypeVar("E")

NOISE_S = 1.0


def _noise() -> bytes:
    """Return a second of soft noise: silence is not even decoded."""
    count = int(NOISE_S * SPEECH_RATE_HZ)
    return bytes((np.random.default_rng(1).normal(0, 2000, count)).astype(np.int16).tobytes())


async def _hear(spec: LoadableEngine[SpeechToText], model: Path) -> None:
    engine = await spec.load(EngineOptions(model=model))
    await engine.transcribe(_noise(), final=True)
    await engine.close()


async def _speak(spec: LoadableEngine[TextToSpeech], voice: Path) -> None:
    # Loading ends with a sentence that warms the voice up.
    await (await spec.load(EngineOptions(model=voice))).close()


async def _embed(spec: LoadableEngine[Embedder], model: Path) -> None:
    embedder = await spec.load(EngineOptions(model=model))
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


Operation = Callable[[Path], Coroutine[None, None, None]]


def _of_engines(
    engines: Mapping[str, LoadableEngine[E]],
    use: Callable[[LoadableEngine[E], Path], Coroutine[None, None, None]],
) -> dict[str, Operation]:
    """Return the operation of each trial of a table; of engines that share one, the first does it."""
    operations: dict[str, Operation] = {}
    for spec in engines.values():
        if spec.trial is not None:
            operations.setdefault(spec.trial.name, partial(use, spec))
    return operations


OPERATIONS: Mapping[str, Operation] = {
    **_of_engines(STT_ENGINES, _hear),
    **_of_engines(TTS_ENGINES, _speak),
    **_of_engines(EMBEDDER_ENGINES, _embed),
    "silero": _silero,
    "faiss": _faiss,
    "xllamacpp": _xllamacpp,
}
"""What can be tried, by the names of `app.trials.NATIVES`; the argument is the model's file or folder."""


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
