"""Who answers: by name, by rules, by examples, by a model's choice; and what is no expert's."""

from __future__ import annotations

from typing import Any

import pytest

from pipecatapp.errors import AdapterError, WorkflowRuntimeError
from pipecatapp.ports import Expert
from pipecatapp.workflow.nodes.expert_nodes import SHOWN, RouteToExpertNode, examples_of, named_expert
from pipecatapp.workflow.services import NodeServices
from testing.fakes.fake_experts import FakeExperts
from testing.fakes.fake_llm import FakeLlm
from testing.unit.workflow.conftest import MakeBench, Outcome, services_of

pytestmark = pytest.mark.unit

MAIN = Expert("main", "Everyday talk.", ("What is the capital of France?", "How do I cook rice?"))
MATH = Expert("math", "Mathematics.", ("Solve the equation", "What is a prime number?"))
CREATIVE = Expert("creative", "Stories and poems.", ("Write a poem about autumn", "Tell me a story"))
CYBER = Expert("cybersecurity", "Safety of computers.", ("Was my password stolen?",))

CHOOSE = """
inputs: {{user_text: text}}
nodes:
  - id: choose
    type: route_to_expert
    config: {config}
    inputs: {{text: input.user_text}}
    timeout_s: 5
outputs: {{text: choose.expert, reason: choose.reason, score: choose.score}}
"""


async def choose(
    bench: MakeBench, text: str, *experts: Expert, config: str = "{}", llm: FakeLlm | None = None
) -> Outcome:
    house = FakeExperts(*experts, main=llm)
    made = bench(CHOOSE.format(config=config), llm=llm, experts=house)
    return await made.run(user_text=text)


def told(outcome: Outcome) -> tuple[str, str]:
    return str(outcome.finished.text), str(outcome.finished.outputs["reason"])


async def test_alone_main_is_asked_and_nothing_is_embedded() -> None:
    services = services_of()
    node = node_of(services)
    chosen = await node.decide("Solve the equation", services)
    assert (chosen.expert, chosen.reason) == ("main", "there is nobody else")
    assert services.embedder.texts == []  # type: ignore[attr-defined]


def node_of(services: NodeServices, **config: Any) -> RouteToExpertNode:
    node = object.__new__(RouteToExpertNode)
    node.config = RouteToExpertNode.config_type(**config)  # type: ignore[assignment]
    return node


@pytest.mark.parametrize(
    ("text", "expert"),
    [
        ("Solve this equation for me", "math"),
        ("Tell me a story about a poem in autumn", "creative"),
        ("What is the capital of Spain, France or Italy?", "main"),
        ("Zzz", "main"),
    ],
)
async def test_the_nearest_examples_decide(bench: MakeBench, text: str, expert: str) -> None:
    outcome = await choose(bench, text, MAIN, MATH, CREATIVE)
    assert outcome.finished.text == expert
    assert outcome.raised == ([] if expert == "main" else ["expert_chosen"])


async def test_an_expert_must_beat_main_by_the_margin(bench: MakeBench) -> None:
    text = "Solve the equation"
    near, far = Expert("main", examples=("Solve the equations",)), Expert("math", examples=("Solve the sum",))
    sure = await choose(bench, text, Expert("main", examples=("Solve rice",)), far, config="{margin: 0}")
    unsure = await choose(bench, text, near, far, config="{margin: 0.9, min_score: 0}")
    assert (sure.finished.text, unsure.finished.text) == ("math", "main")


async def test_below_the_least_score_nobody_is_chosen(bench: MakeBench) -> None:
    outcome = await choose(bench, "Solve a riddle", MAIN, MATH, config="{min_score: 0.99}")
    assert told(outcome) == ("main", "nobody is clearly better")


async def test_an_expert_that_only_describes_itself_is_known_by_that(bench: MakeBench) -> None:
    gardener = Expert("garden", "Roses, tomatoes and lawns.")
    outcome = await choose(bench, "My roses and tomatoes are ill", MAIN, gardener)
    assert outcome.finished.text == "garden"


async def test_an_expert_that_says_nothing_is_asked_by_name_only(bench: MakeBench) -> None:
    silent = Expert("garden")
    assert examples_of([silent]) == {}
    assert told(await choose(bench, "My garden", silent)) == ("main", "no other says what it is good at")
    outcome = await choose(bench, "Ask the garden expert when to plant roses", silent)
    assert told(outcome) == ("garden", "asked for by name")


async def test_an_expert_that_is_not_up_is_not_asked_and_the_reason_says_so(bench: MakeBench) -> None:
    ill = Expert("math", examples=MATH.examples, is_up=False)
    by_examples = await choose(bench, "Solve the equation", MAIN, ill)
    by_name = await choose(bench, "Let the math expert solve it", MAIN, ill)
    assert told(by_examples) == ("main", "math is not up (nearest to its examples)")
    assert told(by_name) == ("main", "math is not up (asked for by name)")
    assert by_examples.raised == by_name.raised == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Ask the math expert what a prime number is", "math"),
        ("please let the maths expert do that", "math"),
        ("I want to hear that from your creative writing expert", "creative-writing"),
        ("what does the cyber security specialist say", "cybersecurity"),
        ("Ask the Cyber-Security expert", "cybersecurity"),
        ("could you call an expert for math please", "math"),
        ("ask the expert on creative writing for a poem", "creative-writing"),
        ("the friendly math expert", "math"),
        ("What is a math expert?", ""),
        ("Ask the tax expert about math", ""),
        ("I know the math", ""),
        ("", ""),
    ],
)
def test_experts_are_found_by_name(text: str, name: str) -> None:
    assert named_expert(text, ["main", "math", "cybersecurity", "creative-writing"]) == name


RULES = "{strategy: rules, rules: [{pattern: '\\bpoem', expert: creative}, {pattern: number, expert: math}]}"


@pytest.mark.parametrize(
    ("text", "expert", "reason"),
    [
        ("A POEM about a number", "creative", "by a rule"),
        ("A number", "math", "by a rule"),
        ("Solve the equation", "main", "no rule fits"),
        ("Ask the math expert for a poem", "math", "asked for by name"),
    ],
)
async def test_rules_decide_in_order_after_names(
    bench: MakeBench, text: str, expert: str, reason: str
) -> None:
    assert told(await choose(bench, text, MATH, CREATIVE, config=RULES)) == (expert, reason)


async def test_a_rule_for_an_expert_that_is_not_there_is_passed_over(bench: MakeBench) -> None:
    assert told(await choose(bench, "A poem about a number", MATH, config=RULES))[0] == "math"


async def test_a_model_chooses_among_those_that_are_up(bench: MakeBench) -> None:
    llm = FakeLlm(['{"expert": "creative"}'])
    ill = Expert("math", "Mathematics.", is_up=False)
    outcome = await choose(bench, "Sing", MAIN, CREATIVE, ill, CYBER, config="{strategy: model}", llm=llm)
    assert told(outcome) == ("creative", "the model chose it")
    request = llm.requests[0]
    assert request.json_schema is not None
    assert request.json_schema["properties"]["expert"]["enum"] == ["main", "creative", "cybersecurity"]
    assert "- creative: Stories and poems." in request.messages[0].content
    shown = [message.content for message in request.messages[1:]]
    assert shown[:2] == ["Request: What is the capital of France?", '{"expert": "main"}']
    assert shown.count('{"expert": "creative"}') == SHOWN
    assert shown[-1] == "Request: Sing"
    assert not any("math" in message.content for message in request.messages), "it is not up"


async def test_a_model_that_names_nobody_leaves_it_to_main(bench: MakeBench) -> None:
    outcome = await choose(
        bench, "Sing", CREATIVE, config="{strategy: model}", llm=FakeLlm(['{"expert": "x"}'])
    )
    assert told(outcome) == ("main", "the model named nobody")


async def test_a_model_that_fails_fails_the_node(bench: MakeBench) -> None:
    llm = FakeLlm(error=AdapterError("llm-unreachable", "nobody is there"))
    with pytest.raises(WorkflowRuntimeError, match="nobody is there"):
        await choose(bench, "Sing", CREATIVE, config="{strategy: model}", llm=llm)


ASK = """
inputs: {user_text: text}
nodes:
  - id: order
    type: prompt
    config: {system: assistant_system, user: assistant_user}
    inputs: {user_text: input.user_text}
  - id: answer
    type: llm
    config: {expert: math}
    inputs: {messages: order.messages}
    timeout_s: 5
outputs: {text: answer.text}
"""


async def test_a_workflow_may_ask_an_expert_always(bench: MakeBench) -> None:
    house = FakeExperts(MATH, clients={"math": FakeLlm(["Seven."])})
    assert (await bench(ASK, experts=house).run(user_text="Why?")).finished.text == "Seven."
    assert house.asked == ["math"]
