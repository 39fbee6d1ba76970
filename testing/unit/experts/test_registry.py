"""Who there is to answer, and what each is good at: by its metadata, or the file of the well-known."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipecatapp.adapters.discovery.static import StaticDirectory
from pipecatapp.errors import ConfigError
from pipecatapp.experts.expert_metadata import (
    MAX_EXAMPLES,
    MAX_VALUE_BYTES,
    Profile,
    load_profiles,
    parse_meta,
    to_meta,
)
from pipecatapp.experts.pool import ExpertPool
from pipecatapp.experts.registry import ExpertRegistry
from pipecatapp.ports import Endpoint, Expert, Experts, LlmClient
from testing.conformance.experts_suite import ExpertsSuite
from testing.fakes.fake_clock import FakeClock
from testing.fakes.fake_directory import FakeDirectory
from testing.fakes.fake_experts import FakeExperts
from testing.fakes.fake_llm import FakeLlm

pytestmark = pytest.mark.unit

GROUP_VARS = Path(__file__).resolve().parents[3] / "group_vars"
REQUESTS = Path(__file__).resolve().parents[2] / "bench"


def endpoint(expert: str, port: int = 1, *, passing: bool = True, **meta: str) -> Endpoint:
    return Endpoint(
        service=f"llama-api-{expert}",
        id=f"n/{port}",
        node="n",
        address="10.0.0.1",
        port=port,
        tags=(),
        passing=passing,
        meta=meta,
    )


class TestFakeExperts(ExpertsSuite):
    @pytest.fixture
    def house(self) -> Experts:
        return FakeExperts(
            Expert("math", examples=("Solve the equation",)),
            Expert("ill", is_up=False),
            main=FakeLlm(["main"]),
            clients={"math": FakeLlm(["seven"])},
        )


class TestExpertBook(ExpertsSuite):
    @pytest.fixture
    def house(self) -> Experts:
        directory = FakeDirectory(
            endpoint("math", 1, example_1="Solve the equation"), endpoint("ill", 2, passing=False)
        )

        def connect(_endpoint: Endpoint) -> LlmClient:
            return FakeLlm(["seven"])

        pool = ExpertPool(directory, connect, FakeClock(), own=FakeLlm(["main"]))
        return ExpertRegistry(directory, pool)


def test_a_machine_alone_has_main_only() -> None:
    book = ExpertRegistry(StaticDirectory(FakeClock()), FakeExperts(), {"math": Profile(description="Sums.")})
    assert book.all() == (Expert("main"),)


def test_an_expert_that_comes_changes_or_goes_is_seen_at_once() -> None:
    directory = FakeDirectory()
    book = ExpertRegistry(directory, FakeExperts())
    assert [expert.name for expert in book.all()] == ["main"]
    directory.put(endpoint("garden", description="Plants."))
    assert book.all()[1] == Expert("garden", "Plants.")
    directory.put(endpoint("garden", description="Roses.", passing=False))
    assert book.all()[1] == Expert("garden", "Roses.", is_up=False)
    directory.remove("n/1")
    assert [expert.name for expert in book.all()] == ["main"]


def test_a_well_known_expert_that_says_nothing_is_known_by_the_file() -> None:
    well_known = {"math": Profile(description="Sums.", examples=("Add this",))}
    directory = FakeDirectory(endpoint("math", 1), endpoint("garden", 2))
    book = ExpertRegistry(directory, FakeExperts(), well_known)
    assert book.all()[1:] == (Expert("garden"), Expert("math", "Sums.", ("Add this",)))
    directory.put(endpoint("math", 1, description="Only fractions."))
    assert book.all()[2] == Expert("math", "Only fractions.")


def test_of_several_instances_one_that_passes_speaks() -> None:
    old = endpoint("garden", 1, passing=False, description="Old.")
    book = ExpertRegistry(FakeDirectory(old, endpoint("garden", 2, description="New.")), FakeExperts())
    assert book.all()[1] == Expert("garden", "New.")


def test_metadata_is_read_in_the_order_of_its_numbers() -> None:
    meta = {"example_10": "ten", "example_2": " two \n lines ", "description": "d", "example_x": "no"}
    assert parse_meta(meta | {"example_": "no", "external-source": "nomad", "example_3": "  "}) == (
        "d",
        ("two lines", "ten"),
    )
    assert parse_meta({}) == ("", ())


def test_metadata_of_anybody_is_bounded() -> None:
    meta = {f"example_{number}": "é" * 600 for number in range(200)} | {"description": "x" * 9999}
    description, examples = parse_meta(meta)
    assert (len(description), len(examples)) == (MAX_VALUE_BYTES, MAX_EXAMPLES)
    assert len(examples[0].encode()) == MAX_VALUE_BYTES


def test_a_profile_is_what_its_metadata_says() -> None:
    profile = Profile(description="Sums.", examples=("Add this", "Add that"))
    assert to_meta(profile) == {"description": "Sums.", "example_1": "Add this", "example_2": "Add that"}
    assert parse_meta(to_meta(profile)) == (profile.description, profile.examples)


@pytest.mark.parametrize("name", ["main", "coding", "math", "creative", "science", "cybersecurity"])
def test_the_well_known_experts_fit_into_consuls_metadata(name: str) -> None:
    profile = load_profiles(GROUP_VARS)[name]
    meta = to_meta(profile)
    assert len(meta) <= 64
    assert all(len(key) <= 128 and len(value.encode()) <= 512 for key, value in meta.items())
    assert len(set(profile.examples)) == len(profile.examples) >= 40


def test_no_example_is_a_request_that_the_router_is_measured_with() -> None:
    examples = {text.lower() for each in load_profiles(GROUP_VARS).values() for text in each.examples}
    asked: dict[str, set[str]] = {}
    for file in ("router_requests.yaml", "router_tuning.yaml"):
        document = yaml.safe_load((REQUESTS / file).read_text(encoding="utf-8"))
        asked[file] = {text.lower() for texts in document.values() for text in texts}
        assert not examples & asked[file]
    assert not asked["router_requests.yaml"] & asked["router_tuning.yaml"]
    assert len(asked["router_requests.yaml"]) >= 120


def test_a_folder_without_the_file_knows_nobody(tmp_path: Path) -> None:
    assert load_profiles(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("experts: {math: {}}", "experts.math.description: Field required"),
        ("experts: {Math: {description: x}}", "no name of an expert"),
        ("experts: {math: {description: x, colour: red}}", "Extra inputs are not permitted"),
        (f"experts: {{math: {{description: {'x' * 513}}}}}", "has 513 bytes; at most 512"),
        (f"experts: {{math: {{description: x, examples: {['a'] * 61}}}}}", "at most 60 items"),
        ("experts: {math: {description: ' '}}", "is empty"),
        ("[1]", "valid dictionary or instance of ProfilesFile"),
        ("{", "cannot be read"),
    ],
)
def test_a_wrong_file_says_where_and_what(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "experts.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_profiles(tmp_path)
    assert complaint in caught.value.message
    assert "experts.yaml" in caught.value.message
