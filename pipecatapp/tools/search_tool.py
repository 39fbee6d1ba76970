"""The tool that finds files by name or by what is written in them.

It owns the walk through one folder, its bounds and what it never looks at; it runs no other program and
never leaves the folder.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from pipecatapp.errors import ToolError, ToolRetry
from pipecatapp.ports import ToolResult
from pipecatapp.tools.base import ToolFunction, tool

MAX_FILES = 20_000
"""Files looked at in one search; a warm disk cache does that in about two seconds."""
MAX_FILE_BYTES = 1_000_000
"""Larger files are found by name only: they are rarely prose."""
MAX_TOTAL_BYTES = 100_000_000
"""Bytes read in one search."""
MAX_LINE_CHARS = 160
"""Characters shown of a line."""
SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__", "venv", "build", "dist", "target"})
"""Folders of made things; hidden ones (`.git`, `.env` ...) are skipped as well."""
SPOKEN_FILES = 3
"""File names that a spoken answer lists."""

_REQUEST = re.compile(
    r"(?:(?:hey|please|twin|okay|can you|could you)[, ]+)*"
    r"(?:"
    r"(?:search|look) (?:through |in )?(?:the |my |our |all )?"
    r"(?:files|documents|notes|folder|project|repository)"
    r" for (?:the (?:word|text|phrase) )?(?P<a>.+)"
    r"|(?:search|look) for (?:the (?:word|text|phrase) )?(?P<b>.+?)"
    r" in (?:the |my |our |all )?(?:files|documents|notes|folder|project|repository)"
    r"|(?:find|search for|look for|locate|where is) (?:the |a |my )?file (?:called |named )?(?P<c>.+)"
    r"|(?:find|which|what|list) (?:the |all )?(?:files|documents)(?: that| which)?"
    r" (?:mention|mentions|contain|contains|containing|mentioning|have|say)"
    r" (?:the (?:word|text|phrase) )?(?P<d>.+)"
    r")",
    re.IGNORECASE,
)


def read_request(text: str) -> Mapping[str, Any] | None:
    """Return the tool's arguments when `text` surely asks to search the files, else None."""
    said = " ".join(text.split()).rstrip("?!. ")
    match = _REQUEST.fullmatch(said)
    if match is None:
        return None
    query = next(part for part in match.groups() if part).strip("\"' ")
    query = re.sub(r"[, ]+please$", "", query)
    return {"query": query} if query else None


@tool(
    examples=(
        "Search the files for power agent",
        "Find the file called settings",
        "Which files mention the port 8000?",
        "Look for the word license in my documents",
        "Where is the file bootstrap.sh?",
        "Search my notes for the recipe",
        "Find files that contain the word memory",
    ),
    extract=read_request,
    timeout_s=15.0,
)
def search(search_dir: Path) -> ToolFunction:
    """Return the tool.

    Args:
        search_dir: The only folder that it looks through.
    """

    async def execute(
        query: Annotated[str, Field(min_length=1, max_length=200)],
        folder: str = "",
        limit: Annotated[int, Field(ge=1, le=20)] = 5,
    ) -> ToolResult:
        """Search the owner's files for a text, in file names and in what is written in them.

        Args:
            query: Word or phrase to look for.
            folder: Folder below the searched one, or "" for all of it.
            limit: Most files to return.
        """
        wanted = query.strip()
        if not wanted:
            raise ToolRetry("empty-query", "The query is empty.")
        stop = threading.Event()
        try:
            found = await asyncio.to_thread(find, search_dir, wanted, folder=folder, limit=limit, stop=stop)
        finally:
            stop.set()
        return _result(wanted, found)

    return execute


@dataclass(frozen=True, slots=True)
class Hit:
    """A file that matches. `line`: number from 1, or 0 when its name matches; `text`: that line."""

    path: str
    line: int
    text: str


@dataclass(slots=True)
class Findings:
    """What a search found. `is_complete`: False when a bound ended it."""

    hits: list[Hit] = field(default_factory=list)
    is_complete: bool = True


def find(root: Path, query: str, *, folder: str, limit: int, stop: threading.Event) -> Findings:
    """Look through `root` for `query`, letter case ignored; files whose name matches come first.

    Args:
        root: The only folder that is looked through.
        query: Text to find.
        folder: Folder below `root`, or "".
        limit: Most hits.
        stop: Ends the search when set.

    Raises:
        ToolError: The folder is absent or not below `root`.
    """
    start = _inside(root, folder)
    needle = query.casefold()
    by_name: list[Hit] = []
    by_text: list[Hit] = []
    budget = MAX_TOTAL_BYTES
    is_complete = True
    for count, path in enumerate(_files(start)):
        if stop.is_set() or count >= MAX_FILES or len(by_name) >= limit:
            is_complete = False
            break
        name = path.relative_to(root.resolve()).as_posix()
        if needle in path.name.casefold():
            by_name.append(Hit(name, 0, ""))
            continue
        if len(by_name) + len(by_text) >= limit:
            continue
        data = _read(path) if budget > 0 else b""
        budget -= len(data)
        if (hit := _first_line(name, data, needle)) is not None:
            by_text.append(hit)
    hits = by_name + by_text
    return Findings(hits[:limit], is_complete and budget > 0 and len(hits) < limit)


def _inside(root: Path, folder: str) -> Path:
    base = root.resolve()
    start = (base / folder.strip()).resolve()
    if not start.is_relative_to(base):
        raise ToolError("outside-folder", "I only search the folder that I was given.")
    if not start.is_dir():
        raise ToolError("not-found", f"There is no folder '{folder.strip()[:80] or base.name}' to search.")
    return start


def _files(start: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(start, followlinks=False):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in SKIPPED_FOLDERS)
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and not path.is_symlink() and path.is_file():
                yield path


def _read(path: Path) -> bytes:
    """Return a text file's bytes, or nothing when it is too large, unreadable or binary."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return b""
        data = path.read_bytes()
    except OSError:
        return b""
    return b"" if b"\0" in data[:4096] else data


def _first_line(name: str, data: bytes, needle: str) -> Hit | None:
    text = data.decode(errors="replace")
    if needle not in text.casefold():
        return None
    for number, line in enumerate(text.splitlines(), 1):
        if needle in line.casefold():
            return Hit(name, number, line.strip()[:MAX_LINE_CHARS])
    return None


def _result(query: str, found: Findings) -> ToolResult:
    if not found.hits:
        extent = "" if found.is_complete else " in the part of the files that I looked through"
        sentence = f"I found nothing about {query}{extent}."
        return ToolResult(True, sentence, speech=sentence)
    lines = [f"{hit.path}:{hit.line}: {hit.text}" if hit.line else hit.path for hit in found.hits]
    names = [hit.path.rpartition("/")[2] for hit in found.hits]
    spoken = ", ".join(names[:SPOKEN_FILES])
    count = f"{'' if found.is_complete else 'at least '}{len(names)} file{'s' if len(names) > 1 else ''}"
    more = f", and {len(names) - SPOKEN_FILES} more" if len(names) > SPOKEN_FILES else ""
    return ToolResult(True, "\n".join(lines), speech=f"I found {query} in {count}: {spoken}{more}.")
