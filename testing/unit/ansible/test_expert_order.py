"""What may be asked of an expert, and what its parts are reckoned to take; pure functions."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pipecatapp.experts import model_fit
from testing.ansible_code import ROOT
from testing.nomad_modules import expert_order, expert_report

pytestmark = pytest.mark.unit

NODES = [8000, 8000, 4000]


def model(name: str = "phi", memory_mb: int = 2000, **more: Any) -> dict[str, Any]:
    return {"name": name, "filename": f"{name}.gguf", "sha256": "0" * 64, "memory_mb": memory_mb} | more


def order(**more: Any) -> dict[str, Any]:
    return {
        "job_name": "creative-expert",
        "service_name": "llama-api-creative",
        "namespace": "creative",
        "models": [model()],
        # As text, for so it comes from a command line.
        "worker_count": "2",
        "tokens": 8192,
    } | more


def test_the_seeds_order_is_valid() -> None:
    assert expert_order.faults(order(), NODES) == []


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"namespace": "not/legal"}, "namespace='not/legal' is no name for Nomad"),
        ({"namespace": "n" * 129}, "128 at most"),
        ({"service_name": "creative"}, "must be llama-api-NAME"),
        ({"service_name": "llama-api-"}, "must be llama-api-NAME"),
        ({"job_name": "Creative Expert"}, "is no name: small letters"),
        ({"worker_count": "4"}, "worker_count=4 is more than the cluster has"),
        ({"worker_count": "-1"}, "is no number from 0"),
        ({"worker_count": "two"}, "is no number from 0"),
        ({"models": "creative_writing_models"}, "model_list is no list of models"),
        ({"models": []}, "model_list is no list of models"),
        ({"models": ["phi"]}, "entry 1: it is no model but 'phi'"),
        (
            {"models": [{"name": "phi", "filename": "phi.gguf", "memory_mb": 1}]},
            "model_list, phi: sha256 is missing",
        ),
        ({"models": [model(sha256="abc")]}, "sha256 must be 64 digits"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    assert sentence in " ".join(expert_order.faults(order(**wrong), NODES))


def test_everything_that_is_wrong_is_told_at_once() -> None:
    assert len(expert_order.faults(order(namespace="a/b", worker_count="9", models=[]), NODES)) == 3


def test_the_list_ends_with_the_smallest_of_the_small_ones_once() -> None:
    small, tiny = model("small", 700), model("tiny", 270)
    names = [item["name"] for item in expert_order.whole_list([model()], [small, tiny])]
    assert names == ["phi", "tiny"]
    assert [item["name"] for item in expert_order.whole_list([tiny], [small, tiny])] == ["tiny"]


def test_a_model_without_workers_is_reckoned_whole() -> None:
    reckoned = expert_order.reckon([model(memory_mb=2000)], 0, NODES)
    assert reckoned == {"expected": "phi", "memory_mb": 2000 + expert_order.HOST_MB, "worker_memory_mb": 0}


def test_a_model_with_workers_is_reckoned_in_parts() -> None:
    reckoned = expert_order.reckon([model(memory_mb=8000)], 2, NODES)
    assert reckoned["expected"] == "phi"
    assert reckoned["worker_memory_mb"] == 4400
    assert reckoned["memory_mb"] == 2000 + expert_order.HOST_MB


def test_a_model_without_room_gives_its_turn_to_the_next() -> None:
    models = [model("huge", 50_000), model("small", 700)]
    assert expert_order.reckon(models, 0, NODES)["expected"] == "small"
    assert expert_order.reckon(models, 2, NODES)["expected"] == "small"
    # A limit that was asked for holds, and leaves the smaller one.
    assert expert_order.reckon([model(), model("small", 700)], 0, NODES, here_mb=1000)["expected"] == "small"


def test_context_beyond_what_the_list_reckons_with_is_added() -> None:
    shape = {"layers": 36, "cache_width": 2048}
    whole = expert_order.whole_list([model("long", 3600, shape=shape), model("small", 400, shape=shape)], [])
    assert whole[0]["token_bytes"] == 147456
    assert expert_order.reckon(whole, 0, [8000], tokens=8192)["memory_mb"] == 3600 + expert_order.HOST_MB
    # With 3456 MiB more it no longer has room, and the next is sized with its own.
    reckoned = expert_order.reckon(whole, 0, [8000], tokens=2 * 16384)
    assert (reckoned["expected"], reckoned["memory_mb"]) == ("small", 3856 + expert_order.HOST_MB)
    for each, name in zip(whole, ("long", "small"), strict=True):
        known = model_fit.ModelSpec(
            name=name,
            filename="f",
            sha256="0",
            memory_mb=each["memory_mb"],
            requires_cpu=(),
            token_bytes=each["token_bytes"],
        )
        assert expert_order.with_context(each, 32768) == known.with_context(32768).memory_mb


def test_a_context_that_cannot_be_reckoned_is_refused() -> None:
    assert expert_order.faults(order(tokens=8192), NODES) == []
    [fault] = expert_order.faults(order(tokens=8193), NODES)
    assert "its shape must tell layers and cache_width" in fault


def test_the_roles_own_context_is_what_the_list_reckons_with() -> None:
    text = (ROOT / "ansible/roles/expert/defaults/main.yaml").read_text(encoding="utf-8")
    defaults = yaml.safe_load(text)
    assert defaults["expert_context"] * defaults["expert_slots"] == model_fit.BASE_TOKENS


def test_the_sums_are_those_of_the_server() -> None:
    assert expert_order.BASE_TOKENS == model_fit.BASE_TOKENS
    assert expert_order.SPLIT_MARGIN == model_fit.SPLIT_MARGIN
    assert expert_order.STAYS_HERE == model_fit.HEAD_NODE_FRACTION


def test_the_table_names_parts_nodes_and_memory() -> None:
    lines = expert_report.table([("server", "den", 210), ("rpc", "attic", 555)], "phi", "Wet.")
    assert "den" in lines[1] and "210 MiB" in lines[1]
    assert "attic" in lines[2] and "555 MiB" in lines[2]
    assert lines[-1] == "Served by phi. Asked what water is, it said: Wet."
