"""`twin workflow`: check, run and draw workflow files.

It owns arguments and output; the engine is `pipecatapp.workflow`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path

from pipecatapp.app.configuration import load_settings
from pipecatapp.app.logs import set_up_logging
from pipecatapp.errors import ConfigError, WorkflowDefinitionError
from pipecatapp.settings import Settings
from pipecatapp.workflow.deprecated_words import DeprecatedWord
from pipecatapp.workflow.draw import draw_dot, draw_text
from pipecatapp.workflow.loader import load_workflow
from pipecatapp.workflow.node import NodeConfig, ports_of
from pipecatapp.workflow.nodes import default_registry
from pipecatapp.workflow.run_events import EventRaised, RunFinished, TextPiece
from pipecatapp.workflow.runner import WorkflowRunner
from pipecatapp.workflow.services import NodeServices, RunContext

OpenServices = Callable[[Settings], AbstractAsyncContextManager[NodeServices]]
"""Brings up what nodes may use, for as long as the context lasts."""

EXIT_INVALID = 1
"""A file is wrong."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("workflow", help="check, run and draw workflows")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    lint = actions.add_parser("lint", help="check workflow files; all shipped ones when none is named")
    lint.add_argument("files", nargs="*", metavar="FILE", help="a .yaml file, or a workflow's name")
    lint.set_defaults(func=_lint)

    run = actions.add_parser("run", help="run a workflow once and print its answer as it comes")
    run.add_argument("name", help="a workflow's name, or a .yaml file")
    run.add_argument("--text", required=True, help="what the user says")
    run.add_argument("--speculative", action="store_true", help="never confirm: nothing may be changed")
    run.add_argument("--llm-url", default="", help="OpenAI-compatible server, ending in /v1 (LLM_BASE_URL)")
    run.add_argument("--json", action="store_true", help="print every event as a line of JSON")
    run.set_defaults(func=_run)

    draw = actions.add_parser("draw", help="draw a workflow")
    draw.add_argument("name", help="a workflow's name, or a .yaml file")
    draw.add_argument("--dot", action="store_true", help="in Graphviz's language")
    draw.set_defaults(func=_draw)

    nodes = actions.add_parser("nodes", help="list the node types with their inputs, outputs and keys")
    nodes.set_defaults(func=_nodes)


def _path(name: str, folder: Path) -> Path:
    """Return the file of a workflow that is given by name or path.

    Raises:
        ConfigError: There is none; the message lists the names there are.
    """
    if name.endswith(".yaml") or "/" in name:
        return Path(name)
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in folder.glob("*.yaml"))) or "none"
        raise ConfigError("unknown-workflow", f"unknown workflow '{name}'; known: {known}")
    return path


def _warn(word: DeprecatedWord) -> None:
    print(word, file=sys.stderr)


def _lint(options: argparse.Namespace) -> int:
    folder = load_settings().workflows_dir
    paths = [_path(name, folder) for name in options.files] or sorted(folder.glob("*.yaml"))
    wrong = 0
    for path in paths:
        try:
            workflow = load_workflow(path, warn=_warn)
        except WorkflowDefinitionError as exc:
            wrong += 1
            print(exc.message, file=sys.stderr)
        else:
            print(f"{path.name}: right, {len(workflow.nodes)} nodes")
    return EXIT_INVALID if wrong else 0


def _draw(options: argparse.Namespace) -> int:
    workflow = load_workflow(_path(options.name, load_settings().workflows_dir), warn=_warn)
    print(draw_dot(workflow) if options.dot else draw_text(workflow), end="")
    return 0


def _nodes(options: argparse.Namespace) -> int:
    registry = default_registry()
    for name in registry.names():
        cls = registry.get(name)
        if cls is None:
            continue
        print(f"{name}: {(cls.__doc__ or '').strip().splitlines()[0]}")
        for title, declared in (("in", cls.inputs_type), ("out", cls.outputs_type)):
            if not declared.__name__.startswith("Open"):
                ports = [f"{each}: {port.type}" for each, port in ports_of(declared).items()]
                print(f"  {title:6} {', '.join(ports) or 'nothing'}")
            else:
                print(f"  {title:6} as its file says")
        print(f"  {'config':6} {', '.join(_keys(cls.config_type)) or 'nothing'}")
    return 0


def _keys(config: type[NodeConfig]) -> list[str]:
    fields = config.model_fields.items()
    return [name if field.is_required() else f"{name} = {field.default!r}" for name, field in fields]


def _run(options: argparse.Namespace, open_services: OpenServices | None = None) -> int:
    settings = load_settings()
    # What is printed is the answer; of the log only what is wrong, and all of it with TWIN_LOG_LEVEL=debug.
    set_up_logging("debug" if settings.log_level == "debug" else "error")
    if options.llm_url:
        settings = settings.model_copy(update={"llm_base_url": options.llm_url})
    return asyncio.run(_run_once(options, settings, open_services or _app_services))


@asynccontextmanager
async def _app_services(settings: Settings) -> AsyncIterator[NodeServices]:
    from pipecatapp.app.core import open_core  # heavy: it knows every engine

    async with open_core(settings) as core:
        yield core.services


async def _run_once(options: argparse.Namespace, settings: Settings, open_services: OpenServices) -> int:
    workflow = load_workflow(_path(options.name, settings.workflows_dir), warn=_warn)
    context = RunContext(session_id="command-line", turn_id="1")
    if not options.speculative:
        context.confirmed.set()
    async with open_services(settings) as services:
        runner = WorkflowRunner(workflow, services)
        await runner.warm()
        started_s = time.perf_counter()
        events = runner.run({"user_text": options.text, "history": ()}, context)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, TextPiece):
                    _show(options, {"kind": "text", "text": event.text}, event.text)
                elif isinstance(event, EventRaised):
                    _show(options, event.event.to_wire(), "")
                elif isinstance(event, RunFinished):
                    elapsed_s = time.perf_counter() - started_s
                    _show(options, {"kind": "finished", "text": event.text, "seconds": elapsed_s}, "\n")
    return 0


def _show(options: argparse.Namespace, data: dict[str, object], text: str) -> None:
    if options.json:
        print(json.dumps(data), flush=True)
    else:
        print(text, end="", flush=True)
