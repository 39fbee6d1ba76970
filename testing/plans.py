"""Plans of houses made of the recorded profiles, as they should read.

It owns the houses and their files in `testing/data/plans`; what must hold is in
`testing/unit/planning/test_golden_plans.py`. `python -m testing.plans --write` writes the files anew.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from pipecatapp.artifacts.catalogue import load_catalogue
from pipecatapp.ops.planner import deploy_commands, lists_of
from pipecatapp.planning.placement import PlacementPlan, plan_placement
from pipecatapp.planning.profile import NodeProfile, read_profiles
from pipecatapp.planning.report import format_plan

ROOT = Path(__file__).resolve().parents[1]
PROFILES = ROOT / "testing" / "data" / "profiles"
PLANS = ROOT / "testing" / "data" / "plans"
SMALL = "smollm2-135m"


def profiles() -> dict[str, NodeProfile]:
    """Return the recorded profiles by name."""
    return {profile.node: profile for profile in read_profiles(PROFILES)}


def houses() -> Mapping[str, tuple[str, ...]]:
    """Return which machines are together: each alone, and some houses."""
    everyone = tuple(profiles())
    return {
        **{f"alone-{name}": (name,) for name in everyone},
        "two-core2": ("core2-e6600", "core2-e8400"),
        "no-sse41": ("athlon-x2-5000", "core2-e6600"),
        "three-i5": ("i5-2400", "i5-4590", "i5-750"),
        "office": ("i5-11400-a", "i5-11400-b", "i5-11400-c", "i5-4590"),
        "all-ten": everyone,
    }


def plan_of(house: str) -> PlacementPlan:
    """Return a house's plan by the shipped lists of models."""
    catalogue = load_catalogue(ROOT / "group_vars")
    known = profiles()
    return plan_placement(
        [known[name] for name in houses()[house]], lists_of(catalogue), catalogue.model(SMALL)
    )


def text_of(house: str) -> str:
    """Return a house's plan as it is printed, with its commands."""
    plan = plan_of(house)
    commands = [f"  {shlex.join(command)}" for command in deploy_commands(plan)]
    return "\n".join([*format_plan(plan), "", "Commands:", *commands]) + "\n"


def main() -> int:
    """Compare the files, or write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the files anew")
    options = parser.parse_args()
    different = [
        house
        for house in houses()
        if not (file := PLANS / f"{house}.txt").is_file()
        or file.read_text(encoding="utf-8") != text_of(house)
    ]
    for house in different:
        if options.write:
            PLANS.mkdir(parents=True, exist_ok=True)
            (PLANS / f"{house}.txt").write_text(text_of(house), encoding="utf-8")
        sys.stdout.write(f"{house}: {'written' if options.write else 'differs'}\n")
    return int(bool(different) and not options.write)


if __name__ == "__main__":
    sys.exit(main())
