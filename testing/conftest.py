"""Puts the fences around every test below this folder.

It owns nothing itself; the fences are in `fences.py`.
"""

from testing.fences import (
    _empty_home,
    fixed_seed,
    leftovers_named,
    pytest_collection_modifyitems,
    pytest_configure,
    unit_fence,
)

__all__ = [
    "_empty_home",
    "fixed_seed",
    "leftovers_named",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "unit_fence",
]
