"""Experts elsewhere, as the owner writes them down: what is read, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipecatapp.errors import ConfigError
from pipecatapp.experts.expert_metadata import Profile
from pipecatapp.experts.external import ExternalExpert, load_external
from pipecatapp.experts.registry import ExpertRegistry
from pipecatapp.ports import Expert
from testing.fakes.fake_directory import FakeDirectory
from testing.fakes.fake_experts import FakeExperts

pytestmark = pytest.mark.unit

GROUP_VARS = Path(__file__).resolve().parents[3] / "group_vars"
KEYS = {"example": "Secret-1"}
WHOLE = """
external_experts:
  oracle:
    base_url: https://api.example.com/proxy/v1/
    model: some/large-model
    key: example
    calls_tools: true
    description: Law and
      taxes.
    examples: ['What does the law say?']
  math: {base_url: "http://[fd00::5]:8000/v1", model: small}
"""


def load(folder: Path, text: str, keys: dict[str, str] = KEYS) -> tuple[ExternalExpert, ...]:
    (folder / "external_experts.yaml").write_text(text, encoding="utf-8")
    return load_external(folder, keys, "/data/external_keys.yaml")


def test_the_shipped_file_lists_nobody() -> None:
    assert (GROUP_VARS / "external_experts.yaml").is_file()
    assert load_external(GROUP_VARS, {}, "nowhere") == ()


def test_the_shipped_example_is_one_that_is_read(tmp_path: Path) -> None:
    lines = (GROUP_VARS / "external_experts.yaml").read_text(encoding="utf-8").splitlines()
    start = lines.index("# external_experts:")
    example = [line.removeprefix("# ") for line in lines[start:] if line.startswith("#")]
    (oracle,) = load(tmp_path, "\n".join(example))
    assert (oracle.name, oracle.api_key, oracle.calls_tools) == ("oracle", "Secret-1", True)
    assert oracle.profile is not None and oracle.profile.examples


@pytest.mark.parametrize("text", ["external_experts: {}", "external_experts:\n  # nobody"])
def test_an_empty_list_is_nobody(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == () == load_external(tmp_path / "nowhere", {}, "")


def test_an_expert_elsewhere_is_a_service_with_its_address_model_key_and_profile(tmp_path: Path) -> None:
    oracle, math = load(tmp_path, WHOLE)
    profile = Profile(description="Law and taxes.", examples=("What does the law say?",))
    assert oracle == ExternalExpert(
        name="oracle",
        base_url="https://api.example.com/proxy/v1",
        model="some/large-model",
        api_key="Secret-1",
        calls_tools=True,
        profile=profile,
    )
    endpoint = oracle.endpoint
    assert (endpoint.service, endpoint.node, endpoint.port) == ("llama-api-oracle", "api.example.com", 443)
    assert (endpoint.base_url, endpoint.tags) == ("https://api.example.com/proxy/v1", ("tools=native",))
    assert (math.endpoint.base_url, math.endpoint.address, math.endpoint.port) == (
        "http://[fd00::5]:8000/v1",
        "fd00::5",
        8000,
    )
    assert (math.api_key, math.endpoint.tags) == ("", ())


def test_a_key_is_shown_nowhere(tmp_path: Path) -> None:
    oracle, _ = load(tmp_path, WHOLE)
    assert "Secret-1" not in f"{oracle!r} {oracle.endpoint!r}"


def test_the_book_has_what_is_written_or_well_known_of_it(tmp_path: Path) -> None:
    directory = FakeDirectory(*(expert.endpoint for expert in load(tmp_path, WHOLE)))
    book = ExpertRegistry(directory, FakeExperts(), {"math": Profile(description="Sums.", examples=("Add",))})
    assert book.all()[1:] == (
        Expert("math", "Sums.", ("Add",)),
        Expert("oracle", "Law and taxes.", ("What does the law say?",)),
    )


def one(**fields: str) -> str:
    values = {"base_url": "https://a.example/v1", "model": "m"} | fields
    return "external_experts: {oracle: {" + ", ".join(f"{k}: {v}" for k, v in values.items()) + "}}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("external_experts: {oracle: {model: m}}", "external_experts.oracle.base_url: Field required"),
        (one(base_url="api.example.com/v1"), "oracle.base_url: Value error, is no address such as https://"),
        (one(base_url="ftp://a.example/v1"), "is no address"),
        (one(base_url="https://a.example"), "does not end in /v1"),
        (one(base_url="'https://a.example:99999/v1'"), "a port that is no number from 1 to 65535"),
        (one(base_url="'https://me:Secret-1@a.example/v1'"), "a key belongs into external_keys.yaml"),
        (one(base_url="'https://a.example/v1?key=Secret-1'"), "a key belongs into external_keys.yaml"),
        (one(model="' '"), "external_experts.oracle.model: Value error, is empty"),
        (one(key="sk-Secret-1"), "oracle.key: Value error, is no name of a key"),
        (one(key="other"), "there is no key 'other' in /data/external_keys.yaml; known: example"),
        (one(api_key="Secret-1"), "external_experts.oracle.api_key: Extra inputs are not permitted"),
        (one(calls_tools="maybe"), "external_experts.oracle.calls_tools"),
        (one(examples=f"{['a'] * 61}"), "at most 60 items"),
        ("external_experts: {main: {base_url: 'https://a.example/v1', model: m}}", "main is the house's own"),
        ("external_experts: {Oracle: {}}", "no name of an expert"),
        ("experts: {}", "external_experts: Field required"),
        ("[1]", "the file: Input should be"),
        ("a: b\nkey: 'Secret-1", "line 2 is no YAML"),
    ],
)
def test_a_wrong_file_says_where_and_what_and_no_value(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert complaint in caught.value.message
    assert str(tmp_path / "external_experts.yaml") in caught.value.message
    assert "Secret-1" not in f"{caught.value.message} {caught.value.hint}"
