"""Reads llama-server's speed and whether it is busy.

It owns those two questions (llama.cpp's tools/server/README.md, /completion and /slots); asking it as a
chat model is `openai_chat`'s.
"""

from __future__ import annotations

import httpx

from pipecatapp.errors import AdapterError

PROMPT = (
    "The house has five rooms. The kitchen looks to the garden, the den to the street. In the evening the "
    "lamps are lit one after the other, and somebody reads aloud from a book about the sea. What is next?"
)
"""About fifty tokens: enough to tell prefill from decode, and a few seconds of a Core 2 Duo."""
ANSWER_TOKENS = 16
QUESTION_TIMEOUT_S = 5.0


class LlamaStatus:
    """Asks one server.

    Args:
        url: Its address, without a path.
        key: Its key.
    """

    def __init__(self, url: str, key: str) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, trust_env=False
        )

    async def measure(self, *, timeout_s: float) -> tuple[float, float]:
        """Have it complete a prompt; return tokens per second of reading and of writing.

        Raises:
            AdapterError: It did not, in `timeout_s` seconds, or wrote nothing.
        """
        order = {"prompt": PROMPT, "n_predict": ANSWER_TOKENS, "cache_prompt": False, "temperature": 0}
        # However soon it would have ended by itself.
        order |= {"ignore_eos": True}
        try:
            reply = await self._http.post("/completion", json=order, timeout=timeout_s)
            reply.raise_for_status()
            timings = reply.json()["timings"]
            written, read, wrote = (
                float(timings[name]) for name in ("predicted_n", "prompt_per_second", "predicted_per_second")
            )
        except httpx.TimeoutException as exc:
            raise AdapterError(
                "llm-too-slow", f"it wrote no {ANSWER_TOKENS} tokens in {timeout_s:g} s"
            ) from exc
        except (httpx.HTTPError, KeyError, ValueError) as exc:
            raise AdapterError("llm-no-completion", f"it completes no prompt: {exc}") from exc
        if written < 1:
            raise AdapterError("llm-no-completion", "it completes a prompt with nothing")
        return read, wrote

    async def is_busy(self) -> bool:
        """Whether it answers somebody now; False when it does not say."""
        try:
            reply = await self._http.get("/slots", timeout=QUESTION_TIMEOUT_S)
            reply.raise_for_status()
            return any(slot["is_processing"] for slot in reply.json())
        except (httpx.HTTPError, KeyError, TypeError, ValueError):
            return False

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()
