"""espeak-ng: a robotic voice that runs on anything, the last resort.

It owns the child process of each synthesis; a cancelled one leaves none behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

from pipecatapp.adapters.audio.pcm import trim_leading_silence
from pipecatapp.errors import AdapterError

RATE_HZ = 22_050
"""What espeak-ng's own voices speak at (hertz)."""
HEADER_BYTES = 44
"""The WAV header, whose lengths are made up when it is written to a pipe."""
CHUNK_BYTES = 8820
"""0.2 seconds of sound."""
WORDS_PER_MINUTE = 165
"""A little slower than its default of 175, which few understand at once."""
TIMEOUT_S = 30.0
"""Longest silence of the program (seconds); it speaks a sentence in 20 ms."""


class EspeakTts:
    """An espeak-ng voice.

    Args:
        program: The program's path or name.
        voice: One of `espeak-ng --voices`.
        words_per_minute: Pace, 80 to 450.
    """

    def __init__(
        self,
        program: Path | str = "espeak-ng",
        *,
        voice: str = "en-us",
        words_per_minute: int = WORDS_PER_MINUTE,
    ) -> None:
        self._program = str(program)
        self._voice = voice
        self._words_per_minute = words_per_minute
        self._is_closed = False

    @classmethod
    async def load(cls, *, voice: str = "en-us") -> EspeakTts:
        """Return it when the program is there.

        Raises:
            AdapterError: espeak-ng is not installed.
        """
        program = shutil.which("espeak-ng")
        if program is None:
            raise AdapterError(
                "engine-missing", "espeak-ng is not installed", hint="apt-get install espeak-ng"
            )
        return cls(program, voice=voice)

    @property
    def name(self) -> str:
        """Engine and voice."""
        return f"espeak-ng ({self._voice})"

    @property
    def language(self) -> str:
        """The voice's language."""
        return self._voice.partition("+")[0]

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second."""
        return RATE_HZ

    async def synthesize(self, text: str) -> AsyncGenerator[bytes, None]:
        """Yield the sound of `text` as the program makes it.

        Raises:
            AdapterError: The program failed or is missing.
        """
        if self._is_closed:
            raise AdapterError("engine-closed", "espeak-ng is closed")
        if not any(character.isalnum() for character in text):
            return
        child = await self._launch()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await _feed(child, text)
                sound = await _first_sound(child)
            while sound:
                yield sound
                async with asyncio.timeout(TIMEOUT_S):
                    sound = await _read(child, CHUNK_BYTES)
            if await child.wait() != 0:
                raise AdapterError("engine-failed", f"espeak-ng failed (exit status {child.returncode})")
        except TimeoutError as exc:
            raise AdapterError("engine-failed", "espeak-ng does not answer", retryable=True) from exc
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()

    async def close(self) -> None:
        """Refuse further syntheses."""
        self._is_closed = True

    async def _launch(self) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                self._program, "--stdin", "--stdout", "-b", "1", "-z",
                "-v", self._voice, "-s", str(self._words_per_minute),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as exc:
            raise AdapterError(
                "engine-missing",
                f"{self._program} cannot be run: {exc.strerror}",
                hint="apt-get install espeak-ng",
            ) from exc


async def _feed(child: asyncio.subprocess.Process, text: str) -> None:
    """Hand the text over by its standard input, where no option can hide and no other user can read it."""
    assert child.stdin is not None
    child.stdin.write(text.encode())
    with contextlib.suppress(ConnectionError):
        await child.stdin.drain()
    child.stdin.close()


async def _read(child: asyncio.subprocess.Process, count: int) -> bytes:
    """Return exactly `count` bytes, or fewer at the end, in whole samples."""
    assert child.stdout is not None
    try:
        return await child.stdout.readexactly(count)
    except asyncio.IncompleteReadError as exc:
        return exc.partial[: len(exc.partial) // 2 * 2]


async def _first_sound(child: asyncio.subprocess.Process) -> bytes:
    await _read(child, HEADER_BYTES)
    while chunk := await _read(child, CHUNK_BYTES):
        sound = trim_leading_silence(chunk, RATE_HZ)
        if sound:
            return sound
    return b""
