"""What was tried is remembered for exactly one CPU, kernel and build."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipecatapp.adapters.host.trial_results import Machine, Outcome, TrialResults

pytestmark = pytest.mark.unit

FLAGS = (
    "fpu sse2 ssse3 sse4_1 sse4_2 popcnt avx f16c fma avx2 bmi1 bmi2 avx512f avx512bw avx512vl avx512_vnni "
    "avx512_bf16 amx_bf16 amx_tile amx_int8 hypervisor xsave"
)
# Such as a virtual machine whose llama.cpp died at its first `tilezero`: AMX is shown, and not to be used.
WITHHELD = Machine(
    "Intel(R) Xeon(R) Processor",
    frozenset(FLAGS.split()),
    "6.1.0-28-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1",
)
DIED = Outcome(
    build="b1", set_aside={"libggml-cpu-sapphirerapids.so": "SIGILL"}, uses="libggml-cpu-cooperlake.so"
)


def test_an_outcome_is_there_in_the_next_process(tmp_path: Path) -> None:
    TrialResults(tmp_path, WITHHELD).keep("llama.cpp", DIED)
    assert TrialResults(tmp_path, WITHHELD).recall("llama.cpp", "b1") == DIED


@pytest.mark.parametrize(
    "other",
    [
        replace(WITHHELD, flags=WITHHELD.flags - {"amx_tile", "amx_int8", "amx_bf16"}),
        replace(WITHHELD, cpu="AMD EPYC"),
        replace(WITHHELD, kernel="6.1.0-29-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.123-1"),
    ],
)
def test_another_cpu_or_kernel_knows_nothing(tmp_path: Path, other: Machine) -> None:
    TrialResults(tmp_path, WITHHELD).keep("llama.cpp", DIED)
    assert TrialResults(tmp_path, other).recall("llama.cpp", "b1") is None
    # A folder may be shared by machines: neither takes what is the other's.
    TrialResults(tmp_path, other).keep("llama.cpp", Outcome(build="b1"))
    assert TrialResults(tmp_path, WITHHELD).recall("llama.cpp", "b1") == DIED


def test_another_build_is_not_known(tmp_path: Path) -> None:
    memory = TrialResults(tmp_path, WITHHELD)
    memory.keep("llama.cpp", DIED)
    assert memory.recall("llama.cpp", "b2") is None


def test_what_is_in_doubt_is_not_known_until_it_was_tried_again(tmp_path: Path) -> None:
    memory = TrialResults(tmp_path, WITHHELD)
    memory.keep("faiss", Outcome(build="b1"))
    memory.doubt("faiss", "SIGILL")
    assert TrialResults(tmp_path, WITHHELD).recall("faiss", "b1") is None
    memory.keep("faiss", Outcome(build="b1"))
    assert memory.recall("faiss", "b1") == Outcome(build="b1")


def test_a_damaged_file_counts_for_none(tmp_path: Path) -> None:
    memory = TrialResults(tmp_path, WITHHELD)
    (tmp_path / f"{WITHHELD.key}.json").write_text('{"tried": {"faiss": 1', encoding="utf-8")
    assert memory.recall("faiss", "b1") is None
    memory.keep("faiss", Outcome(build="b1"))
    assert memory.recall("faiss", "b1") is not None


def test_where_nothing_can_be_written_it_is_known_as_long_as_the_process(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    memory = TrialResults(tmp_path / "file" / "trials", WITHHELD)
    with memory.one_at_a_time():
        memory.keep("faiss", Outcome(build="b1"))
    assert memory.recall("faiss", "b1") == Outcome(build="b1")
