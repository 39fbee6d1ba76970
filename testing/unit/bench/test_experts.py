"""Which models the experts' benchmark takes, and what it says when it cannot."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from pipecatapp.adapters.host.cpu import CpuInfo
from pipecatapp.artifacts.catalogue import Catalogue, load_catalogue
from pipecatapp.errors import AdapterError, ConfigError
from testing.ansible_code import ROOT
from testing.bench.asking import Run
from testing.bench.expert_figures import Samples
from testing.bench.expert_talks import samples_of
from testing.bench.experts import QUICK, by_turns, effort_of, key_in, parser, sorted_out, wanted

pytestmark = pytest.mark.unit

SMALL = ["qwen2.5-coder-0.5b", "smollm2-135m"]
EMBEDDED = ["smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(ROOT / "group_vars")


def machine(available_mb: int, flags: frozenset[str] = frozenset()) -> CpuInfo:
    return CpuInfo(model="a CPU", flags=flags, cores=2, memory_mb=8000, available_mb=available_mb)


def options(*arguments: str) -> argparse.Namespace:
    return parser().parse_args(arguments)


def test_small_models_are_taken_unless_all_are_wanted(catalogue: Catalogue) -> None:
    assert [model.name for model in wanted(catalogue, [], [], wants_all=False)] == SMALL
    everything = [model.name for model in wanted(catalogue, [], [], wants_all=True)]
    assert {*EMBEDDED, "qwen3-8b"} <= {*everything} and "minilm" not in everything


def test_named_models_and_those_of_named_experts_are_taken_once(catalogue: Catalogue) -> None:
    names = [model.name for model in wanted(catalogue, ["coding"], ["qwen2.5-coder-1.5b"], wants_all=False)]
    assert names == ["qwen2.5-coder-7b", "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"]


@pytest.mark.parametrize(
    ("experts", "models", "words"),
    [
        (["cooking"], [], "unknown expert 'cooking'; known: main, coding"),
        ([], ["gpt"], "unknown model 'gpt'; known: "),
        (["stt"], [], "'faster-whisper-small.en' is no language model; those are: "),
    ],
)
def test_a_name_that_is_none_lists_those_there_are(
    catalogue: Catalogue, experts: list[str], models: list[str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        wanted(catalogue, experts, models, wants_all=False)


def test_what_is_absent_or_does_not_fit_is_told_and_the_smallest_comes_first(catalogue: Catalogue) -> None:
    models = wanted(catalogue, [], [], wants_all=True)
    fitting, reasons = sorted_out(models, [*EMBEDDED, "qwen3-1.7b"], machine(1500))
    assert [model.name for model in fitting] == EMBEDDED[:2]
    assert reasons["qwen3-8b"] == "is not on this machine"
    assert reasons["qwen3-1.7b"] == "this CPU lacks avx2"
    assert reasons["qwen2.5-coder-1.5b"] == "it takes 2000 MiB, and 1500 MiB are free here"


def test_a_talk_is_cold_once_and_warm_afterwards() -> None:
    found = samples_of([Run(2.0, 10.0, 8, reads_per_s=90.0), Run(0.3, 11.0, 8), Run(0.4, 12.0, 8)])
    assert found == {
        "first_cold_s": [2.0],
        "first_warm_s": [0.3, 0.4],
        "reads_per_s": [90.0],
        "writes_per_s": [10.0, 11.0, 12.0],
    }


async def test_they_take_turns_and_one_that_fails_once_is_told_and_left_out() -> None:
    asked: list[str] = []

    async def measure(name: str) -> Samples:
        asked.append(name)
        if name == "broken" and len(asked) > 3:
            raise AdapterError("llm-broke-off", "broke off")
        return {"load_s": [float(len(asked))]}

    found, reasons = await by_turns(["small", "broken", "large"], 3, measure)
    assert asked == ["small", "broken", "large"] * 2 + ["small", "large"]
    assert found == {"small": {"load_s": [1.0, 4.0, 7.0]}, "large": {"load_s": [3.0, 6.0, 8.0]}}
    assert reasons == {"broken": "broke off"}


def test_quick_is_once_and_what_is_named_goes_before() -> None:
    assert effort_of(options("--quick")) == QUICK
    assert effort_of(options()).repeats > 1
    assert effort_of(options("--quick", "--repeats", "3")).repeats == 3


@pytest.mark.parametrize("arguments", [("--repeats", "0"), ("--tokens", "x"), ("--tokens", "1"), ("--frob",)])
def test_what_cannot_be_meant_is_refused(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        options(*arguments)
    assert arguments[0] in capsys.readouterr().err


def test_the_key_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    assert (key_in(tmp_path / "key"), key_in(None)) == ("secret", "")
    with pytest.raises(ConfigError, match="gone cannot be read"):
        key_in(tmp_path / "gone")
