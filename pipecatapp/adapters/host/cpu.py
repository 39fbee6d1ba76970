"""What this machine's processor and memory can do.

It owns reading the CPU's features; which engine they suffice for is decided in `app.engines`. The
kernel's list is intersected with what the CPUID instruction says to this very process, because an
emulator or a restricted virtual machine may show the first and offer only the second.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

LLAMA_WHEEL_FLAGS: tuple[str, ...] = ("avx2", "bmi2", "f16c", "fma")
"""What prebuilt llama.cpp wheels are compiled for (llama.cpp's "haswell" variant)."""

# Intel SDM volume 2A, CPUID: leaf 1 and leaf 7 sub-leaf 0, register and bit of each feature.
_LEAF1_ECX = {"ssse3": 9, "fma": 12, "sse4_1": 19, "sse4_2": 20, "popcnt": 23, "avx": 28, "f16c": 29}
_LEAF7_EBX = {"bmi1": 3, "avx2": 5, "bmi2": 8, "avx512f": 16, "avx512bw": 30, "avx512vl": 31}
_CHECKED = frozenset(_LEAF1_ECX) | frozenset(_LEAF7_EBX)

# push rbx; mov eax,edi; mov ecx,esi; mov r8,rdx; cpuid; mov [r8],ebx; mov [r8+4],ecx; mov [r8+8],edx;
# mov [r8+12],eax; pop rbx; ret  (System V AMD64 calling convention)
_CPUID_CODE = bytes.fromhex("5389f889f14989d00fa241891841894804418950084189400c5bc3")


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuInfo:
    """A processor and its memory.

    Args:
        model: Its name.
        flags: Features in the spelling of /proc/cpuinfo.
        cores: Processors that this process may use, > 0.
        memory_mb: Memory of the machine (mebibytes).
        available_mb: Memory that can be had without swapping (mebibytes).
    """

    model: str
    flags: frozenset[str]
    cores: int
    memory_mb: int
    available_mb: int

    def supports(self, flags: Iterable[str]) -> bool:
        """Whether the CPU has every one of `flags`."""
        return self.flags.issuperset(flags)

    def missing(self, flags: Iterable[str]) -> tuple[str, ...]:
        """Return those of `flags` that the CPU lacks, sorted."""
        return tuple(sorted(set(flags) - self.flags))


def read_cpu(proc: Path = Path("/proc"), *, ask_cpu: bool = True) -> CpuInfo:
    """Return this machine's CPU.

    Args:
        proc: The proc file system.
        ask_cpu: Also ask the CPUID instruction, where there is one.
    """
    model, listed = _parse_cpuinfo(_read(proc / "cpuinfo"))
    flags = listed
    seen = _cpuid_flags() if ask_cpu else None
    if seen is not None:
        flags = (listed - _CHECKED) | (listed & seen) if listed else seen
    memory = _parse_meminfo(_read(proc / "meminfo"))
    return CpuInfo(
        model=model,
        flags=frozenset(flags),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=memory.get("MemTotal", 0) // 1024,
        available_mb=memory.get("MemAvailable", 0) // 1024,
    )


def parallel_jobs(memory_mb_per_job: int) -> int:
    """Return how many compilers may run at once on this machine.

    Args:
        memory_mb_per_job: Memory of one (mebibytes), > 0.
    """
    cpu = read_cpu(ask_cpu=False)
    return max(1, min(cpu.cores, cpu.available_mb // memory_mb_per_job))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _parse_cpuinfo(text: str) -> tuple[str, set[str]]:
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    model = fields.get("model name") or fields.get("cpu model") or platform.machine()
    return model, set((fields.get("flags") or fields.get("features") or "").split())


def _parse_meminfo(text: str) -> dict[str, int]:
    """Return /proc/meminfo's values (kibibytes)."""
    values = {}
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        number = rest.split()[:1]
        if number and number[0].isdigit():
            values[key] = int(number[0])
    return values


def _cpuid_flags() -> set[str] | None:
    """Return the features that CPUID shows, or None where it cannot be asked."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return None
    try:
        memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except (OSError, ValueError):
        # A hardened service may not map executable memory; the kernel's list must do.
        log.debug("CPUID cannot be asked here")
        return None
    memory.write(_CPUID_CODE)
    buffer = (ctypes.c_char * len(_CPUID_CODE)).from_buffer(memory)
    try:
        function = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)(
            ctypes.addressof(buffer)
        )
        return _decode(lambda leaf: _call_cpuid(function, leaf))
    finally:
        del buffer
        memory.close()


def _call_cpuid(function: Callable[..., None], leaf: int) -> tuple[int, int, int]:
    """Return EBX, ECX and EAX of a leaf (sub-leaf 0)."""
    registers = (ctypes.c_uint32 * 4)()
    function(leaf, 0, ctypes.addressof(registers))
    return registers[0], registers[1], registers[3]


def _decode(leaf_of: Callable[[int], tuple[int, int, int]]) -> set[str]:
    highest = leaf_of(0)[2]
    _, ecx, _ = leaf_of(1)
    flags = {name for name, bit in _LEAF1_ECX.items() if ecx >> bit & 1}
    if highest >= 7:
        ebx, _, _ = leaf_of(7)
        flags |= {name for name, bit in _LEAF7_EBX.items() if ebx >> bit & 1}
    return flags
