"""`twin models`: list, fetch, verify, locate and share the models.

It owns what is printed and the exit codes; fetching and choosing are `artifacts`'s.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipecatapp.adapters.host.cpu import CpuInfo, read_cpu
from pipecatapp.app.configuration import load_settings
from pipecatapp.artifacts.artifact_store import ArtifactStore
from pipecatapp.artifacts.catalogue import DEFAULT_EXPERTS, Catalogue, load_catalogue
from pipecatapp.artifacts.mirror import publish
from pipecatapp.artifacts.model_schema import ModelEntry
from pipecatapp.artifacts.model_store import ModelStore
from pipecatapp.artifacts.progress import TextProgress, megabytes
from pipecatapp.errors import ArtifactError
from pipecatapp.settings import Settings

EXIT_WRONG = 1
"""Something is absent, damaged or could not be had."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `models` and its actions."""
    parser = subparsers.add_parser("models", help="list, fetch and verify the models")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    listing = actions.add_parser("list", help="show every model, its size and whether it is here")
    _add_json(listing)
    listing.set_defaults(func=_list)

    fetch = actions.add_parser("fetch", help="fetch models; without a name, what this machine needs")
    fetch.add_argument("names", nargs="*", metavar="NAME", help="a model of the catalogue")
    fetch.add_argument(
        "--expert", action="append", default=[], help="the best model for this expert; repeatable"
    )
    fetch.add_argument(
        "--profile", choices=("auto", "embedded", "hub"), help="default: TWIN_PROFILE, or auto"
    )
    fetch.add_argument(
        "--all", action="store_true", help="every model of the profile that this machine can run"
    )
    fetch.add_argument("--dry-run", action="store_true", help="show what would be fetched and stop")
    add_change_options(fetch)
    fetch.set_defaults(func=_fetch)

    verify = actions.add_parser("verify", help="read every byte of the models again")
    verify.add_argument("names", nargs="*", metavar="NAME", help="default: every model that is here")
    _add_json(verify)
    verify.set_defaults(func=_verify)

    path = actions.add_parser("path", help="print where a model is")
    path.add_argument("name", metavar="NAME")
    path.set_defaults(func=_path)

    mirror = actions.add_parser("mirror", help="lay out all that is here for other machines to fetch")
    mirror.add_argument("folder", type=Path, help="folder that a web server serves as TWIN_MIRROR_URL")
    add_change_options(mirror)
    mirror.set_defaults(func=_mirror)


def add_change_options(parser: argparse.ArgumentParser) -> None:
    """Add the options with which a program tells a change from none."""
    _add_json(parser)
    parser.add_argument(
        "--changed-exit-code",
        type=int,
        default=0,
        metavar="CODE",
        help="exit with CODE when something changed",
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")


@dataclass(slots=True)
class _Outcome:
    """What a fetch did."""

    fetched: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)
    """Hosts that did not answer; they are asked once."""


@dataclass(frozen=True, slots=True)
class _FetchRequest:
    """Something that is wanted: the first of `candidates` that can be had."""

    what: str
    candidates: tuple[ModelEntry, ...]


def _open(settings: Settings) -> tuple[Catalogue, ModelStore]:
    catalogue = load_catalogue(settings.catalogue_dir)
    return catalogue, ModelStore(settings.models_path, catalogue, mirror_url=settings.mirror_url)


def _state(store: ModelStore, name: str) -> str:
    states = set(store.states(name).values())
    if states == {"present"}:
        return "present"
    return "damaged" if "damaged" in states else "partial" if "present" in states else "absent"


def _list(options: argparse.Namespace) -> int:
    settings = load_settings()
    catalogue, store = _open(settings)
    cpu = read_cpu()
    rows = [_row(catalogue, store, model, cpu) for model in catalogue.models]
    if options.json:
        print(json.dumps({"models_dir": str(store.root), "models": rows}, indent=1))
        return 0
    print(f"Models in {store.root}")
    print(f"{'NAME':24} {'FOR':22} {'PROFILE':9} {'SIZE':>8} {'MEMORY':>8} {'LICENCE':11} STATE")
    for row in rows:
        note = "" if row["runs_here"] else f" ({row['why_not']})"
        print(
            f"{row['name']:24} {', '.join(row['experts']):22} {row['profile']:9} "
            f"{megabytes(row['size_bytes']):>8} {row['memory_mb']:>5} MB {row['licence']:11} "
            f"{row['state']}{note}"
        )
    return 0


def _row(catalogue: Catalogue, store: ModelStore, model: ModelEntry, cpu: CpuInfo) -> dict[str, Any]:
    lacks = [flag for flag in model.requires_cpu if flag not in cpu.flags]
    why = f"this CPU has no {', '.join(lacks)}" if lacks else ""
    if not why and model.memory_mb > cpu.memory_mb:
        why = f"this machine has {cpu.memory_mb} MB"
    return {
        "name": model.name,
        "experts": catalogue.experts_of(model.name),
        "profile": model.profile,
        "size_bytes": model.total_bytes,
        "memory_mb": model.memory_mb,
        "licence": model.licence,
        "parameters": model.parameters,
        "context_length": model.context_length,
        "path": str(store.root / model.relative_path),
        "state": _state(store, model.name),
        "runs_here": not why,
        "why_not": why,
    }


def _fetch(options: argparse.Namespace) -> int:
    settings = load_settings()
    catalogue, store = _open(settings)
    requests = _requests(options, settings, catalogue, store)
    if not options.json:
        _print_plan(requests, store)
    outcome = _Outcome()
    if not options.dry_run:
        for request in requests:
            _fetch_first(request, store, outcome)
    if options.json:
        changed = bool(outcome.fetched)
        done = {"fetched": outcome.fetched, "present": outcome.present, "failed": outcome.failed}
        planned = [request.candidates[0].name for request in requests]
        print(json.dumps({"changed": changed, "planned": planned, **done}, indent=1))
    else:
        for what, reason in outcome.failed.items():
            print(f"twin models: {what}: {reason}", file=sys.stderr)
    if outcome.failed:
        return EXIT_WRONG
    return int(options.changed_exit_code) if outcome.fetched else 0


def _requests(
    options: argparse.Namespace, settings: Settings, catalogue: Catalogue, store: ModelStore
) -> list[_FetchRequest]:
    if options.names:
        return [_FetchRequest(name, (catalogue.model(name),)) for name in options.names]
    cpu = read_cpu()
    profile: Literal["auto", "embedded", "hub"] = options.profile or settings.profile
    experts = list(catalogue.experts) if options.all else options.expert or list(DEFAULT_EXPERTS)
    present = store.present()
    requests: dict[str, _FetchRequest] = {}
    for expert in experts:
        candidates = catalogue.choose(
            expert, profile=profile, memory_mb=cpu.memory_mb, cpu_flags=cpu.flags, present=present
        )
        if not candidates:
            print(f"No model for {expert} runs on this machine; the agent does without.", file=sys.stderr)
        elif options.all:
            requests |= {model.name: _FetchRequest(model.name, (model,)) for model in candidates}
        else:
            requests.setdefault(candidates[0].name, _FetchRequest(expert, candidates))
    return list(requests.values())


def _print_plan(requests: Sequence[_FetchRequest], store: ModelStore) -> None:
    missing = 0
    for request in requests:
        model = request.candidates[0]
        state = _state(store, model.name)
        missing += 0 if state == "present" else model.total_bytes
        print(f"{model.name:24} {megabytes(model.total_bytes):>8}  {state}")
    print(f"To fetch: {megabytes(missing)} into {store.root}" if missing else "Nothing to fetch.", flush=True)


def _fetch_first(request: _FetchRequest, store: ModelStore, outcome: _Outcome) -> None:
    """Fetch the first candidate that can be had. A full disk or a folder that is not ours ends it at once."""
    progress = TextProgress(sys.stderr)
    for model in request.candidates:
        try:
            is_new = store.ensure(model.name, progress, outcome.unreachable)
        except ArtifactError as exc:
            is_last = model is request.candidates[-1]
            if is_last or exc.code != "no-source":
                outcome.failed[request.what] = f"{exc.message} {exc.hint}"
                return
            progress.note(f"{exc.message} Trying the next model for {request.what}.")
            continue
        (outcome.fetched if is_new else outcome.present).append(model.name)
        return


def _verify(options: argparse.Namespace) -> int:
    catalogue, store = _open(load_settings())
    names = options.names or [model.name for model in catalogue.models]
    results = {name: dict(store.states(name, rehash=True)) for name in names}
    if not options.names:
        results = {name: states for name, states in results.items() if set(states.values()) != {"absent"}}
    wrong = {name: states for name, states in results.items() if set(states.values()) != {"present"}}
    if options.json:
        print(json.dumps({"ok": not wrong, "models": results}, indent=1))
    else:
        for name, states in results.items():
            bad = [f"{file} is {state}" for file, state in states.items() if state != "present"]
            print(f"{name:24} {'; '.join(bad) or 'right'}")
        if wrong:
            print(f"Fetch again with: twin models fetch {' '.join(wrong)}", file=sys.stderr)
    return EXIT_WRONG if wrong else 0


def _path(options: argparse.Namespace) -> int:
    _, store = _open(load_settings())
    print(store.path(options.name))
    return 0


def _mirror(options: argparse.Namespace) -> int:
    settings = load_settings()
    catalogue, store = _open(settings)
    artifacts = ArtifactStore(settings.cache_dir / "artifacts", catalogue)
    added = publish(options.folder, catalogue, store, artifacts)
    if options.json:
        print(json.dumps({"changed": added > 0, "added": added, "folder": str(options.folder)}))
    else:
        print(f"{added} files added to {options.folder}")
    return int(options.changed_exit_code) if added else 0
