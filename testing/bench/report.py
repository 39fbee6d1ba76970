"""What the benchmarks share: quantiles, tables, the machine they ran on, and where results go."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parents[2] / "build" / "bench"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of `values` lies; NaN for none."""
    return float(np.quantile(values, share)) if values else float("nan")


def machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {"cpu": model, "cores": os.cpu_count(), "load_1_min": round(os.getloadavg()[0], 2)}


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows as a Markdown table."""
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_json(name: str, result: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Write a result to a folder and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, indent=1, default=_plain) + "\n")
    return path


def pyplot() -> Any:
    """Return Matplotlib's pyplot, drawing to files; imported only by who draws."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as drawing

    return drawing


def _plain(value: Any) -> Any:
    """Return a NumPy number as Python's own."""
    return value.item()
