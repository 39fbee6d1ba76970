from __future__ import annotations

import pytest
import yaml

from pipecatapp.planning.placement import (
    EXPERTISE,
    HOST_MB,
    NODE_SHARE,
    Assignment,
    Placement,
    PlacementPlan,
    available_mb_of,
    plan_placement,
)
from pipecatapp.planning.speed import Expected
from pipecatapp.ports import MAIN_EXPERT
from testing.ansible_code import ROOT
from testing.nomad_modules import expert_order as role
from testing.unit.planning.machines import SMALL, model, node

pytestmark = pytest.mark.unit

QUICK = {"decode": 400.0, "prefill": 4000.0, "memory_read_mb_s": 100_000.0}


def assignment(plan: PlacementPlan, expert: str) -> Assignment:
    return next(each for each in plan.experts if each.expert == expert)


def test_the_first_model_that_fits_and_is_quick_enough_is_taken() -> None:
    lists = {MAIN_EXPERT: [model("huge", memory_mb=90_000), model("good"), SMALL]}
    found = assignment(plan_placement([node(**QUICK)], lists, SMALL), MAIN_EXPERT)
    assert found.placement is not None
    assert (found.placement.model.name, found.rank) == ("good", 1)
    assert [name for name, _ in found.passed] == ["huge"]
    assert "90000 MB" in found.passed[0][1]


def test_a_model_that_people_do_not_listen_to_is_passed_over_and_why_is_said() -> None:
    lists = {MAIN_EXPERT: [model("slow", megabytes=20_000), SMALL]}
    found = assignment(plan_placement([node(decode=20, prefill=2000)], lists, SMALL), MAIN_EXPERT)
    assert found.placement is not None
    assert found.placement.model.name == "small"
    assert found.passed == (("slow", "0.1 tokens/s, and 4 are wanted"),)


def test_the_conversation_always_has_someone() -> None:
    found = assignment(
        plan_placement([node(decode=0.5, prefill=1)], {MAIN_EXPERT: [model("slow"), SMALL]}, SMALL),
        MAIN_EXPERT,
    )
    assert found.placement is not None
    assert found.placement.model.name == "small"
    assert "nothing quicker is there" in found.reason


def test_an_expert_that_nobody_would_listen_to_is_left_out() -> None:
    lists = {MAIN_EXPERT: [SMALL], "coding": [model("slow", megabytes=20_000)]}
    found = assignment(plan_placement([node(decode=20, prefill=2000)], lists, SMALL), "coding")
    assert found.placement is None
    assert "main answers" in found.reason


def test_a_model_that_wants_a_feature_runs_on_the_node_that_has_it() -> None:
    old = node("attic", flags=("sse2",), decode=400, prefill=4000)
    lists = {MAIN_EXPERT: [model("new", requires_cpu=("avx2",))]}
    found = assignment(plan_placement([old, node("den", **QUICK)], lists, SMALL), MAIN_EXPERT)
    assert found.placement is not None
    assert found.placement.server == "den"
    alone = assignment(plan_placement([old], lists, SMALL), MAIN_EXPERT)
    assert alone.placement is None
    assert alone.passed == (("new", "no node has avx2"),)


def test_experts_are_spread_over_the_nodes() -> None:
    lists = {MAIN_EXPERT: [model("a")], "coding": [model("b")]}
    plan = plan_placement([node("den", **QUICK), node("attic", **QUICK)], lists, SMALL)
    servers = [each.placement.server for each in plan.experts if each.placement]
    assert sorted(servers) == ["attic", "den"]


def test_two_experts_on_one_node_are_told_so() -> None:
    plan = plan_placement([node(**QUICK)], {MAIN_EXPERT: [model("a")], "coding": [model("b")]}, SMALL)
    assert "shares the cores of den" in assignment(plan, "coding").reason


def test_an_expert_with_mains_model_is_not_deployed_twice() -> None:
    plan = plan_placement([node(**QUICK)], {MAIN_EXPERT: [model("a")], "coding": [model("a")]}, SMALL)
    assert assignment(plan, "coding").placement is None
    assert "same model" in assignment(plan, "coding").reason


def test_a_model_that_no_node_holds_is_split_over_as_few_as_will_do() -> None:
    nodes = [node(name, memory_mb=4000, **QUICK) for name in ("a", "b", "c")]
    found = assignment(
        plan_placement(nodes, {MAIN_EXPERT: [model("big", memory_mb=4000)]}, SMALL), MAIN_EXPERT
    )
    assert found.placement is not None
    assert found.placement.workers == ("a", "b")
    assert found.placement.server == "c"


def test_splitting_a_model_that_fits_is_compared_and_slower() -> None:
    found = assignment(
        plan_placement([node("a", **QUICK), node("b", **QUICK)], {MAIN_EXPERT: [model("m")]}, SMALL),
        MAIN_EXPERT,
    )
    assert found.placement is not None
    assert found.other_way is not None
    assert found.other_way.is_split
    assert found.other_way.speed.decode_tokens_s < found.placement.speed.decode_tokens_s


def test_one_more_stick_is_told_where_it_changes_something() -> None:
    lists = {MAIN_EXPERT: [model("big", memory_mb=5000), model("good")]}
    plan = plan_placement(
        [node("a", memory_mb=4000, **QUICK), node("b", memory_mb=500, **QUICK)], lists, SMALL
    )
    assert [benefit.node for benefit in plan.benefits] == ["a"]
    [better] = plan.benefits[0].changes
    assert better.placement is not None
    assert (better.placement.model.name, better.placement.server) == ("big", "a")


def test_memory_that_would_change_nothing_is_not_recommended() -> None:
    assert plan_placement([node(**QUICK)], {MAIN_EXPERT: [model("a")]}, SMALL).benefits == ()


def test_a_quarter_of_a_node_is_left_to_the_system_and_the_agent() -> None:
    assert available_mb_of(node(memory_mb=8000)) == 6000


def test_the_sums_are_those_of_the_role_that_deploys() -> None:
    assert (NODE_SHARE, HOST_MB) == (role.NODE_SHARE, role.HOST_MB)
    one = model("m", memory_mb=2000)
    placement = Placement(one, "a", (), Expected(1, 1))
    split = Placement(one, "a", ("b", "c"), Expected(1, 1))
    listed = [{"name": "m", "memory_mb": one.memory_mb}]
    assert role.reckon(listed, 0, [8000])["memory_mb"] == placement.takes_mb()["a"]
    reckoned = role.reckon(listed, 2, [8000, 8000, 8000])
    assert split.takes_mb() == {
        "a": reckoned["memory_mb"],
        "b": reckoned["worker_memory_mb"],
        "c": reckoned["worker_memory_mb"],
    }


def test_the_patience_with_an_expert_is_the_roles() -> None:
    text = (ROOT / "ansible/roles/expert/defaults/main.yaml").read_text(encoding="utf-8")
    defaults = yaml.safe_load(text)
    assert (defaults["expert_least_tokens_s"], defaults["expert_first_word_s"]) == (
        EXPERTISE.decode_tokens_s,
        EXPERTISE.first_word_s,
    )
