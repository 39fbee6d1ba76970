"""The page's reducer knows exactly the events of the agent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pipecatapp
from pipecatapp.events import EVENT_KINDS

pytestmark = pytest.mark.unit

STATIC = Path(pipecatapp.__file__).parent / "web" / "static"


def handled_kinds() -> list[str]:
    source = (STATIC / "store.js").read_text()
    block = source.split("const HANDLERS = {", 1)[1].split("\n};", 1)[0]
    return re.findall(r"^  ([a-z_]+):", block, flags=re.MULTILINE)


def test_the_store_handles_exactly_the_kinds_of_events_py() -> None:
    assert sorted(handled_kinds()) == list(EVENT_KINDS)


def test_the_page_names_no_other_origin() -> None:
    for path in STATIC.rglob("*"):
        if path.suffix not in {".js", ".css", ".html"}:
            continue
        urls = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", path.read_text())
        assert urls == [], f"{path.name} names {urls}"


def test_the_page_has_no_inline_script_style_or_handler() -> None:
    html = (STATIC / "index.html").read_text()
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\bsrc=)", html) == []


def test_no_data_enters_the_page_as_markup() -> None:
    for path in STATIC.rglob("*.js"):
        markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write"
        assert not re.search(markup, path.read_text()), path.name


def test_colours_are_variables_only() -> None:
    css = (STATIC / "style.css").read_text()
    for line in css.splitlines():
        if re.search(r"#[0-9a-f]{3,8}\b|rgb\(", line, flags=re.IGNORECASE):
            assert line.strip().startswith("--"), f"colour outside a variable: {line.strip()}"
