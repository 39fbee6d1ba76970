"""Runs one engine once and prints what it gave, as JSON; `test_old_cpu.py` runs it in an emulated CPU.

It owns no claim; those are the test's. Usage: python -m testing.old_cpu.engines NAME [ENGINE]
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipecatapp.adapters.engine import EngineOptions, EngineSpec
from pipecatapp.adapters.host.cpu import read_cpu
from pipecatapp.app.engines import EMBEDDER, STT, TTS, EngineKind, model_names, pick_stt
from pipecatapp.app.models import model_store
from pipecatapp.settings import Settings
from testing.conformance.stt_suite import recordings

SENTENCE = "know-france.flac"


async def pick() -> dict[str, Any]:
    from pipecatapp.app.local_llm import llm_choice

    cpu, settings = read_cpu(), Settings()  # type: ignore[call-arg]
    picked = await pick_stt(settings, model_store(settings), cpu)
    await picked.engine.close()
    return {"stt": picked.reason, "llm": llm_choice(settings, cpu, has_wheel=True, has_binary=True)}


async def hear(engine: str) -> dict[str, Any]:
    spec = STT.engines[engine]
    loaded = await spec.load(options_of(STT, spec))
    heard = await loaded.transcribe(recordings(SENTENCE)[0].pcm, final=spec.trial is None)
    await loaded.close()
    return {"text": heard.text}


async def speak(engine: str) -> dict[str, Any]:
    spec = TTS.engines[engine]
    voice = await spec.load(options_of(TTS, spec))
    pcm = b"".join([chunk async for chunk in voice.synthesize("Hello.")])
    await voice.close()
    return {"seconds": len(pcm) / 2 / voice.sample_rate_hz}


async def embed(engine: str) -> dict[str, Any]:
    spec = EMBEDDER.engines[engine]
    embedder = await spec.load(options_of(EMBEDDER, spec))
    dog, puppy, bank = await embedder.embed(["dog", "puppy", "bank"])
    await embedder.close()
    return {"near": float(dog @ puppy), "far": float(dog @ bank)}


def options_of(kind: EngineKind[Any], spec: EngineSpec) -> EngineOptions:
    """Return what an engine is loaded with: the first of its models that is here."""
    store = model_store(Settings())  # type: ignore[call-arg]
    here = [name for name in model_names(kind, spec, store) if store.is_present(name)]
    assert here or not spec.models, f"no model {spec.models}* is here; bring it with: twin models fetch"
    return EngineOptions(model=store.path(here[0]) if spec.models else Path())


async def memory() -> dict[str, Any]:
    from pipecatapp.adapters.memory.sqlite_faiss import SqliteFaissStore
    from pipecatapp.app.clock import SystemClock
    from testing.fakes.fake_embedder import FakeEmbedder

    with TemporaryDirectory() as folder:
        store = SqliteFaissStore(Path(folder) / "memory.sqlite", FakeEmbedder(), SystemClock())
        for fact in ("The dog is called Biscuit.", "The cat is called Tiger."):
            await store.add_fact(fact)
        found = await store.search("What is the dog called?", limit=1)
        await store.close()
    return {"found": [fact.text for fact in found]}


async def media() -> dict[str, Any]:
    import av
    import numpy as np
    from pipecat.audio.vad.silero import SileroVADAnalyzer

    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), format="s16", layout="mono")
    frame.sample_rate = 48_000
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    detector = SileroVADAnalyzer(sample_rate=16_000)
    detector.set_sample_rate(16_000)
    pcm = recordings(SENTENCE)[0].pcm
    blocks = [pcm[start : start + 1024] for start in range(0, len(pcm) - 1024, 1024)]
    voiced = [float(detector.voice_confidence(block)) > 0.5 for block in blocks]
    return {"opus_packets": len(packets), "voiced": sum(voiced) / len(voiced)}


async def requests() -> dict[str, Any]:
    import httpx
    import uvicorn
    from fastapi import FastAPI

    from pipecatapp.web.serving import bind

    app = FastAPI()

    @app.post("/echo")
    async def echo(body: dict[str, str]) -> dict[str, str]:
        return body

    server = uvicorn.Server(uvicorn.Config(app, http="httptools", log_config=None, lifespan="off"))
    listening = bind("127.0.0.1", 0, "TWIN_PORT")
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    async with httpx.AsyncClient(trust_env=False, timeout=300) as http:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/echo"
        reply = await http.post(url, json={"said": "hello"})
    server.should_exit = True
    await serving
    return {"status": reply.status_code, "echo": reply.json()}


PROGRAMS: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
    program.__name__: program for program in (pick, hear, speak, embed, memory, media, requests)
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(PROGRAMS[sys.argv[1]](*sys.argv[2:]))) + "\n")
