"""What the benchmark of the experts found, as figures, tables, ratios to an earlier run, and a plot.

It owns how samples become figures and how those are shown; measuring is `experts`'.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipecatapp.errors import ConfigError
from testing.bench.report import pyplot, quantile, table

AT_ONCE = (1, 2, 4)
"""How many ask an expert of a running house at the same time."""
INK, GRID = "#222222", "#dddddd"
COLOURS = ("#4c78a8", "#f58518", "#54a24b")
BAR = 0.8
"""Part of an expert's room that its bars take."""
THICKEST = 0.5
"""Part of it that one bar takes at most."""
INCH_PER_BAR, INCH_PER_EXPERT, INCH_BESIDE = 0.26, 0.18, 1.3
PANEL_INCH = 3.2


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that is measured.

    Args:
        label: What a person calls it.
        unit: Its unit.
        digits: Behind the point.
        is_speed: Whether more is better.
    """

    label: str
    unit: str
    digits: int
    is_speed: bool = False


FIGURES: Mapping[str, Figure] = {
    "load_s": Figure("loads", "s", 1),
    "first_cold_s": Figure("first token, new talk", "s", 2),
    "first_warm_s": Figure("first token, next question", "s", 2),
    "reads_per_s": Figure("reads", "tokens/s", 0, is_speed=True),
    "writes_per_s": Figure("writes", "tokens/s", 1, is_speed=True),
    **{f"at_once_{n}_per_s": Figure(f"{n} at once", "tokens/s", 1, is_speed=True) for n in AT_ONCE},
    **{f"at_once_{n}_first_s": Figure(f"{n} at once, first token", "s", 2) for n in AT_ONCE},
    "memory_mb": Figure("memory", "MiB", 0),
}  # fmt: skip
PANELS: Sequence[tuple[str, Sequence[str]]] = (
    ("First token (seconds)", ("first_cold_s", "first_warm_s")),
    ("Writes (tokens/s)", ("writes_per_s",)),
    ("Reads (tokens/s)", ("reads_per_s",)),
    ("Several at once (tokens/s together)", [f"at_once_{n}_per_s" for n in AT_ONCE]),
)
"""What the plot shows, from left to right: a title, and the figures that share its axis."""

Samples = Mapping[str, Sequence[float]]
"""Figure to what was measured, each time."""


def spreads(samples: Samples) -> dict[str, dict[str, float]]:
    """Return p50 and p95 of each figure; what was never measured is left out.

    Nineteen of twenty are as good as the p95: of a time no longer, of a speed no slower.
    """
    found = {}
    for name, figure in FIGURES.items():
        values = [value for value in samples.get(name, ()) if not math.isnan(value)]
        if values:
            shares = {"p50": 0.5, "p95": 0.05 if figure.is_speed else 0.95}
            found[name] = {key: quantile(values, share) for key, share in shares.items()}
    return found


def together(samples: Iterable[Samples]) -> Samples:
    """Return the samples of several repeats as one."""
    joined: dict[str, list[float]] = {}
    for each in samples:
        for name, values in each.items():
            joined.setdefault(name, []).extend(values)
    return joined


def row_of(name: str, used_by: Sequence[str], samples: Samples) -> dict[str, Any]:
    """Return what is kept of one expert.

    Args:
        name: The model's name, or the expert's in a house.
        used_by: Experts whose list has the model.
        samples: What was measured.
    """
    return {"name": name, "used_by": list(used_by), "figures": spreads(samples)}


def _shown(name: str) -> str:
    figure = FIGURES[name]
    return f"{figure.label} ({figure.unit})"


def _lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the figures that any row has, in their order."""
    return [name for name in FIGURES if any(name in row["figures"] for row in rows)]


def figures_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table: a line for each figure, a column for each expert, p50 and in brackets p95."""

    def cell(name: str, row: Mapping[str, Any]) -> str:
        spread, digits = row["figures"].get(name), FIGURES[name].digits
        return f"{spread['p50']:.{digits}f} ({spread['p95']:.{digits}f})" if spread else ""

    lines = [[_shown(name), *(cell(name, row) for row in rows)] for name in _lines(rows)]
    if any(row["used_by"] for row in rows):
        lines.insert(0, ["served for", *(", ".join(row["used_by"]) for row in rows)])
    return table(["p50 (p95)", *(row["name"] for row in rows)], lines)


def read_result(path: Path) -> dict[str, Any]:
    """Return the result of an earlier run.

    Raises:
        ConfigError: The file cannot be read, or is no such result.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        rows = [(row["name"], row["used_by"], row["figures"].items()) for row in result["experts"]]
        assert rows and result["machine"]["cpu"]
    except OSError as exc:
        raise ConfigError("bench-result", f"{path} cannot be read: {exc.strerror}") from exc
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as exc:
        raise ConfigError("bench-result", f"{path} is no result of `scripts/bench experts`.") from exc
    return dict(result)


def ratios(
    now: Sequence[Mapping[str, Any]], then: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Return p50 now by p50 then, of each figure that an expert of both runs has; figures by expert."""
    earlier = {row["name"]: row["figures"] for row in then}
    return {
        row["name"]: {
            name: spread["p50"] / earlier[row["name"]][name]["p50"]
            for name, spread in row["figures"].items()
            if earlier[row["name"]].get(name, {}).get("p50")
        }
        for row in now
        if row["name"] in earlier
    }


def comparison(now: Sequence[Mapping[str, Any]], then: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of the ratios to an earlier run, and which experts only one of the two has."""
    found = ratios(now, then)
    names = {"now": [row["name"] for row in now], "then": [row["name"] for row in then]}
    told = [
        f"only {when}: {', '.join(only)}"
        for when, only in ((when, [n for n in those if n not in found]) for when, those in names.items())
        if only
    ]
    if not found:
        return "\n".join(["nothing in common with the earlier run", *told])
    lines = []
    for name in _lines(now):
        better = "more is better" if FIGURES[name].is_speed else "less is better"
        cells = [f"{each[name]:.2f}" if name in each else "" for each in found.values()]
        lines.append([f"{_shown(name)}, {better}", *cells])
    return "\n".join([table(["now / then", *found], lines), *told])


def draw(rows: Sequence[Mapping[str, Any]], title: str, path: Path) -> Path:
    """Draw bars of the figures for each expert into an SVG file, with its text as text; return the file.

    A bar is the p50; the thin line at its end reaches to the p95.
    """
    panels = [(head, [name for name in names if name in _lines(rows)]) for head, names in PANELS]
    panels = [(head, names) for head, names in panels if names]
    bars = max(len(names) for _, names in panels)
    height = INCH_BESIDE + len(rows) * (INCH_PER_EXPERT + INCH_PER_BAR * bars)
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "twin",
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    drawing = pyplot()
    with drawing.rc_context(style):
        figure, axes = drawing.subplots(
            1,
            len(panels),
            figsize=(1.6 + PANEL_INCH * len(panels), height),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for axis, (head, names) in zip(axes[0], panels, strict=True):
            _panel(axis, head, names, rows)
        axes[0][0].set_yticks(range(len(rows)), [_name(row) for row in rows])
        axes[0][0].invert_yaxis()
        figure.suptitle(title, fontsize=11)
        figure.supxlabel(
            "bar and number: the p50, half of the runs were as good; line: to the p95, 19 of 20 were",
            fontsize=8,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None})
        drawing.close(figure)
    return path


def _name(row: Mapping[str, Any]) -> str:
    return "\n".join([row["name"], *([f"for {', '.join(row['used_by'])}"] if row["used_by"] else [])])


def _panel(axis: Any, head: str, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw one panel's bars, each with its number."""
    thick, longest = min(THICKEST, BAR / len(names)), 0.0
    for number, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
        figure = FIGURES[name]
        known = [(index, row["figures"][name]) for index, row in enumerate(rows) if name in row["figures"]]
        places = [index + (number - (len(names) - 1) / 2) * thick for index, _ in known]
        p50 = [spread["p50"] for _, spread in known]
        label = figure.label.removeprefix("first token, ")
        axis.barh(places, p50, height=0.86 * thick, color=colour, label=label)
        for place, (_, spread) in zip(places, known, strict=True):
            axis.plot([spread["p50"], spread["p95"]], [place, place], color=INK, linewidth=1.4)
            end = max(spread.values())
            longest = max(longest, end)
            axis.annotate(
                f"{spread['p50']:.{figure.digits}f}",
                (end, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
    axis.set_title(head, fontsize=10)
    # Room for the number behind the longest bar.
    axis.set_xlim(0, 1.25 * longest)
    axis.grid(axis="x", color=GRID)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    if len(names) > 1:
        # Below the numbers of the axis, whatever the height (in sizes of its font).
        axis.legend(
            fontsize=8,
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            borderaxespad=3,
            ncols=len(names),
            frameon=False,
        )
