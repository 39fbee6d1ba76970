"""`twin artifacts`: list, fetch or build, verify and locate the binaries.

It owns what is printed and the exit codes; building is `artifacts`'s, trying a build on this CPU
`app.trials`'.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from pipecatapp.adapters.host.child_trial import guard
from pipecatapp.adapters.host.cpu import parallel_jobs, read_cpu
from pipecatapp.adapters.host.process_shim import exec_with_shim
from pipecatapp.adapters.llm.llama_variants import BENCH
from pipecatapp.adapters.llm.server_process import WAITING_VARIABLES
from pipecatapp.app.configuration import load_settings
from pipecatapp.app.llama_build import llama_program, trial_model
from pipecatapp.app.local_llm import LLAMA_CPP
from pipecatapp.app.models import model_store
from pipecatapp.app.trials import EngineTrials
from pipecatapp.artifacts.artifact_store import ArtifactStore
from pipecatapp.artifacts.catalogue import Catalogue, load_catalogue
from pipecatapp.artifacts.progress import TextProgress
from pipecatapp.cli.models import EXIT_WRONG, add_change_options
from pipecatapp.errors import ConfigError
from pipecatapp.settings import child_environment


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `artifacts` and its actions."""
    parser = subparsers.add_parser("artifacts", help="list, fetch or build, and verify the binaries")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    listing = actions.add_parser("list", help="show every artefact and whether it is here")
    listing.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    listing.set_defaults(func=_list)

    fetch = actions.add_parser("fetch", help="take artefacts from where they can be had, else build them")
    fetch.add_argument(
        "names", nargs="*", metavar="NAME", help="NAME, or NAME@VERSION; default: all, in their first version"
    )
    fetch.add_argument("--mirror", metavar="URL", help="a mirror to try first; default: TWIN_MIRROR_URL")
    fetch.add_argument(
        "--digest", metavar="HEX", default="", help="what the one artefact's digest on the mirror must be"
    )
    fetch.add_argument("--jobs", type=int, default=0, help="compilers at once; default: by cores and memory")
    add_change_options(fetch)
    fetch.set_defaults(func=_fetch)

    verify = actions.add_parser("verify", help="read every byte of the binaries again")
    verify.add_argument("names", nargs="*", metavar="NAME", help="default: every artefact that is here")
    verify.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    verify.set_defaults(func=_verify)

    path = actions.add_parser("path", help="print where an artefact's programs are")
    path.add_argument("name", metavar="NAME")
    path.add_argument("binary", nargs="?", default="", metavar="PROGRAM", help="one of its programs")
    path.set_defaults(func=_path)

    run = actions.add_parser("run", help="run a program of llama.cpp as this CPU was found to run it")
    run.add_argument("program", metavar="PROGRAM", help="its name, or its path")
    run.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGUMENT", help="what it is given")
    run.set_defaults(func=_run)

    go = actions.add_parser(
        "go-path", help="print the Go tool that builds use; unpack one where none will do"
    )
    go.set_defaults(func=_go_path)


def _open(mirror_url: str | None = None, digest: str = "") -> tuple[Catalogue, ArtifactStore]:
    settings = load_settings()
    catalogue = load_catalogue(settings.catalogue_dir)
    mirror = settings.mirror_url if mirror_url is None else mirror_url
    folder = settings.cache_dir / "artifacts"
    store = ArtifactStore(folder, catalogue, mirror_url=mirror, mirror_digest=digest, jobs_for=parallel_jobs)
    return catalogue, store


def _list(options: argparse.Namespace) -> int:
    catalogue, store = _open()
    rows = []
    for name, artifact in catalogue.artifacts.items():
        manifest = store.manifest(name)
        rows.append(
            {
                "name": artifact.name,
                "version": artifact.version,
                "kind": artifact.kind,
                "licence": artifact.licence,
                "binaries": artifact.binaries,
                "path": str(store.folder(name) / "bin"),
                "state": "present" if store.is_present(name) else "absent",
                "origin": manifest.origin if manifest else "",
            }
        )
    if options.json:
        print(json.dumps({"artifacts": rows}, indent=1))
        return 0
    for artifact, row in zip(catalogue.artifacts.values(), rows, strict=True):
        print(f"{artifact.label}  {artifact.kind}  {artifact.licence}  {row['state']}")
        print(f"  {row['path']}: {', '.join(artifact.binaries)}")
        if row["origin"]:
            print(f"  {row['origin']}")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    if options.digest and len(options.names) != 1:
        raise ConfigError("digest", "--digest is of one artefact: name exactly one")
    catalogue, store = _open(options.mirror, options.digest)
    names = options.names or [name for name in catalogue.artifacts if "@" not in name]
    progress = TextProgress(sys.stderr)
    fetched = [name for name in names if store.ensure(name, progress, jobs=options.jobs)]
    present = [name for name in names if name not in fetched]
    if options.json:
        told: dict[str, object] = {"changed": bool(fetched), "fetched": fetched, "present": present}
        told["paths"] = {name: str(_programs(store, name)) for name in names}
        told["digests"] = {name: store.digest(name) for name in names}
        print(json.dumps(told))
    else:
        for name in names:
            print(f"{name}: {_programs(store, name)}{'' if name in fetched else ' (already here)'}")
    return int(options.changed_exit_code) if fetched else 0


def _programs(store: ArtifactStore, name: str) -> Path:
    """Return the folder of an artefact's programs; of llama.cpp's, as this CPU can run them."""
    folder = store.path(name)
    if name.partition("@")[0] != LLAMA_CPP:
        return folder
    settings = load_settings()
    model = trial_model(settings, model_store(settings), read_cpu())
    return EngineTrials(settings).llama.fitted(folder / BENCH, model).parent


def _run(options: argparse.Namespace) -> int:
    settings = load_settings()
    store = model_store(settings)
    program = Path(found) if (found := shutil.which(options.program)) else None
    program = program or llama_program(settings, store, options.program)
    if program is None:
        raise ConfigError(
            "no-program",
            f"there is no program {options.program}",
            hint=f"Build llama.cpp with: twin artifacts fetch {LLAMA_CPP}",
        )
    fitted = EngineTrials(settings).llama.fitted(program, trial_model(settings, store, read_cpu()))
    crash_command = [sys.executable, "-m", "pipecatapp", "trials", "--doubt", str(program)]
    command = [*guard(), str(fitted), *options.arguments]
    exec_with_shim(command, crash_command, child_environment(without=WAITING_VARIABLES))


def _verify(options: argparse.Namespace) -> int:
    catalogue, store = _open()
    names = options.names or [name for name in catalogue.artifacts if store.manifest(name) is not None]
    problems = {name: store.problems(name) for name in names}
    is_wrong = any(problems.values())
    if options.json:
        print(json.dumps({"ok": not is_wrong, "artifacts": problems}))
    else:
        for name, found in problems.items():
            print(f"{name:24} {'; '.join(found) or 'right'}")
    return EXIT_WRONG if is_wrong else 0


def _path(options: argparse.Namespace) -> int:
    _, store = _open()
    store.path(options.name, options.binary)
    print(_programs(store, options.name) / options.binary)
    return 0


def _go_path(options: argparse.Namespace) -> int:
    _, store = _open()
    print(store.go_tool(TextProgress(sys.stderr)).path)
    return 0
