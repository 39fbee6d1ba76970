"""docs/reference/roles.md, from `meta/argument_specs.yml` of each role.

It owns the page's form; the words are the roles' own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from verification.reference.markdown import code, page, paragraph, table

HEADS = ("variable", "type", "default", "meaning")


def text(repo: Path) -> str:
    """Return the page over the roles of a checkout."""
    roles = {
        path.parents[1].name: path for path in sorted(repo.glob("ansible/roles/*/meta/argument_specs.yml"))
    }
    parts = [
        paragraph(
            "A variable is set in the inventory, or in group_vars for all machines. A role checks its values "
            "before it does anything."
        ),
    ]
    for name, path in roles.items():
        parts += _role(name, yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"])
    return page("Roles", "ansible/roles/*/meta/argument_specs.yml", *parts)


def _role(name: str, specs: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {name}"
    yield from _entry(specs.get("main", {}))
    for entry, spec in specs.items():
        if entry != "main":
            yield f"### {name}, tasks {entry}"
            yield from _entry(spec)


def _entry(spec: Mapping[str, Any]) -> Iterator[str]:
    yield paragraph(f"{str(spec.get('short_description', '')).rstrip('.')}.")
    yield table(HEADS, (_row(name, option) for name, option in (spec.get("options") or {}).items()))


def _row(name: str, option: Mapping[str, Any]) -> tuple[str, str, str, str]:
    kind = str(option.get("type", "str"))
    if "elements" in option:
        kind = f"{kind} of {option['elements']}"
    if "choices" in option:
        kind = ", ".join(map(code, option["choices"]))
    value = option.get("default")
    default = "must be set" if option.get("required") else code(value) if value not in (None, "") else "none"
    words = option.get("description", "")
    return code(name), kind, default, " ".join(words) if isinstance(words, list) else words
