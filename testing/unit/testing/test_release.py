"""What scripts/release.py makes of a folder of changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from testing.ansible_code import ROOT, load_file

pytestmark = pytest.mark.unit

release = load_file("twin_release", ROOT / "scripts/release.py")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in release.PLACES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\nWords.\n\n## 0.1.0\n\nFirst.\n", encoding="utf-8")
    changes = tmp_path / "docs/changes"
    changes.mkdir(parents=True)
    (changes / "README.md").write_text("# How\n", encoding="utf-8")
    (changes / "fixed-ears.txt").write_text("It hears.\n", encoding="utf-8")
    (changes / "added-eyes.txt").write_text("It sees,\nand says so.\n", encoding="utf-8")
    return tmp_path


def test_changes_become_a_version_and_the_number_is_the_same_everywhere(checkout: Path) -> None:
    release.release(checkout, "0.2.0", "2027-01-02")

    assert (checkout / "CHANGELOG.md").read_text(encoding="utf-8") == (
        "# Changelog\n\nWords.\n\n## 0.2.0, 2027-01-02\n\n"
        "### Added\n\n- It sees,\n  and says so.\n\n### Fixed\n\n- It hears.\n\n## 0.1.0\n\nFirst.\n"
    )
    assert [path.name for path in (checkout / "docs/changes").iterdir()] == ["README.md"]
    assert release.versions(checkout) == dict.fromkeys(release.PLACES, {"0.2.0"})


def test_nothing_but_our_own_version_is_changed(checkout: Path) -> None:
    before = {name: (checkout / name).read_text(encoding="utf-8") for name in release.PLACES}
    [old] = release.versions(checkout)["pyproject.toml"]
    release.release(checkout, "7.8.9", "2027-01-02")
    for name, text in before.items():
        after = (checkout / name).read_text(encoding="utf-8")
        assert after.replace('"7.8.9"', f'"{old}"') == text


@pytest.mark.parametrize("version", ["0.2", "v0.2.0", "0.2.0-rc1", ""])
def test_a_number_that_is_none_is_refused(checkout: Path, version: str) -> None:
    with pytest.raises(release.ReleaseError, match="is no version"):
        release.release(checkout, version, "2027-01-02")


def test_a_version_is_made_once_and_of_something(checkout: Path) -> None:
    with pytest.raises(release.ReleaseError, match=r"has 0\.1\.0 already"):
        release.release(checkout, "0.1.0", "2027-01-02")
    release.release(checkout, "0.2.0", "2027-01-02")
    with pytest.raises(release.ReleaseError, match="nothing in docs/changes"):
        release.release(checkout, "0.3.0", "2027-01-02")


@pytest.mark.parametrize("name", ["eyes.txt", "new-eyes.txt", "added-Eyes.txt", "added-eyes.md"])
def test_a_change_is_named_by_its_kind(checkout: Path, name: str) -> None:
    (checkout / "docs/changes" / name).write_text("It sees.\n", encoding="utf-8")
    with pytest.raises(release.ReleaseError, match=r"KIND-NAME\.txt, KIND one of added, changed"):
        release.release(checkout, "0.2.0", "2027-01-02")


def test_an_empty_change_is_refused(checkout: Path) -> None:
    (checkout / "docs/changes/added-air.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(release.ReleaseError, match=r"added-air\.txt says nothing"):
        release.release(checkout, "0.2.0", "2027-01-02")
