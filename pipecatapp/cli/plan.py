"""`twin plan`: which expert would run where, how quickly, and the commands that bring it about.

It owns the command's arguments, the question before anything is deployed, and what is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
from pathlib import Path

from pipecatapp.app.configuration import load_settings
from pipecatapp.artifacts.catalogue import load_catalogue
from pipecatapp.errors import ConfigError
from pipecatapp.ops.planner import (
    Published,
    apply,
    deploy_commands,
    experts_without_list,
    make_plan,
    published_profiles,
    to_json,
)
from pipecatapp.planning.profile import read_profiles
from pipecatapp.planning.report import format_plan
from pipecatapp.ports import MAIN_EXPERT


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "plan",
        help="propose which expert runs where",
        description="Propose which expert runs where, from what the nodes measured (twin node profile) and "
        "the lists of models. Without --profiles, the cluster's nodes are asked in Nomad.",
    )
    parser.add_argument(
        "--profiles", type=Path, metavar="FOLDER", help="recorded profiles, a .json file for each node"
    )
    parser.add_argument(
        "--embedded", action="store_true", help="only models of package registries, none of the model hub"
    )
    parser.add_argument("--apply", action="store_true", help="deploy it, after asking")
    parser.add_argument("--yes", action="store_true", help="with --apply: do not ask")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=_plan)


def _plan(options: argparse.Namespace) -> int:
    settings = load_settings()
    found = (
        Published(read_profiles(options.profiles))
        if options.profiles
        else asyncio.run(published_profiles(settings))
    )
    embedded_only = options.embedded or settings.profile == "embedded"
    plan = make_plan(settings, found.profiles, embedded_only=embedded_only)
    commands = deploy_commands(plan)
    if options.json:
        print(json.dumps(to_json(plan, found.left_out), indent=1))
    else:
        print("\n".join(format_plan(plan)))
        if found.left_out:
            print("\nLeft out:")
            for node, why in found.left_out.items():
                print(f"  {node} {why}.")
        others = experts_without_list(load_catalogue(settings.catalogue_dir))
        if others:
            print(f"\n{', '.join(others)}: no list of models in models.yaml, so {MAIN_EXPERT} answers.")
        print("\nCommands:" if commands else "\nThere is nothing to deploy.")
        for command in commands:
            print(f"  {shlex.join(command)}")
    if options.apply and commands:
        if not options.yes and not _agrees(len(commands)):
            print("Nothing was deployed.", file=sys.stderr)
            return 1
        apply(settings, commands)
    return 0


def _agrees(count: int) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError(
            "not-asked", "There is nobody to ask.", hint="--apply --yes deploys without asking."
        )
    things = "this expert" if count == 1 else f"these {count} experts"
    print(f"Deploy {things}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
