"""What is read of the CPU and the memory."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from pipecatapp.adapters.host.cpu import read_cpu

pytestmark = pytest.mark.unit

CPUINFO = """processor\t: 0
model name\t: Intel(R) Core(TM)2 Duo CPU     E8400  @ 3.00GHz
flags\t\t: fpu sse sse2 ssse3 cx16 sse4_1 lahf_lm

processor\t: 1
model name\t: Intel(R) Core(TM)2 Duo CPU     E8400  @ 3.00GHz
flags\t\t: fpu sse sse2 ssse3 cx16 sse4_1 lahf_lm
"""
MEMINFO = "MemTotal:        8048000 kB\nMemFree:  100 kB\nMemAvailable:    6144000 kB\nHugePages_Total:  0\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    (tmp_path / "meminfo").write_text(MEMINFO)
    return tmp_path


def test_the_kernels_list_is_read(proc: Path) -> None:
    cpu = read_cpu(proc, ask_cpu=False)
    assert cpu.model.endswith("E8400  @ 3.00GHz")
    assert cpu.supports(["ssse3", "sse4_1"])
    assert cpu.missing(["sse4_1", "avx2", "fma"]) == ("avx2", "fma")
    assert (cpu.memory_mb, cpu.available_mb) == (7859, 6000)
    assert cpu.cores > 0


def test_without_proc_nothing_is_known_and_nothing_fails(tmp_path: Path) -> None:
    cpu = read_cpu(tmp_path, ask_cpu=False)
    assert (cpu.flags, cpu.memory_mb) == (frozenset(), 0)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the CPUID instruction is x86's")
def test_the_cpu_itself_is_asked(proc: Path, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO.replace("sse4_1", "sse4_1 avx2 fma"))
    asked, told = read_cpu(proc), read_cpu(proc, ask_cpu=False)
    assert "sse2" in asked.flags
    assert asked.flags <= told.flags


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the CPUID instruction is x86's")
def test_cpuid_alone_finds_what_every_64_bit_cpu_since_2006_has(tmp_path: Path) -> None:
    assert "ssse3" in read_cpu(tmp_path).flags
