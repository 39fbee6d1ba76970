"""Machines and models for the tests of planning, made to measure."""

from __future__ import annotations

from pipecatapp.artifacts.model_schema import ModelEntry, ModelShape, Packing
from pipecatapp.planning.profile import NodeProfile, ThreadSpeed

AVX2 = ("sse2", "ssse3", "sse4_1", "sse4_2", "popcnt", "avx", "f16c", "fma", "avx2", "bmi1", "bmi2")
SMALL_SHAPE = ModelShape(layers=30, width=576, weights=100_000_000, read_bytes=100_000_000, packing="q4_1")


def node(
    name: str = "den",
    *,
    memory_mb: int = 8000,
    cores: int = 2,
    decode: float = 100.0,
    prefill: float = 200.0,
    memory_read_mb_s: float = 40_000.0,
    flags: tuple[str, ...] = AVX2,
    link_mbit_s: int | None = 1000,
) -> NodeProfile:
    """Return a machine that is as quick with one thread as with all."""
    return NodeProfile(
        node=name,
        measured_at="2026-01-01T00:00:00Z",
        cpu_model="An example",
        cores=cores,
        cpu_flags=flags,
        memory_mb=memory_mb,
        available_mb=memory_mb,
        model="small",
        program="llama.cpp",
        speeds=(
            ThreadSpeed(
                threads=1,
                memory_read_mb_s=memory_read_mb_s,
                prefill_tokens_s=prefill,
                decode_tokens_s=decode,
            ),
        ),
        disk_read_mb_s=None,
        link_mbit_s=link_mbit_s,
    )


def model(
    name: str,
    *,
    memory_mb: int = 1000,
    megabytes: int = 1000,
    packing: Packing = "q4_1",
    requires_cpu: tuple[str, ...] = (),
) -> ModelEntry:
    """Return a model of so many million bytes and as many million weights."""
    return ModelEntry(
        name=name,
        url="https://example.org/{filename}",
        filename=f"{name}.gguf",
        sha256="0" * 64,
        size_bytes=megabytes * 10**6,
        memory_mb=memory_mb,
        licence="Apache-2.0",
        parameters="1B",
        context_length=4096,
        profile="hub",
        requires_cpu=requires_cpu,
        shape=ModelShape(
            layers=24, width=1000, weights=megabytes * 10**6, read_bytes=megabytes * 10**6, packing=packing
        ),
    )


SMALL = model("small", memory_mb=270, megabytes=100)
