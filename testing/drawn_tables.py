"""Reads the table of transitions that a module's docstring draws.

It owns the form of the drawing: rows of state, event and next state between the second and the third ruler.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import ModuleType
from typing import TypeVar

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


def drawn_table(module: ModuleType) -> dict[tuple[str, str], str]:
    """Return the table of a module's docstring; a row that is drawn twice fails."""
    lines = (module.__doc__ or "").splitlines()
    rulers = [number for number, line in enumerate(lines) if re.fullmatch(r"\s*=+(\s+=+){2}", line)]
    assert len(rulers) == 2, "a table lies between two rulers, its head above the first"
    table: dict[tuple[str, str], str] = {}
    for line in lines[rulers[0] + 1 : rulers[1]]:
        state, event, following = line.split()
        assert (state, event) not in table, line
        table[state, event] = following
    return table


def table_of(transitions: Mapping[tuple[S, E], S]) -> dict[tuple[str, str], str]:
    """Return a module's transitions as `drawn_table` has them."""
    return {(str(state), str(event)): str(following) for (state, event), following in transitions.items()}
