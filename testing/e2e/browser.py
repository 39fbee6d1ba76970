"""A Chromium with a microphone that plays a file, and a record of what the page did wrong.

It owns the browser and its flags; what the page should show, the tests say.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import soundfile
from playwright.async_api import Page, async_playwright

from testing.e2e.sound import NOISE, RATE_HZ, load_recording

SCREENS = Path(__file__).resolve().parents[2] / "build" / "screens"
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
FLAGS = (
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # A name that is not localhost, so that the page is not a secure context there.
    "--host-resolver-rules=MAP twin.test 127.0.0.1",
)
_MEASURE = """
([enough, longestMs]) => new Promise((resolve) => {
  const stream = document.getElementById("speaker").srcObject;
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const end = performance.now() + longestMs;
  let peak = 0;
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    peak = Math.max(peak, ...samples.map(Math.abs));
    if (peak <= enough && performance.now() < end) return;
    clearInterval(timer);
    context.close();
    resolve(peak);
  }, 20);
})
"""


def chromium() -> str:
    """Return where Chromium is."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "these tests need Chromium: apt-get install chromium"
    return found


def write_microphone(path: Path, script: Sequence[tuple[float, str]], *, tail_s: float) -> Path:
    """Write a sound file: for each entry so many seconds of a quiet room, then a recording."""
    noise = np.random.default_rng(3)

    def room(seconds: float) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
        return (noise.standard_normal(int(seconds * RATE_HZ)) * NOISE).astype(np.int16)

    pieces = [piece for pause_s, name in script for piece in (room(pause_s), load_recording(name))]
    soundfile.write(path, np.concatenate([*pieces, room(tail_s)]), RATE_HZ, subtype="PCM_16")
    return path


@dataclass
class Watched:
    """A page, and everything that it should not have done."""

    page: Page
    origin: str
    console_errors: list[str] = field(default_factory=list)
    foreign_requests: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Record errors and requests to other origins from now on."""
        self.page.on("console", lambda m: self.console_errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        self.page.on("request", lambda request: self._check(request.url))
        self.page.on("websocket", lambda socket: self._check(socket.url))

    def _check(self, url: str) -> None:
        if urlsplit(url).netloc != urlsplit(self.origin).netloc and not url.startswith(("data:", "blob:")):
            self.foreign_requests.append(url)

    async def open(self) -> None:
        """Open the page and wait until it is connected."""
        await self.page.goto(self.origin)
        await self.page.wait_for_selector("#link[data-link=online]", timeout=15_000)

    async def shoot(self, name: str) -> None:
        """Write a screenshot to build/screens."""
        SCREENS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=SCREENS / f"{name}.png")

    async def loudest_sound(self, enough: float, within_s: float) -> float:
        """Return the largest sample, 0 to 1, that the agent's voice has played.

        Args:
            enough: It returns as soon as one is larger, 0 to 1.
            within_s: It returns then at the latest (seconds).
        """
        return float(await self.page.evaluate(_MEASURE, [enough, within_s * 1000]))


@asynccontextmanager
async def browsing(
    origin: str,
    *,
    microphone: Path | None = None,
    allow_microphone: bool = True,
    viewport: dict[str, int] | None = None,
    dark: bool = False,
) -> AsyncIterator[Watched]:
    """Yield a page of a fresh browser, not opened yet."""
    flags = [*FLAGS]
    if allow_microphone:
        flags.append("--use-fake-ui-for-media-stream")
    if microphone:
        flags.append(f"--use-file-for-fake-audio-capture={microphone}%noloop")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=flags)
        context = await browser.new_context(
            viewport=viewport or DESKTOP,  # type: ignore[arg-type]
            color_scheme="dark" if dark else "light",
            has_touch=viewport == PHONE,
        )
        watched = Watched(await context.new_page(), origin)
        watched.watch()
        try:
            yield watched
        finally:
            await browser.close()
