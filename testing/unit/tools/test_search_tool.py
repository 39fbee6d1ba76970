"""Files are found by name and text, inside one folder only."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pipecatapp.ports import ToolResult
from pipecatapp.tools import search_tool
from pipecatapp.tools.registry import LocalToolBox
from pipecatapp.tools.search_tool import find, read_request, search

pytestmark = pytest.mark.unit


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name, text in {
        "notes/cake.md": "Flour\nThe SECRET is butter.\n",
        "notes/secret_plan.txt": "nothing here",
        ".git/config": "secret",
        ".env": "secret",
        "node_modules/x.js": "secret",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "photo.bin").write_bytes(b"\0\1secret")
    (tmp_path / "outside.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "outside.txt")
    (root / "linked").symlink_to(tmp_path)
    return root


async def run(root: Path, **arguments: object) -> ToolResult:
    return await LocalToolBox([search(root)]).call("search", arguments, session_id="s")


async def test_names_come_before_texts_and_hidden_binary_and_linked_files_never(root: Path) -> None:
    result = await run(root, query="secret")
    assert result.content == "notes/secret_plan.txt\nnotes/cake.md:2: The SECRET is butter."
    assert result.speech == "I found secret in 2 files: secret_plan.txt, cake.md."


async def test_nothing_found_is_a_sentence(root: Path) -> None:
    assert await run(root, query="xylophone") == ToolResult(
        True, "I found nothing about xylophone.", speech="I found nothing about xylophone."
    )


@pytest.mark.parametrize("folder", ["..", "notes/../..", "/etc", "linked"])
async def test_it_never_leaves_its_folder(root: Path, folder: str) -> None:
    result = await run(root, query="secret", folder=folder)
    assert result == ToolResult(
        False,
        "I only search the folder that I was given.",
        speech="I only search the folder that I was given.",
    )


async def test_a_folder_below_narrows_and_an_absent_one_is_told(root: Path) -> None:
    (root / "other").mkdir()
    assert "nothing" in (await run(root, query="secret", folder="other")).content
    assert "no folder 'absent'" in (await run(root, query="secret", folder="absent")).content


async def test_more_than_the_limit_says_at_least(root: Path) -> None:
    for number in range(9):
        (root / f"secret{number}.txt").touch()
    result = await run(root, query="secret", limit=4)
    assert len(result.content.splitlines()) == 4
    assert result.speech.startswith("I found secret in at least 4 files: ")
    assert result.speech.endswith(", and 1 more.")


def test_bounds_end_a_search_and_it_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_tool, "MAX_FILES", 1)
    assert not find(root, "xylophone", folder="", limit=5, stop=threading.Event()).is_complete
    monkeypatch.undo()
    monkeypatch.setattr(search_tool, "MAX_TOTAL_BYTES", 5)
    assert not find(root, "xylophone", folder="", limit=5, stop=threading.Event()).is_complete


def test_a_stopped_search_ends(root: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert find(root, "secret", folder="", limit=5, stop=stop).hits == []


def test_large_files_are_found_by_name_only(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_tool, "MAX_FILE_BYTES", 5)
    hits = find(root, "secret", folder="", limit=5, stop=threading.Event()).hits
    assert [hit.path for hit in hits] == ["notes/secret_plan.txt"]


@pytest.mark.parametrize(
    ("asked", "query"),
    [
        ("Search the files for power agent", "power agent"),
        ("Look for the word license in my documents.", "license"),
        ("find the file called settings", "settings"),
        ("Which files mention the port 8000?", "the port 8000"),
        ("Search the web for cats", None),
        ("Find me a restaurant", None),
        ("Where is Vienna?", None),
    ],
)
def test_what_surely_asks_for_files_is_read(asked: str, query: str | None) -> None:
    assert read_request(asked) == (None if query is None else {"query": query})
