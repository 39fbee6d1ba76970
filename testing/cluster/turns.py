"""A text turn with everything that the page is told of it, from beside the house.

It owns one conversation over the agent's WebSocket. Run as a program it prints a line of JSON for each event,
with the time since the question (seconds).

Usage: python -m testing.cluster.turns URL TEXT TIMEOUT_S
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from websockets.asyncio.client import connect


async def ask(url: str, text: str, timeout_s: float) -> None:
    """Send a text and print the events until the turn is finished."""
    began_s = time.monotonic()
    async with asyncio.timeout(timeout_s), connect(f"{url.replace('http', 'ws', 1)}/ws") as stream:
        await stream.send(json.dumps({"type": "user_message", "text": text}))
        async for message in stream:
            event = json.loads(message)
            sys.stdout.write(json.dumps(event | {"after_s": round(time.monotonic() - began_s, 2)}) + "\n")
            sys.stdout.flush()
            if event.get("kind") == "turn_finished":
                return


if __name__ == "__main__":
    asyncio.run(ask(sys.argv[1], sys.argv[2], float(sys.argv[3])))
