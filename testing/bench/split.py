"""Measures what the guarded way to an expert's workers costs: tokens a second with it and without.

Usage: scripts/bench split [--rounds N] [--tokens N]

Two RPC servers run on this machine. A llama-server whose layers are on them is started by turns with their
own addresses, as one would by hand, and through the tunnel and the doors (TLS both ways); it completes the
same prompt.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx

from pipecatapp.adapters.llm.rpc_tunnel import RpcTunnel
from pipecatapp.adapters.llm.server_process import HOST, LlmServerProcess
from pipecatapp.ops.expert_supervisor import ExpertOrder, server_command
from testing.bench.report import machine, table, write_json
from testing.e2e.engine_models import MODELS, QWEN, QWEN_LARGE, SMOLLM, llama_binary
from testing.e2e.experts.workers import LENT_MB, Worker, free_port, make_identity

AIM = 0.98
"""Least part of the speed without the tunnel."""
PROMPT = "The sea is wide, and"
TIMEOUT_S = 120.0
WAYS = ("by hand", "tunnel")


def order(folder: Path, filename: str) -> ExpertOrder:
    """Return an expert of one model, split over two workers."""
    model = {"name": filename, "filename": filename, "sha256": "0" * 64, "memory_mb": 1}
    return ExpertOrder.model_validate(
        {
            "expert": "creative",
            "models": [model],
            "models_dir": str(MODELS),
            "program": str(llama_binary()),
            "port": free_port(),
            "folder": str(folder),
            "workers": 2,
            "context": 1024,
            "slots": 1,
            "threads": 1,
        }
    )


async def speed(wish: ExpertOrder, addresses: Sequence[str], tokens: int) -> float:
    """Tokens a second of one completion, by the server's own clock."""
    model = wish.models[0].candidate()
    command = server_command(wish, model, 2, addresses, f"{LENT_MB},{LENT_MB}")
    server = LlmServerProcess(command, port=wish.port, is_kept=False, nice=0)
    await server.start()
    try:
        body = {"prompt": PROMPT, "n_predict": tokens, "temperature": 0, "ignore_eos": True}
        headers = {"Authorization": f"Bearer {server.api_key}"}
        async with httpx.AsyncClient(trust_env=False, headers=headers) as http:
            reply = await http.post(f"http://{HOST}:{wish.port}/completion", json=body, timeout=TIMEOUT_S)
            reply.raise_for_status()
            return float(reply.json()["timings"]["predicted_per_second"])
    finally:
        await server.close()


async def measure(filename: str, rounds: int, tokens: int) -> dict[str, list[float]]:
    """Tokens a second of each way, by turns."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        identity = make_identity(folder)
        workers = [Worker(number, identity, folder) for number in (1, 2)]
        tunnel = RpcTunnel([worker.endpoint for worker in workers], identity, folder)
        try:
            await tunnel.start()
            ways = {"by hand": [f"{HOST}:{worker.inner}" for worker in workers], "tunnel": tunnel.addresses}
            for number in range(rounds):
                for way in WAYS if number % 2 else reversed(WAYS):
                    found[way].append(await speed(order(folder, filename), ways[way], tokens))
        finally:
            await tunnel.close()
            for worker in workers:
                worker.close()
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way (default: %(default)s)")
    parser.add_argument(
        "--tokens", type=int, default=64, help="tokens of a completion (default: %(default)s)"
    )
    options = parser.parse_args()
    rows, results = [], {}
    for filename in (name for name in (SMOLLM, QWEN, QWEN_LARGE) if (MODELS / name).exists()):
        found = asyncio.run(measure(filename, options.rounds, options.tokens))
        by_hand, tunnel = (statistics.median(found[way]) for way in WAYS)
        ratio = tunnel / by_hand
        rows.append(
            [filename, f"{by_hand:.1f}", f"{tunnel:.1f}", f"{ratio:.3f}", "yes" if ratio >= AIM else "no"]
        )
        results[filename] = {"tokens_per_s": found, "ratio": ratio}
    print(table(["model", "by hand", "tunnel", "ratio", f">= {AIM}"], rows))
    path = write_json("split", {"machine": machine(), "aim": AIM, "models": results})
    print(f"written: {path}")


if __name__ == "__main__":
    main()
