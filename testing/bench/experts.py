"""Measures how quick each expert is: a table, a plot, and ratios to an earlier run.

Usage: scripts/bench experts [--expert NAME] [--model NAME] [--all] [--quick] [--compare OLD.json]
       scripts/bench experts --url http://HOST:8000 [--key-file FILE]

Here, it starts each model that is on this machine as the job of an expert does, holds a talk with it and ends
it; then the next one, by turns. With `--url` it holds the same talks with every expert of a running house,
through its gateway, and with several callers at once. What is said is `expert_talks`', how figures are made
and shown `expert_figures`'.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from pipecatapp.adapters.host.cpu import CpuInfo, read_cpu
from pipecatapp.adapters.http.stream_client import HttpConnectionPool
from pipecatapp.adapters.llm.server_process import LlmServerProcess, free_ports
from pipecatapp.app.configuration import load_settings
from pipecatapp.app.models import model_store
from pipecatapp.artifacts.catalogue import Catalogue
from pipecatapp.artifacts.model_schema import ModelEntry
from pipecatapp.artifacts.model_store import ModelStore
from pipecatapp.errors import AdapterError, AgentError, ConfigError
from pipecatapp.experts.model_fit import MemoryBudget, fit_error
from pipecatapp.ops.expert_supervisor import (
    LOAD_TIMEOUT_S,
    ExpertOrder,
    ListedModel,
    server_command,
    verify_model_file,
)
from testing.bench.asking import Side
from testing.bench.expert_figures import (
    AT_ONCE,
    Samples,
    comparison,
    draw,
    figures_table,
    read_result,
    row_of,
    together,
)
from testing.bench.expert_talks import QUESTIONS, ask_together, samples_of, talk
from testing.bench.report import FOLDER, machine, write_json
from testing.e2e.engine_models import llama_binary
from testing.e2e.processes import resident_mb

SMALL_MB = 1000
"""Models that are measured unless told otherwise: those that a machine with 2 GB has room for (MiB)."""
LIST_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is asked: repeats of everything, tokens of an answer."""

    repeats: int
    tokens: int


QUICK, USUAL = Effort(1, 16), Effort(5, 48)


def language_models(catalogue: Catalogue) -> tuple[ModelEntry, ...]:
    """Return the models that an expert can serve: those that say what they are made of."""
    return tuple(model for model in catalogue.models if model.shape is not None)


def wanted(
    catalogue: Catalogue, experts: Collection[str], models: Collection[str], *, wants_all: bool
) -> list[ModelEntry]:
    """Return the models that are asked for: those named, or the small ones, or all.

    Raises:
        ConfigError: A name is unknown or is no language model's; the message lists those that are.
    """
    known = language_models(catalogue)
    named = [model for expert in experts for model in catalogue.expert(expert)]
    named += [catalogue.model(name) for name in models]
    if wrong := [model.name for model in named if model not in known]:
        names = ", ".join(model.name for model in known)
        raise ConfigError("no-language-model", f"'{wrong[0]}' is no language model; those are: {names}")
    if named:
        return list(dict.fromkeys(named))
    return [model for model in known if wants_all or model.memory_mb <= SMALL_MB]


def sorted_out(
    models: Sequence[ModelEntry], present: Collection[str], cpu: CpuInfo
) -> tuple[list[ModelEntry], dict[str, str]]:
    """Return the models that can be measured here, smallest first, and why the others cannot."""
    reasons = {}
    for model in models:
        candidate = listed(model).candidate()
        absent = "" if model.name in present else "is not on this machine"
        if reason := absent or fit_error(candidate, MemoryBudget(cpu.available_mb, (), cpu.flags)):
            reasons[model.name] = reason
    fitting = [model for model in models if model.name not in reasons]
    return sorted(fitting, key=lambda model: model.memory_mb), reasons


def listed(model: ModelEntry) -> ListedModel:
    """Return a model as an expert's order has it, for no longer context than its memory is told for."""
    shared = ListedModel.model_fields.keys() & type(model).model_fields.keys()
    fields = {name: getattr(model, name) for name in shared}
    return ListedModel.model_validate(fields)


async def serve_once(order: ExpertOrder, cpu: CpuInfo, tokens: int) -> Samples:
    """Start an order's first model, hold a talk with it, and end it; return the samples.

    Raises:
        AdapterError: It does not start, or breaks off.
    """
    model = order.models[0].candidate()
    command = server_command(order, model, cpu.cores, (), "")
    server = LlmServerProcess(
        command, name=model.name, port=order.port, ready_timeout_s=LOAD_TIMEOUT_S, is_kept=False
    )
    servers = HttpConnectionPool()
    began_s = time.perf_counter()
    try:
        await server.start()
        load_s = time.perf_counter() - began_s
        side = Side(model.name, server.base_url, server.api_key)
        # An answer of the full length, however soon it would have ended by itself.
        runs = await talk(servers, side, len(QUESTIONS), {"tokens": tokens, "ignore_eos": True})
        return {"load_s": [load_s], "memory_mb": [resident_mb(server.pid)], **samples_of(runs)}
    finally:
        servers.close()
        await server.close()


async def measure_model(model: ModelEntry, store: ModelStore, tokens: int) -> Samples:
    """Return what one life of a model of this machine tells.

    Raises:
        AdapterError: The file is wrong, or the model does not answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        order = ExpertOrder(
            expert="bench",
            models=(listed(model),),
            models_dir=store.root,
            program=llama_binary(),
            port=free_ports(1)[0],
            folder=Path(folder),
        )
        candidate = order.models[0].candidate()
        # As the product does before it serves a model; all of the file is in the kernel's cache then.
        if wrong := await asyncio.to_thread(verify_model_file, candidate, order.models_dir):
            raise AdapterError("model-unfit", wrong)
        return await serve_once(order, read_cpu(), tokens)


async def experts_of_house(url: str, key: str) -> list[str]:
    """Return the experts that a house's gateway lists.

    Raises:
        AdapterError: It does not answer, or does not let us in.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with httpx.AsyncClient(trust_env=False, headers=headers, timeout=LIST_TIMEOUT_S) as http:
            reply = await http.get(f"{url}/v1/models")
            reply.raise_for_status()
            return [str(model["id"]) for model in reply.json()["data"]]
    except httpx.HTTPStatusError as exc:
        words = exc.response.text[:300]
        raise AdapterError("no-list", f"{url} answered {exc.response.status_code}: {words}") from exc
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as exc:
        raise AdapterError("no-list", f"{url} does not list its experts: {exc}") from exc


async def measure_expert(name: str, url: str, key: str, tokens: int) -> Samples:
    """Return what one talk, and several at once, with an expert of a running house tell.

    Raises:
        AdapterError: It cannot be reached, or breaks off.
        RuntimeError: It answers with an error.
    """
    servers, side = HttpConnectionPool(), Side(name, f"{url}/v1", key)
    body: dict[str, Any] = {"tokens": tokens, "model": name}
    try:
        alone = samples_of(await talk(servers, side, len(QUESTIONS), body))
        return together([alone, *[await ask_together(servers, side, count, body) for count in AT_ONCE]])
    finally:
        servers.close()


async def by_turns(
    names: Sequence[str], repeats: int, measure: Callable[[str], Awaitable[Samples]]
) -> tuple[dict[str, Samples], dict[str, str]]:
    """Measure one after the other, again and again, so that what else the machine does befalls all alike.

    Returns:
        The samples of those that could be measured each time, and why the others could not.
    """
    found: dict[str, list[Samples]] = {name: [] for name in names}
    reasons: dict[str, str] = {}
    for number in range(repeats):
        for name in [name for name in names if name not in reasons]:
            say(f"measuring {name}, {number + 1} of {repeats}")
            try:
                found[name].append(await measure(name))
            except (AgentError, RuntimeError) as exc:
                reasons[name] = str(exc)
    return {name: together(each) for name, each in found.items() if name not in reasons}, reasons


Measured = tuple[list[dict[str, Any]], dict[str, str]]
"""Rows of experts, and why others were not measured."""


async def measure_house(options: argparse.Namespace, effort: Effort) -> Measured:
    """Measure every expert of a running house, or those that were named."""
    url, key = options.url.rstrip("/"), key_in(options.key_file)
    names = await experts_of_house(url, key)
    if unknown := [name for name in options.expert if name not in names]:
        raise ConfigError("unknown-expert", f"{url} has no expert '{unknown[0]}'; it has: {', '.join(names)}")
    chosen = list(dict.fromkeys(options.expert or names))
    found, reasons = await by_turns(
        chosen, effort.repeats, lambda name: measure_expert(name, url, key, effort.tokens)
    )
    return [row_of(name, (), samples) for name, samples in found.items()], reasons


async def measure_machine(options: argparse.Namespace, effort: Effort) -> Measured:
    """Measure this machine's models."""
    store = model_store(load_settings())
    catalogue = store.catalogue
    models = wanted(catalogue, options.expert, options.model, wants_all=options.all)
    fitting, unfit = sorted_out(models, await asyncio.to_thread(store.present), read_cpu())
    if options.quick and not (options.expert or options.model or options.all):
        fitting = fitting[:1]
    found, reasons = await by_turns(
        [model.name for model in fitting],
        effort.repeats,
        lambda name: measure_model(catalogue.model(name), store, effort.tokens),
    )
    rows = [row_of(name, catalogue.experts_of(name), samples) for name, samples in found.items()]
    return rows, unfit | reasons


def key_in(path: Path | None) -> str:
    """Return the key in a file, "" without one.

    Raises:
        ConfigError: The file cannot be read.
    """
    try:
        return path.read_text(encoding="ascii").strip() if path else ""
    except (OSError, ValueError) as exc:
        raise ConfigError("key-file", f"the key in {path} cannot be read: {exc}") from exc


def say(line: str) -> None:
    """Tell what is being measured."""
    print(line, file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """Return the command line's form."""
    made = argparse.ArgumentParser(
        prog="scripts/bench experts", description="Measure how quick each expert is: a table and a plot."
    )
    made.add_argument("--url", default="", help="a running house or agent; every expert that it lists")
    made.add_argument("--key-file", type=Path, metavar="FILE", help="its key, from: twin api-keys create")
    made.add_argument(
        "--expert", action="append", default=[], metavar="NAME", help="models of this one's list"
    )
    made.add_argument(
        "--model", action="append", default=[], metavar="NAME", help="this model of models.yaml"
    )
    made.add_argument("--all", action="store_true", help=f"models above {SMALL_MB} MiB, too")
    made.add_argument("--quick", action="store_true", help="once, short answers, the smallest model")
    made.add_argument("--repeats", type=_at_least(1), metavar="N", help="how often each (default: 5)")
    made.add_argument("--tokens", type=_at_least(2), metavar="N", help="length of an answer (default: 48)")
    made.add_argument("--compare", type=Path, metavar="OLD.json", help="show ratios to an earlier result")
    made.add_argument(
        "--folder", type=Path, default=FOLDER, help="where the result goes (default: build/bench)"
    )
    return made


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"a number from {least} on")
        return int(text)

    return number


def effort_of(options: argparse.Namespace) -> Effort:
    """Return how much is asked; what is named goes before `--quick`."""
    usual = QUICK if options.quick else USUAL
    return Effort(options.repeats or usual.repeats, options.tokens or usual.tokens)


def run(options: argparse.Namespace) -> int:
    """Measure, print and write; return the exit status.

    Raises:
        AgentError: Something is wrong with what was asked for.
    """
    before, begun = machine(), datetime.now(UTC)
    if options.url and (options.model or options.all):
        raise ConfigError("not-with-url", "--model and --all are for this machine's models, not for a house.")
    if options.key_file and not options.url:
        raise ConfigError("needs-url", "--key-file is of use with --url alone.")
    # Read first: it may be the file that is written at the end.
    earlier = read_result(options.compare) if options.compare else None
    effort = effort_of(options)
    rows, reasons = asyncio.run((measure_house if options.url else measure_machine)(options, effort))
    for name, reason in reasons.items():
        print(f"not measured: {name}: {reason}")
    if not rows:
        return 1
    print("\n" + figures_table(rows))
    where = options.url or f"{before['cores']} cores, {before['cpu']}"
    result = {
        "machine": before,
        "measured_at": begun.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "url": options.url,
        "repeats": effort.repeats,
        "answer_tokens": effort.tokens,
        "experts": rows,
        "not_measured": reasons,
    }
    if earlier:
        print(f"\nCompared with {options.compare}, {earlier['measured_at']}:\n")
        print(comparison(rows, earlier["experts"]))
    path = write_json("experts", result, options.folder)
    picture = draw(rows, f"Experts: {where}, {result['measured_at'][:10]}", options.folder / "experts.svg")
    print(f"\n{before['cores']} cores, {before['cpu']}, load {before['load_1_min']} at the start")
    print(f"{path}\n{picture}")
    return 0


def main() -> int:
    """Read the command line and run."""
    options = parser().parse_args()
    try:
        return run(options)
    except AgentError as exc:
        print(f"error: {exc.message} {exc.hint}".rstrip(), file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
