"""What the catalogue of binaries accepts, its versions, and what its keys depend on."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipecatapp.artifacts.artifact_schema import AnyArtifact, ArchiveArtifact, GoArtifact
from pipecatapp.artifacts.catalogue import Catalogue, load_catalogue
from pipecatapp.artifacts.debian import archive_of
from pipecatapp.artifacts.go_build import read_pins, wanted_version
from pipecatapp.artifacts.go_tool import is_at_least
from pipecatapp.artifacts.manifest import artifact_key
from pipecatapp.errors import ConfigError

pytestmark = pytest.mark.unit

SHIPPED = Path(__file__).resolve().parents[3] / "group_vars"
GO = {
    "name": "nomad",
    "kind": "go-module",
    "version": "1.0.0",
    "licence": "MIT",
    "url": "https://example.org",
    "binaries": ["nomad"],
    "check": ["version"],
    "prints": "Nomad v{version}",
    "memory_mb": 100,
    "go": {"module": "go-modules/n", "sha256": "a" * 64, "package": "example.org/n", "disk_mb": 1},
}


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load_catalogue(SHIPPED)


def load(folder: Path, *artifacts: dict[str, object]) -> Catalogue:
    (folder / "models.yaml").write_text("main_models: []\n")
    (folder / "artifacts.yaml").write_text(yaml.safe_dump({"artifacts": list(artifacts)}, sort_keys=False))
    return load_catalogue(folder)


def problem(folder: Path, *artifacts: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, *artifacts)
    return caught.value.message


def go_programs(catalogue: Catalogue) -> list[GoArtifact]:
    return [found for found in catalogue.artifacts.values() if isinstance(found, GoArtifact)]


def test_name_alone_means_the_first_version_and_others_are_named(shipped: Catalogue) -> None:
    assert shipped.artifact("nomad") is shipped.artifact(f"nomad@{shipped.artifact('nomad').version}")
    others = [name for name in shipped.artifacts if name.startswith("nomad@")]
    assert others
    assert shipped.artifact(others[0]).version != shipped.artifact("nomad").version
    with pytest.raises(ConfigError, match=r"unknown artefact 'nomad@0.1'; known: .*nomad@"):
        shipped.artifact("nomad@0.1")


def test_shipped_modules_are_what_the_catalogue_says(shipped: Catalogue) -> None:
    assert go_programs(shipped)
    for program in go_programs(shipped):
        text, found = read_pins(SHIPPED / program.go.module)
        assert found == program.go.sha256, f"{program.label}: go.mod and go.sum have the sha256 {found}"
        assert f"{program.go.package} v{program.version}" in text
        assert f"tool {program.go.package}" in text


def test_shipped_toolchain_can_build_every_shipped_program(shipped: Catalogue) -> None:
    assert shipped.go_toolchain is not None
    for program in go_programs(shipped):
        wanted = wanted_version(read_pins(SHIPPED / program.go.module)[0])
        assert is_at_least(shipped.go_toolchain.version, wanted)


def test_one_version_listed_twice_is_refused(tmp_path: Path) -> None:
    assert problem(tmp_path, GO, GO).endswith("artifacts[1]: nomad 1.0.0 is listed twice")
    other = GO | {"version": "0.9.0"}
    assert "nomad 0.9.0 is listed twice" in problem(tmp_path, GO, other, other)


def test_older_version_must_be_listed(tmp_path: Path) -> None:
    assert "artifacts[0].older: there is no version '0.1'" in problem(tmp_path, GO | {"older": "0.1"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "rust"}, "artifacts[0]: unknown kind; valid: cmake, go-module, archive"),
        ({"kind": None}, "valid: cmake, go-module, archive"),
        ({"prints": ""}, "needs prints"),
        ({"binaries": ["a", "b"]}, "makes one program"),
        ({"tags": ["x"]}, "artifacts[0].tags: unknown key; valid: name, version"),
        ({"go": {**GO["go"], "modul": "x"}}, "artifacts[0].go.modul: unknown key; valid: module, sha256"),  # type: ignore[dict-item]
        ({"go": {**GO["go"], "module": "../x"}}, "without '..'"),  # type: ignore[dict-item]
        ({"go": {**GO["go"], "package": "-x"}}, "artifacts[0].go.package"),  # type: ignore[dict-item]
        ({"releases": [{"machine": "x86_64", "url": "https://x"}]}, "artifacts[0].releases[0].sha256"),
        ({"releases": [{"machine": "i386", "url": "https://x", "sha256": "a" * 64}]}, "machine"),
    ],
)
def test_mistake_names_the_key_and_what_is_valid(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    assert said in problem(tmp_path, {k: v for k, v in (GO | changes).items() if v is not None})


def test_archive_must_say_where_each_program_is(tmp_path: Path) -> None:
    source = {"filename": "c.deb", "sha256": "a" * 64, "size_bytes": 1, "url": "https://x/c.deb"}
    entry = {k: v for k, v in GO.items() if k not in {"go", "memory_mb"}}
    entry |= {"kind": "archive", "machine": "x86_64", "source": source, "members": {"other": "usr/bin/other"}}
    assert "members must name each of binaries" in problem(tmp_path, entry)
    loaded = load(tmp_path, entry | {"members": {"nomad": "usr/bin/nomad"}})
    assert isinstance(loaded.artifact("nomad"), ArchiveArtifact)


def test_key_changes_with_what_is_built_and_not_with_where_it_comes_from() -> None:
    def key(**changes: object) -> str:
        return artifact_key(GoArtifact.model_validate(GO | changes), "x86_64")

    go = GO["go"]
    assert isinstance(go, dict)
    other: AnyArtifact = GoArtifact.model_validate(GO)
    keys = {
        key(),
        key(version="1.0.1"),
        key(go={**go, "sha256": "b" * 64}),
        key(go={**go, "tags": ["ui"]}),
        artifact_key(other, "aarch64"),
    }
    assert len(keys) == 5
    release = {"machine": "x86_64", "url": "https://x/y.zip", "sha256": "c" * 64}
    assert key(releases=[release], memory_mb=7) == key()


@pytest.mark.parametrize(
    ("name", "text", "archive"),
    [
        ("sources.list", "deb http://mirror/debian bookworm main\n", "http://mirror/debian"),
        ("sources.list", "deb [signed-by=/k.gpg] https://m/debian/ sid main\n", "https://m/debian"),
        (
            "sources.list.d/d.sources",
            "Types: deb\nURIs: http://m/debian\nSuites: trixie\n",
            "http://m/debian",
        ),
        ("sources.list.d/d.sources", "Types: deb\nURIs: http://m/other\nSuites: trixie\n", ""),
    ],
)
def test_debian_mirror_is_the_one_that_apt_uses(tmp_path: Path, name: str, text: str, archive: str) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / name).write_text(text)
    assert archive_of(tmp_path) == archive
