"""Measures how often the right expert is chosen, how long that takes, and how soon a new one is known.

Usage: scripts/bench router [--strategy examples|model] [--passes N] [--tune] [--no-consul]

The requests of `router_requests.yaml` go through the product's own node `route_to_expert`, with the real
embedder and what the six well-known experts say of themselves. `--tune` takes `router_tuning.yaml` instead
and compares numbers of neighbours: nothing is chosen by the test set. With `--strategy model` the embedded
model chooses.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipecatapp.adapters.consul.directory import ConsulDirectory
from pipecatapp.adapters.consul.http import ConsulHttp, TokenSource
from pipecatapp.adapters.discovery.static import StaticDirectory
from pipecatapp.adapters.embed.minilm import MiniLmEmbedder
from pipecatapp.adapters.llm.openai_chat import OpenAiLlm
from pipecatapp.adapters.llm.server_process import LlmServerProcess, xllamacpp_command
from pipecatapp.app.clock import SystemClock
from pipecatapp.experts.expert_metadata import Profile, load_profiles, to_meta
from pipecatapp.experts.registry import ExpertRegistry
from pipecatapp.experts.service_names import EXPERT_PREFIX, service_of
from pipecatapp.ports import Embedder, Endpoint, LlmClient
from pipecatapp.settings import Settings
from pipecatapp.tools.registry import LocalToolBox, ToolDependencies, shipped_tools
from pipecatapp.understanding.example_classifier import ExampleClassifier
from pipecatapp.workflow.loader import load_workflow, shipped_prompts
from pipecatapp.workflow.nodes.expert_nodes import NEIGHBOURS, RouteToExpertConfig, RouteToExpertNode
from pipecatapp.workflow.nodes.flow_nodes import ClassifyIntentNode
from pipecatapp.workflow.services import NodeServices
from testing.bench.report import machine, quantile, table, write_json
from testing.cluster_agents import ConsulAgent
from testing.e2e.engine_models import MINILM, QWEN, model
from testing.fakes.fake_experts import FakeExperts
from testing.fakes.fake_llm import FakeLlm
from testing.fakes.fake_memory import FakeMemory

HERE = Path(__file__).resolve().parent
GROUP_VARS = HERE.parents[1] / "group_vars"
LOOP = Settings.model_fields["workflows_dir"].default / "default_agent_loop.yaml"
AIM = {"accuracy": 0.9, "p50_ms": 5.0, "appears_s": 2.0}
NEW_SERVICES = 20
"""How many experts are registered one after the other."""

Requests = Mapping[str, Sequence[str]]
"""Expert to what people ask it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One request and whom it went to."""

    text: str
    wanted: str
    got: str
    reason: str
    score: float
    took_ms: float


def requests_of(file: str) -> Requests:
    """Return the requests of a file beside this one."""
    document: dict[str, list[str]] = yaml.safe_load((HERE / file).read_text(encoding="utf-8"))
    return document


def services_of(embedder: Embedder, profiles: Mapping[str, Profile], llm: LlmClient) -> NodeServices:
    """Return what the nodes need: a house in which each expert is up and says what it is good at."""
    clock = SystemClock()
    house = StaticDirectory(
        clock,
        (
            Endpoint(
                service=service_of(name),
                id=name,
                node="here",
                address="127.0.0.1",
                port=1,
                meta=to_meta(profile),
            )
            for name, profile in profiles.items()
        ),
    )
    return NodeServices(
        llm=llm,
        experts=ExpertRegistry(house, FakeExperts(main=llm)),
        toolbox=LocalToolBox(shipped_tools(ToolDependencies(system_clock=clock, search_dir=GROUP_VARS))),
        memory=FakeMemory(),
        embedder=embedder,
        clock=clock,
        prompts=shipped_prompts(),
        classifier=ExampleClassifier(embedder),
    )


def nodes_of_loop(strategy: str) -> tuple[ClassifyIntentNode, RouteToExpertNode]:
    """Return the two nodes of the shipped workflow that decide, the second one with this strategy."""
    definitions = {node.id: node for node in load_workflow(LOOP).nodes}
    chooser = definitions["choose_expert"]
    config = chooser.config
    assert isinstance(config, RouteToExpertConfig)
    chosen = replace(chooser, config=config.model_copy(update={"strategy": strategy}))
    return ClassifyIntentNode(definitions["route"]), RouteToExpertNode(chosen)


async def choose_all(
    node: RouteToExpertNode, services: NodeServices, requests: Requests, passes: int
) -> list[Choice]:
    """Return whom each request went to, once for each pass; embedding the request counts as time."""
    await node.warm(services)
    choices = []
    for _ in range(passes):
        for wanted, texts in requests.items():
            for text in texts:
                began_s = time.perf_counter()
                got = await node.decide(text, services)
                took_ms = (time.perf_counter() - began_s) * 1000
                choices.append(Choice(text, wanted, got.expert, got.reason, got.score, took_ms))
    return choices


async def taken_before(
    node: ClassifyIntentNode, services: NodeServices, requests: Requests
) -> dict[str, str]:
    """Return the requests that the workflow does not hand to an expert, and where they go instead."""
    await node.warm(services)
    routed = {text: await node.decide(text, services) for texts in requests.values() for text in texts}
    return {text: way.label for text, way in routed.items() if way.kind != "chat"}


def summary(choices: Sequence[Choice]) -> dict[str, Any]:
    """Return accuracy, in all and for each expert, who was taken for whom, and times."""
    experts = list(dict.fromkeys(choice.wanted for choice in choices))
    once = {choice.text: choice for choice in choices}.values()
    confusion = {
        wanted: dict(Counter(choice.got for choice in once if choice.wanted == wanted)) for wanted in experts
    }
    right = {wanted: confusion[wanted].get(wanted, 0) / sum(confusion[wanted].values()) for wanted in experts}
    times_ms = [choice.took_ms for choice in choices]
    return {
        "requests": len(once),
        "accuracy": sum(choice.got == choice.wanted for choice in once) / len(once),
        "accuracy_of": right,
        "confusion": confusion,
        "p50_ms": quantile(times_ms, 0.5),
        "p99_ms": quantile(times_ms, 0.99),
        "wrong": sorted((c.text, c.wanted, c.got) for c in once if c.got != c.wanted),
    }


def show(found: Mapping[str, Any]) -> None:
    """Print a summary as a table: rows are what was wanted, columns what was chosen."""
    confusion: Mapping[str, Mapping[str, int]] = found["confusion"]
    columns = list(dict.fromkeys((*confusion, *(got for row in confusion.values() for got in row))))
    rows = [
        [wanted, f"{found['accuracy_of'][wanted]:.0%}", *(row.get(got, 0) or "" for got in columns)]
        for wanted, row in confusion.items()
    ]
    print(table(["wanted", "right", *columns], rows))
    print(f"\n{found['requests']} requests, {found['accuracy']:.1%} right (aim {AIM['accuracy']:.0%}); "
          f"p50 {found['p50_ms']:.1f} ms (aim {AIM['p50_ms']:g}), p99 {found['p99_ms']:.1f} ms")  # fmt: skip
    for text, wanted, got in found["wrong"]:
        print(f"  {wanted} -> {got}: {text}")


async def compare_neighbours(
    embedder: Embedder, profiles: Mapping[str, Profile], requests: Requests
) -> list[dict[str, float]]:
    """Return, for each number of neighbours, how many tuning requests and left-out examples are right."""
    names = list(profiles)
    examples = {name: await embedder.embed(profile.examples) for name, profile in profiles.items()}
    vectors = np.concatenate(list(examples.values()))
    labels = np.repeat(np.arange(len(names)), [len(each) for each in examples.values()])
    asked = np.concatenate([await embedder.embed(requests[name]) for name in names])
    wanted = np.repeat(np.arange(len(names)), [len(requests[name]) for name in names])
    among = vectors @ vectors.T
    np.fill_diagonal(among, -1.0)
    found = []
    for count in (1, 2, 3, 4, 6, 8, 10, 12, 16):
        near = [
            np.stack(
                [np.sort(scores[:, labels == label], 1)[:, -count:].mean(1) for label in range(len(names))], 1
            ).argmax(1)
            for scores in (asked @ vectors.T, among)
        ]
        found.append(
            {
                "neighbours": count,
                "tuning": float((near[0] == wanted).mean()),
                "left_out": float((near[1] == labels).mean()),
            }
        )
    return found


async def appearances(folder: Path) -> list[float]:
    """Return how long after its registration in a real Consul an expert may be routed to (seconds, each)."""
    with ConsulAgent(folder) as agent:
        agent.start()
        http = ConsulHttp(agent.url, TokenSource(agent.make_token()))
        directory = await ConsulDirectory.open(http, SystemClock(), prefixes=(EXPERT_PREFIX,))
        book = ExpertRegistry(directory, FakeExperts())
        took_s = []
        try:
            for number in range(NEW_SERVICES):
                version, began_s = directory.version, time.perf_counter()
                await asyncio.to_thread(agent.register, f"{EXPERT_PREFIX}new{number}", 4000 + number)
                while not any(expert.name == f"new{number}" and expert.is_up for expert in book.all()):
                    version = await directory.wait_for_change(version)
                took_s.append(time.perf_counter() - began_s)
                await asyncio.sleep(0.3)
        finally:
            await directory.close()
    return took_s


@asynccontextmanager
async def language_model(strategy: str) -> AsyncIterator[LlmClient]:
    """Give the embedded language model when it is to choose; else one that nobody asks."""
    if strategy != "model":
        yield FakeLlm()
        return
    async with AsyncExitStack() as stack:
        server = LlmServerProcess(xllamacpp_command(model(QWEN), threads=2, context=4096, slots=1))
        stack.push_async_callback(server.close)
        await server.start()
        llm = OpenAiLlm(server.base_url, "qwen", server.api_key)
        stack.push_async_callback(llm.close)
        yield llm


async def run(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    profiles = load_profiles(GROUP_VARS)
    requests = requests_of("router_tuning.yaml" if args.tune else "router_requests.yaml")
    embedder = await MiniLmEmbedder.load(model(MINILM))
    result: dict[str, Any] = {"machine": machine(), "aim": AIM, "strategy": args.strategy}
    try:
        if args.tune:
            result["neighbours"] = await compare_neighbours(embedder, profiles, requests)
            rows = [
                [f"{row['neighbours']}{' *' if row['neighbours'] == NEIGHBOURS else ''}",
                 f"{row['tuning']:.1%}", f"{row['left_out']:.1%}"]
                for row in result["neighbours"]
            ]  # fmt: skip
            print(table(["neighbours", "tuning requests", "examples, each left out"], rows), "\n")
        async with language_model(args.strategy) as llm:
            services = services_of(embedder, profiles, llm)
            route, chooser = nodes_of_loop(args.strategy)
            result |= summary(await choose_all(chooser, services, requests, args.passes))
            show(result)
            before = await taken_before(route, services, requests)
        result["taken_before"] = before
        print(f"\nIn the shipped workflow {len(before)} of them go elsewhere before an expert is chosen:")
        for text, way in before.items():
            print(f"  {way}: {text}")
    finally:
        await embedder.close()
    if args.consul:
        with tempfile.TemporaryDirectory() as folder:
            took_s = await appearances(Path(folder))
        result["appears_s"] = {"p50": quantile(took_s, 0.5), "max": max(took_s), "count": len(took_s)}
        print(
            f"\nA new expert in Consul may be asked after {quantile(took_s, 0.5) * 1000:.0f} ms (p50), "
            f"{max(took_s) * 1000:.0f} ms (longest of {len(took_s)}; aim {AIM['appears_s']:g} s)"
        )
    path = write_json("router_tuning" if args.tune else f"router_{args.strategy}", result)
    load = result["machine"]["load_1_min"]
    print(f"\nload average {load} on {result['machine']['cores']} cores; written to {path}")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="How often, and how fast, is the right expert chosen?")
    parser.add_argument("--strategy", choices=["examples", "model"], default="examples")
    parser.add_argument("--passes", type=int, default=3, help="how often each request is asked")
    parser.add_argument("--tune", action="store_true", help="the tuning requests, and numbers of neighbours")
    parser.add_argument("--no-consul", dest="consul", action="store_false", help="leave out the new experts")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
