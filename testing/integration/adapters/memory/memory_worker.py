"""A process that writes to a memory and says what has been kept, until it is killed.

It owns one end of the tests that kill it or run it beside another; usage: `memory_worker.py FILE NAME COUNT`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from pipecatapp.adapters.memory.sqlite_faiss import SqliteFaissStore
from pipecatapp.ports import StoredTurn
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_embedder import FakeEmbedder


async def write(path: Path, name: str, count: int) -> None:
    store = SqliteFaissStore(path, FakeEmbedder(), FakeClock())
    for number in range(count):
        fact = await store.add_fact(f"The box of {name} number {number} is full.")
        await store.append_turn(
            name,
            StoredTurn(
                turn_id=f"turn-{number}",
                user_text="hello",
                assistant_text="hi",
                interrupted=False,
                created_s=float(number),
            ),
        )
        sys.stdout.write(f"{number} {fact.id}\n")
        sys.stdout.flush()
    await store.close()


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
