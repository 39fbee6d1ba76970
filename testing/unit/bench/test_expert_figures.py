"""The experts' benchmark shows what it measured: figures, tables, ratios and a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pipecatapp.errors import ConfigError
from testing.bench.expert_figures import comparison, draw, figures_table, ratios, read_result, row_of, spreads

pytestmark = pytest.mark.unit

SAMPLES = {
    "load_s": [1.0, 2.0, 3.0],
    "first_cold_s": [0.5, 0.7, 0.9],
    "first_warm_s": [0.1, 0.2],
    "writes_per_s": [10.0, 20.0, 30.0],
    "memory_mb": [300.0],
}
HOUSE = {"first_cold_s": [0.5], "writes_per_s": [20.0], "at_once_2_per_s": [30.0], "at_once_2_first_s": [0.9]}


def row(name: str, factor: float = 1.0, used_by: tuple[str, ...] = ("main", "math")) -> dict[str, Any]:
    return row_of(
        name, used_by, {key: [factor * value for value in values] for key, values in SAMPLES.items()}
    )


def test_nineteen_of_twenty_times_are_no_longer_and_speeds_no_slower_than_the_p95() -> None:
    found = spreads({"first_cold_s": list(range(21)), "writes_per_s": list(range(21))})
    assert found["first_cold_s"] == {"p50": 10.0, "p95": 19.0}
    assert found["writes_per_s"] == {"p50": 10.0, "p95": 1.0}


def test_what_a_server_does_not_tell_is_no_figure() -> None:
    assert spreads({"reads_per_s": [float("nan")] * 3, "load_s": []}) == {}


def test_the_table_has_a_column_for_each_expert_and_a_line_for_each_figure_that_one_has() -> None:
    head, _, *lines = figures_table([row("small"), row_of("other", (), HOUSE)]).splitlines()
    assert head == "| p50 (p95) | small | other |"
    assert lines[0] == "| served for | main, math |  |"
    assert "| first token, new talk (s) | 0.70 (0.88) | 0.50 (0.50) |" in lines
    assert "| loads (s) | 2.0 (2.9) |  |" in lines
    assert "| 2 at once (tokens/s) |  | 30.0 (30.0) |" in lines
    assert not [line for line in lines if line.startswith("| reads")]


def test_ratios_are_of_what_both_runs_have() -> None:
    earlier = row_of("both", (), {"load_s": [1.0], "writes_per_s": [0.0]})
    assert ratios([row("both"), row("new")], [earlier, row("gone")]) == {"both": {"load_s": 2.0}}


def test_a_comparison_says_what_is_better_and_who_is_in_one_run_only() -> None:
    said = comparison([row("both", 2.0), row("new")], [row("both"), row("gone")]).splitlines()
    assert "| writes (tokens/s), more is better | 2.00 |" in said
    assert "| loads (s), less is better | 2.00 |" in said
    assert said[-2:] == ["only now: new", "only then: gone"]


def test_runs_without_a_common_expert_are_not_compared() -> None:
    assert comparison([row("new")], [row("gone")]).startswith("nothing in common")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"experts": [1], "machine": {"cpu": "x"}}', '{"experts": []}']
)
def test_a_file_that_is_no_result_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "old.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"old\.json is no result of `scripts/bench experts`"):
        read_result(path)
    with pytest.raises(ConfigError, match=r"gone\.json cannot be read: No such file"):
        read_result(tmp_path / "gone.json")


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    result = {"machine": {"cpu": "x"}, "measured_at": "2026-01-01T00:00:00Z", "experts": [row("small")]}
    path.write_text(json.dumps(result))
    assert read_result(path) == result


def test_the_plot_is_whole_xml_and_holds_every_name_and_number_as_text(tmp_path: Path) -> None:
    rows = [row("small & <quick>"), row("large", 3.0, ("coding",)), row_of("house", (), HOUSE)]
    path = draw(rows, "Experts: here", tmp_path / "deep" / "experts.svg")
    svg = ElementTree.parse(path).getroot()
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    words = "\n".join(
        "".join(text.itertext()).strip() for text in svg.iter("{http://www.w3.org/2000/svg}text")
    )
    for wanted in (
        "Experts: here",
        "small & <quick>",
        "for main, math",
        "large",
        "for coding",
        "house",
        "First token (seconds)",
        "Writes (tokens/s)",
        "new talk",
        "next question",
        "0.70",
        "2.10",
        "60.0",
        "30.0",
    ):
        assert wanted in words.splitlines(), wanted
    assert "Reads (tokens/s)" not in words
    # Nothing is fetched to show it.
    assert not [each for each in svg.iter() if each.tag.endswith("}image")]
    assert "@import" not in path.read_text() and "@font-face" not in path.read_text()
