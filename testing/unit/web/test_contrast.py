"""Text on the page can be read: WCAG 2 AA contrast in the light and the dark look."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pipecatapp

pytestmark = pytest.mark.unit

CSS = (Path(pipecatapp.__file__).parent / "web" / "static" / "style.css").read_text()
TEXT_RATIO = 4.5
"""WCAG 2.2, 1.4.3 Contrast (Minimum)."""
EDGE_RATIO = 3.0
"""WCAG 2.2, 1.4.11 Non-text Contrast."""
TEXT_PAIRS = [
    ("ink", "paper"),
    ("ink", "surface"),
    ("ink", "surface-soft"),
    ("ink", "accent-soft"),
    ("ink", "warm-soft"),
    ("ink-soft", "paper"),
    ("ink-soft", "surface"),
    ("ink-soft", "surface-soft"),
    ("ink-soft", "accent-soft"),
    ("accent", "paper"),
    ("accent", "surface"),
    ("accent", "accent-soft"),
    ("accent", "warm-soft"),
    ("accent-ink", "accent"),
    ("warm", "paper"),
    ("danger", "surface"),
    ("danger", "surface-soft"),
    ("paper", "ink"),
]
EDGE_PAIRS = [("edge", "surface"), ("edge", "paper"), ("focus", "paper"), ("focus", "surface")]


def palette(scheme: str) -> dict[str, str]:
    light, dark = re.findall(r":root \{(.*?)\}", CSS, flags=re.DOTALL)[:2]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", light))
    if scheme == "dark":
        colours |= dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", dark))
    return colours


def luminance(colour: str) -> float:
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_edges_stand_out_from_their_ground(scheme: str) -> None:
    colours = palette(scheme)
    for pairs, ratio in ((TEXT_PAIRS, TEXT_RATIO), (EDGE_PAIRS, EDGE_RATIO)):
        for front, ground in pairs:
            found = contrast(colours[front], colours[ground])
            assert found >= ratio, f"{front} on {ground} has {found:.2f}, wanted {ratio}"


def test_black_on_white_has_the_ratio_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
