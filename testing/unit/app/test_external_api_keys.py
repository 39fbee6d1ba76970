"""The keys of experts elsewhere: where they are read from, and that no message has one in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipecatapp.app.discovery import external_experts
from pipecatapp.app.external_api_keys import read_external_keys
from pipecatapp.errors import ConfigError
from pipecatapp.settings import Settings

pytestmark = pytest.mark.unit


def settings(folder: Path, **values: object) -> Settings:
    return Settings(TWIN_DATA_DIR=folder, **values)  # type: ignore[arg-type]


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "external_keys.yaml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_keys_are_in_a_file_of_the_service(tmp_path: Path) -> None:
    path = write(tmp_path, "example: Secret-1\nother: 'Secret: 2'\n")
    assert read_external_keys(settings(tmp_path)) == (
        {"example": "Secret-1", "other": "Secret: 2"},
        str(path),
    )


def test_without_a_file_there_are_none(tmp_path: Path) -> None:
    assert read_external_keys(settings(tmp_path))[0] == {}
    write(tmp_path, "# none yet\n")
    assert read_external_keys(settings(tmp_path))[0] == {}


def test_the_setting_goes_before_the_file(tmp_path: Path) -> None:
    write(tmp_path, "example: Secret-1")
    given = settings(tmp_path, TWIN_EXTERNAL_KEYS='{"example": "Secret-2"}')
    assert read_external_keys(given) == ({"example": "Secret-2"}, "TWIN_EXTERNAL_KEYS")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path, "example: Secret-1", mode)
    with pytest.raises(ConfigError, match="Others may read the keys") as caught:
        read_external_keys(settings(tmp_path))
    assert caught.value.hint == f"chmod 600 {path}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Secret-1", "lines of the form NAME: KEY"),
        ("example: 'Secret-1", "lines of the form NAME: KEY"),
        ("example: 12345", "the key 'example' is no text"),
        ("example: [Secret-1]", "the key 'example' is no text"),
        ('example: "Secret-1\\r\\nX-Other: 1"', "the key 'example' is no text in one line"),
    ],
)
def test_keys_in_another_form_are_refused_in_words_without_them(
    tmp_path: Path, text: str, complaint: str
) -> None:
    write(tmp_path, text)
    for given in (settings(tmp_path), settings(tmp_path, TWIN_EXTERNAL_KEYS=text)):
        with pytest.raises(ConfigError) as caught:
            read_external_keys(given)
        assert complaint in caught.value.message
        assert "Secret-1" not in f"{caught.value.message} {caught.value.hint}"


def test_who_is_elsewhere_and_whose_key_come_together(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (tmp_path / "external_experts.yaml").write_text(
        "external_experts: {oracle: {base_url: 'https://a.example/v1', model: m, key: example}}"
    )
    given = settings(tmp_path, TWIN_CATALOGUE_DIR=tmp_path)
    with pytest.raises(ConfigError, match="no key 'example' in .*external_keys.yaml; known: none"):
        external_experts(given)
    write(tmp_path, "example: Secret-1")
    (oracle,) = external_experts(given)
    assert oracle.api_key == "Secret-1"
    assert "leaves the house" in caplog.text and "Secret-1" not in caplog.text
