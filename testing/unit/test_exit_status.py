"""Exit statuses in words."""

from __future__ import annotations

import os
import signal

import pytest

from pipecatapp.exit_status import describe_exit, fault_of, is_illegal_instruction

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("code", [-signal.SIGILL, 128 + signal.SIGILL])
def test_an_illegal_instruction_is_told_in_words(code: int) -> None:
    assert is_illegal_instruction(code)
    assert fault_of(code) == "SIGILL, an instruction that this CPU or its system does not execute"


@pytest.mark.parametrize(
    ("code", "words", "is_fault"),
    [
        (-signal.SIGSEGV, "signal SIGSEGV", True),
        (-signal.SIGKILL, "signal SIGKILL", False),
        (-signal.SIGTERM, "signal SIGTERM", False),
        (3, "exit status 3", False),
        (os.EX_OK, "exit status 0", False),
        (None, "still running", False),
    ],
)
def test_only_what_a_program_brings_upon_itself_is_a_fault(
    code: int | None, words: str, is_fault: bool
) -> None:
    assert describe_exit(code) == words
    assert bool(fault_of(code)) is is_fault
    assert not is_illegal_instruction(code)
