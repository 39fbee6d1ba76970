"""The tables of docs/reference/settings.md, from `pipecatapp/settings.py` and the tables of engines.

It owns the tables' form; the words around them are the page's own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipecatapp import settings
from pipecatapp.app.configuration import ENGINE_NAMES
from pipecatapp.settings import Settings
from verification.reference.markdown import code, table, with_blocks

SOURCE = Path(settings.__file__)
REPO = SOURCE.parents[1]
SECTION = re.compile(r"^    # (.+)\n$")


def text(repo: Path) -> str:
    """Return the page of a checkout: its own words, and a table for each section."""
    source = (repo / "pipecatapp/settings.py").read_text(encoding="utf-8")
    return with_blocks((repo / "docs/reference/settings.md").read_text(encoding="utf-8"), blocks(source))


def blocks(source: str) -> Mapping[str, str]:
    """Return a table for each section of the class.

    Args:
        source: Text of `pipecatapp/settings.py`.
    """
    found: dict[str, list[tuple[str, ...]]] = {}
    for section, name, words in _fields(source):
        found.setdefault(section, []).append(_row(Settings.model_fields[name], words))
    heads = ("variable", "default", "valid", "meaning")
    return {section: table(heads, rows) for section, rows in found.items()}


def _fields(source: str) -> list[tuple[str, str, str]]:
    """Return section, name and sentence of each field, in the order of the source."""
    lines = source.splitlines(keepends=True)
    body = next(
        node.body
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == Settings.__name__
    )
    sections = {number: match[1] for number, line in enumerate(lines, 1) if (match := SECTION.match(line))}
    found = []
    for node, words in zip(body, body[1:], strict=False):
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        name = node.target.id
        if not (isinstance(words, ast.Expr) and isinstance(words.value, ast.Constant)):
            raise ValueError(f"{SOURCE.name}: {name} has no sentence below it")
        section = max((number for number in sections if number < node.lineno), default=0)
        if not section:
            raise ValueError(f"{SOURCE.name}: {name} is in no section; write one as a comment before it")
        found.append((sections[section], name, str(words.value.value)))
    return found


def _row(field: FieldInfo, words: str) -> tuple[str, ...]:
    return code(field.alias or ""), _default(field), _valid(field), words


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "must be set"
    if isinstance(value, SecretStr) or value in ("", None, {}):
        return "none"
    if isinstance(value, Path):
        if value == REPO:
            return "the project's folder"
        if value.is_relative_to(REPO):
            return code(value.relative_to(REPO))
        return code(f"~/{value.relative_to(Path.home())}" if value.is_relative_to(Path.home()) else value)
    return code(value)


def _valid(field: FieldInfo) -> str:
    if field.alias in ENGINE_NAMES:
        return ", ".join(map(code, ENGINE_NAMES[field.alias]))
    kind = field.annotation
    if get_origin(kind) in (Union, UnionType):
        kind = next(each for each in get_args(kind) if each is not NoneType)
    if get_origin(kind) is Literal:
        return ", ".join(map(code, get_args(kind)))
    if kind is bool:
        return "true, false"
    bounds = {
        name: getattr(each, name)
        for each in field.metadata
        for name in ("ge", "gt", "le", "lt")
        if getattr(each, name, None) is not None
    }
    low, high = bounds.get("ge"), bounds.get("le")
    if low is not None and high is not None:
        return f"{low} to {high}"
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    return ", ".join(f"{signs[name]} {value}" for name, value in bounds.items())
