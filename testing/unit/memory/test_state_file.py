"""Saved states come back whole, or say what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pipecatapp.errors import ConfigError
from pipecatapp.memory.state_file import STATE_VERSION, decode_state, encode_state
from pipecatapp.ports import MemoryState
from testing.conformance.memory_suite import STATE

pytestmark = pytest.mark.unit


def rewritten(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return a good file whose data is changed."""
    data = json.loads(encode_state(STATE, saved_s=1.0))
    change(data)
    return json.dumps(data).encode()


@pytest.mark.parametrize("state", [STATE, MemoryState()])
def test_a_state_comes_back_as_it_was(state: MemoryState) -> None:
    data = encode_state(state, saved_s=12.5)
    assert decode_state("x", data) == state
    assert (json.loads(data)["version"], json.loads(data)["saved_s"]) == (STATE_VERSION, 12.5)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "line 1, column 1"),
        (b'{"format": "twin-memory-state", "version": 1, "facts": [', "line 1, column"),
        (b"\xff\xfe\x00", "byte 0 is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "does not say"),
        (b'{"format": "other", "version": 1}', "does not say"),
    ],
)
def test_a_damaged_file_says_where(data: bytes, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        decode_state("x", data)
    assert (caught.value.code, caught.value.status) == ("state-damaged", 422)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: data.update(version=0), "version is 0; valid: 1 to 1"),
        (lambda data: data.update(version="1"), "version is '1'"),
        (lambda data: data.update(extra=1), "extra: Extra inputs"),
        (lambda data: data.pop("facts"), "facts: Field required"),
        (lambda data: data["facts"][0].update(text=7), r"facts\.0\.text: Input should be a valid string"),
        (lambda data: data["facts"].append(data["facts"][0]), "facts holds 'a' twice"),
        (lambda data: data["conversations"]["old"][0].pop("turn_id"), r"conversations\.old\.0\.turn_id"),
        (
            lambda data: data["conversations"]["old"].append(data["conversations"]["old"][0]),
            r"conversations\.old holds 'turn-1' twice",
        ),
    ],
)
def test_wrong_content_is_named(change: Callable[[dict[str, Any]], object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        decode_state("x", rewritten(change))


def test_a_newer_version_is_refused() -> None:
    data = rewritten(lambda data: data.update(version=2, novelty={}))
    with pytest.raises(ConfigError, match="has version 2; this program reads up to 1") as caught:
        decode_state("x", data)
    assert (caught.value.code, caught.value.status) == ("state-too-new", 409)
