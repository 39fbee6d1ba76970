"""Promises of docs/reference: each generated page is what the code says now.

It owns the comparison; how a page is made is `verification/reference`'s.
"""

from __future__ import annotations

import pytest

from verification.reference.markdown import table, with_blocks
from verification.reference.pages import made, stale
from verification.reference.settings import blocks
from verification.repo.tree import REPO, report

pytestmark = [pytest.mark.unit, pytest.mark.timeout(120)]
"""Limit (seconds): all routes and commands are imported."""


def test_the_generated_pages_are_up_to_date() -> None:
    assert not (old := stale(REPO)), report([f"{path} is stale; run scripts/reference" for path in old])


def test_nothing_of_this_machine_is_in_a_page() -> None:
    assert not [path for path, text in made(REPO).items() if str(REPO) in text or "/home/" in text]


def test_a_written_page_keeps_its_words() -> None:
    text = (
        "before\n\n<!-- generated: a -->\nold\n<!-- end -->\n\n<!-- generated: b -->\n<!-- end -->\nafter\n"
    )
    new = with_blocks(text, {"a": "A", "b": "B"})
    assert new.startswith("before\n\n<!-- generated: a -->\n\nA\n\n<!-- end -->")
    assert with_blocks(new, {"a": "A", "b": "B"}) == new
    with pytest.raises(ValueError, match="places for \\['a', 'b'\\], there is \\['a'\\]"):
        with_blocks(text, {"a": "A"})


def test_a_setting_without_a_section_or_a_sentence_is_told() -> None:
    source = "class Settings:\n    port: int = 1\n{}    host: str = ''\n    'x'\n"
    with pytest.raises(ValueError, match="port has no sentence below it"):
        blocks(source.format(""))
    with pytest.raises(ValueError, match="port is in no section"):
        blocks(source.format("    'x'\n"))


def test_a_cell_cannot_break_its_table() -> None:
    assert table(("a", "b"), [("x|y", "")]) == "| a | b |\n|---|---|\n| x\\|y | |"
