"""The settings and their page.

It owns that a wrong value is told and that docs/reference/settings.md names every variable.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipecatapp.app.configuration import load_settings
from pipecatapp.environment import disable_telemetry, own_port
from pipecatapp.errors import ConfigError
from pipecatapp.settings import (
    Settings,
    child_environment,
    secret_variables,
)

pytestmark = pytest.mark.unit

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "settings.md"


@pytest.mark.parametrize(
    ("variable", "value", "valid"),
    [
        ("STT_SERVICE", "ears", "pocketsphinx"),
        ("TTS_SERVICE", "mouth", "piper"),
        ("LLM_SERVICE", "brain", "'auto', 'xllamacpp', 'llama-server' or 'openai'"),
        ("EMBEDDER_SERVICE", "heart", "minilm"),
        ("TWIN_PORT", "0", "greater"),
        ("TWIN_HOST_NAMES", "mypc.fritz.box, http://other:8000", "'http://other:8000' is no name"),
        ("TWIN_HOST_NAMES", "*", "no name"),
        ("TWIN_TOOL_OPTIONS", "{dice", "JSON"),
        ("TWIN_TOOL_OPTIONS", '{"dice": 6}', "dictionary"),
    ],
)
def test_a_wrong_value_names_the_variable_and_what_is_valid(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, valid: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert variable in caught.value.message
    assert valid in caught.value.message


def test_every_wrong_value_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_SERVICE", "ears")
    monkeypatch.setenv("TWIN_PORT", "0")
    with pytest.raises(ConfigError, match="STT_SERVICE='ears': .*; TWIN_PORT='0': ") as caught:
        load_settings()
    assert caught.value.hint


def test_options_of_tools_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_TOOL_OPTIONS", '{"dice": {"sides": 20}}')
    assert load_settings().tool_options == {"dice": {"sides": 20}}
    monkeypatch.setenv("TWIN_TOOL_OPTIONS", "")
    assert load_settings().tool_options == {}


def test_further_names_are_taken_as_browsers_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_HOST_NAMES", " MyPC.fritz.box., ,2001:DB8::5")
    assert load_settings().further_names == ("mypc.fritz.box", "2001:db8::5")


@pytest.mark.parametrize("value", ["", "8123", "1", "65535"])
def test_the_port_is_read_alike_with_and_without_all_settings(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    if value:
        monkeypatch.setenv("TWIN_PORT", value)
    assert own_port() == load_settings().port


@pytest.mark.parametrize("value", ["", "0", "65536", "-1", "http", "8000.5"])
def test_a_wrong_port_is_told_alike(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TWIN_PORT", value)
    for read in (own_port, load_settings):
        with pytest.raises(ConfigError, match="TWIN_PORT=") as caught:
            read()
        assert caught.value.hint


def test_a_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_API_KEY", "hunter2")
    assert "hunter2" not in repr(load_settings())


def test_every_variable_is_on_the_settings_page() -> None:
    page = PAGE.read_text()
    missing = [field.alias for field in Settings.model_fields.values() if f"`{field.alias}`" not in page]
    assert missing == []


def test_the_settings_page_names_no_variable_that_is_gone() -> None:
    aliases = {field.alias for field in Settings.model_fields.values()}
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert {row.split("`")[1] for row in rows} <= aliases


def test_a_child_does_not_inherit_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    assert "OMP_WAIT_POLICY" not in child_environment(without=["OMP_WAIT_POLICY"])
    monkeypatch.setenv("NOMAD_TOKEN", "secret")
    assert "NOMAD_TOKEN" not in child_environment()


def test_what_is_secret_is_known_by_its_type() -> None:
    names = secret_variables()
    assert {"LLM_API_KEY", "TWIN_MEMORY_TOKEN", "TWIN_EXPERT_CERTIFICATE_KEY"} <= set(names)
    assert "TWIN_PORT" not in names


def test_libraries_are_told_to_report_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "0")
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    disable_telemetry()
    environment = child_environment()
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"
    assert environment["HF_HUB_OFFLINE"] == "1"
