"""How a process ended, told from its exit status.

Not here: running one (`adapters/host/child_trial`).
"""

from __future__ import annotations

import signal

FAULTS = frozenset(
    {
        signal.SIGILL,
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGTRAP,
        signal.SIGABRT,
        signal.SIGSYS,
    }
)
"""Signals that a program brings upon itself. SIGKILL, SIGTERM and the like come from others, and prove
nothing."""


def fault_of(code: int | None) -> str:
    """Return the signal that a program died of by itself, in words; "" when it did not."""
    number = _signal_of(code)
    return describe_exit(code) if number in FAULTS else ""


def is_illegal_instruction(code: int | None) -> bool:
    """Whether a program ended at an instruction that the CPU or the system does not execute."""
    return _signal_of(code) == signal.SIGILL


def describe_exit(code: int | None) -> str:
    """Return how a program with this exit status ended, in words."""
    if code is None:
        return "still running"
    number = _signal_of(code)
    if number is None:
        return f"exit status {code}"
    if number == signal.SIGILL:
        return "SIGILL, an instruction that this CPU or its system does not execute"
    return f"signal {number.name}"


def _signal_of(code: int | None) -> signal.Signals | None:
    """Return the signal of an exit status, also in the form of shells and of qemu (128 and the number)."""
    if code is None:
        return None
    number = -code if code < 0 else code - 128 if code == 128 + signal.SIGILL else 0
    try:
        return signal.Signals(number)
    except ValueError:
        return None
