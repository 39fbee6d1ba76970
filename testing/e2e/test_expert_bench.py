"""The experts' benchmark measures a real model here, and a real house through its gateway."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from testing.bench.expert_figures import AT_ONCE
from testing.e2e.service import ROOT, Service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

TALK = {"first_cold_s", "first_warm_s", "writes_per_s", "reads_per_s"}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "testing.bench.experts", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """Return the result's experts; its picture is whole."""
    ElementTree.parse(folder / "experts.svg")
    rows: list[dict[str, Any]] = json.loads((folder / "experts.json").read_text())["experts"]
    assert all(spread["p50"] > 0 for row in rows for spread in row["figures"].values())
    return rows


def test_the_smallest_model_is_measured_and_compared_with_the_run_before(tmp_path: Path) -> None:
    first = bench("--quick", "--folder", str(tmp_path))
    assert first.returncode == 0, first.stderr
    assert "| p50 (p95) | smollm2-135m |" in first.stdout
    (row,) = rows_in(tmp_path)
    assert row["used_by"] == ["main", "fallback"]
    assert {*row["figures"]} == TALK | {"load_s", "memory_mb"}
    # The weights alone are 94 MiB.
    assert row["figures"]["memory_mb"]["p50"] > 94

    again = bench("--quick", "--folder", str(tmp_path), "--compare", str(tmp_path / "experts.json"))
    assert again.returncode == 0, again.stderr
    assert "| now / then | smollm2-135m |" in again.stdout


def test_every_expert_of_a_running_house_is_measured_through_its_gateway(
    own_service: Service, tmp_path: Path
) -> None:
    done = bench("--url", own_service.base_url, "--quick", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = rows_in(tmp_path)
    assert row["name"] == "main"
    together = {f"at_once_{count}_{kind}" for count in AT_ONCE for kind in ("per_s", "first_s")}
    assert {*row["figures"]} == TALK | together


def test_what_cannot_be_measured_is_a_sentence(own_service: Service, tmp_path: Path) -> None:
    house = ("--url", own_service.base_url)
    for arguments, words in (
        (("--url", "http://127.0.0.1:9"), "does not list its experts: "),
        ((*house, "--expert", "cooking"), "has no expert 'cooking'; it has: main"),
        ((*house, "--all"), "--model and --all are for this machine's models"),
        (("--key-file", "key"), "--key-file is of use with --url alone"),
        (("--model", "gpt"), "unknown model 'gpt'; known: "),
        (("--compare", str(tmp_path / "gone.json")), "gone.json cannot be read"),
    ):
        done = bench(*arguments, "--folder", str(tmp_path))
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr and "Traceback" not in done.stderr
    assert not [*tmp_path.iterdir()]
