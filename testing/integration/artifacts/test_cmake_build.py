"""Building binaries with the real CMake and Ninja, keeping them, and taking them from a mirror."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from pipecatapp.artifacts.artifact_schema import CmakeArtifact
from pipecatapp.artifacts.artifact_store import ArtifactStore
from pipecatapp.artifacts.catalogue import Catalogue
from pipecatapp.artifacts.cmake_build import extract, leave_out
from pipecatapp.artifacts.manifest import check_starts
from pipecatapp.artifacts.mirror import publish
from pipecatapp.artifacts.model_store import ModelStore
from pipecatapp.artifacts.progress import TextProgress
from pipecatapp.errors import ArtifactError
from testing.integration.artifacts.entries import sha256, tarball
from testing.integration.artifacts.hub import Hub

pytestmark = pytest.mark.integration

PROJECT = {
    "pack-1.0/README": b"not needed",
    "pack-1.0/vendor/hello/CMakeLists.txt": b"""
cmake_minimum_required(VERSION 3.20)
project(hello CXX)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
add_library(greet SHARED greet.cpp)
set_target_properties(greet PROPERTIES VERSION 1.2.3 SOVERSION 1)
add_executable(hello hello.cpp)
target_link_libraries(hello greet)
""",
    "pack-1.0/vendor/hello/greet.cpp": b'const char* greet() { return "hello, " GREETED "\\n"; }\n',
    "pack-1.0/vendor/hello/hello.cpp": (
        b"#include <cstdio>\nconst char* greet();\nint main() { fputs(greet(), stdout); }\n"
    ),
}


def catalogue(source: bytes, url: str, *, greeted: str = "world") -> Catalogue:
    artifact = CmakeArtifact.model_validate(
        {
            "kind": "cmake",
            "name": "hello",
            "version": "1.0",
            "licence": "MIT",
            "url": "https://example.org/hello",
            "binaries": ["hello"],
            "memory_mb": 100,
            "source": {
                "filename": "pack-1.0.tar.gz",
                "sha256": sha256(source),
                "size_bytes": len(source),
                "url": url,
            },
            "build": {
                "source_dir": "pack-1.0/vendor/hello",
                "cmake_flags": [
                    f'-DCMAKE_CXX_FLAGS=-DGREETED=\\"{greeted}\\"',
                    "-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON",
                ],
                "targets": ["hello"],
                "disk_mb": 10,
            },
        }
    )
    return Catalogue(experts={}, artifacts={"hello": artifact})


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        yield server


def said_by(program: Path) -> str:
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout


def test_source_is_built_once_kept_whole_and_can_be_moved(tmp_path: Path, hub: Hub) -> None:
    source = tarball(PROJECT)
    things = catalogue(source, hub.serve("/pack.tar.gz", source))
    store = ArtifactStore(tmp_path / "artifacts", things)
    log = io.StringIO()

    assert store.ensure("hello", TextProgress(log, is_terminal=False))
    program = store.path("hello", "hello")
    assert said_by(program) == "hello, world\n"
    assert "hello 1.0: configuring" in log.getvalue()

    links = {path.name for path in program.parent.iterdir()}
    assert links == {"hello", "libgreet.so", "libgreet.so.1", "libgreet.so.1.2.3"}
    assert sorted(path.name for path in (tmp_path / "artifacts" / "hello").iterdir()) == [
        ".supply",
        store.folder("hello").name,
    ], "the source and the build are gone"

    hub.stop()
    assert not ArtifactStore(tmp_path / "artifacts", things).ensure("hello"), "it was built again"
    moved = (tmp_path / "artifacts").rename(tmp_path / "elsewhere")
    assert said_by(ArtifactStore(moved, things).path("hello", "hello")) == "hello, world\n"


def test_other_flags_are_another_build(tmp_path: Path, hub: Hub) -> None:
    source = tarball(PROJECT)
    url = hub.serve("/pack.tar.gz", source)
    ArtifactStore(tmp_path, catalogue(source, url)).ensure("hello")
    other = ArtifactStore(tmp_path, catalogue(source, url, greeted="moon"))
    assert not other.is_present("hello")
    other.ensure("hello")
    assert said_by(other.path("hello", "hello")) == "hello, moon\n"
    assert said_by(ArtifactStore(tmp_path, catalogue(source, url)).path("hello", "hello")) == "hello, world\n"


@pytest.mark.parametrize(
    ("file", "beginning", "fault"),
    [
        ("CMakeLists.txt", "add_library(greet", ""),
        ("CMakeLists.txt", "set(CMAKE_", "2 lines that begin with 'set\\(CMAKE_'"),
        ("CMakeLists.txt", "add_library(part", "0 lines"),
        ("greet.cmake", "add_library(greet", "no greet.cmake"),
    ],
)
def test_a_line_that_is_left_out_is_gone_or_refused_when_it_is_not_one(
    tmp_path: Path, file: str, beginning: str, fault: str
) -> None:
    path = tmp_path / "CMakeLists.txt"
    text = PROJECT["pack-1.0/vendor/hello/CMakeLists.txt"].decode()
    path.write_text("  " + text.lstrip(), encoding="utf-8")
    if fault:
        with pytest.raises(ArtifactError, match=fault):
            leave_out(tmp_path / file, [beginning])
    else:
        leave_out(tmp_path / file, [beginning])
        left = path.read_text(encoding="utf-8").splitlines()
        assert len(left) == len(text.lstrip().splitlines()) - 1
        assert not [line for line in left if line.startswith(beginning)]


def test_what_is_left_out_is_left_out_of_the_build_and_makes_another_key(tmp_path: Path, hub: Hub) -> None:
    more = {
        "pack-1.0/vendor/hello/CMakeLists.txt": PROJECT["pack-1.0/vendor/hello/CMakeLists.txt"] + b"oops()\n"
    }
    source = tarball({**PROJECT, **more})
    url = hub.serve("/pack.tar.gz", source)
    whole = catalogue(source, url)
    recipe = whole.artifacts["hello"]
    assert isinstance(recipe, CmakeArtifact)
    build = recipe.build.model_copy(update={"left_out": {"CMakeLists.txt": ("oops",)}})
    things = Catalogue(experts={}, artifacts={"hello": recipe.model_copy(update={"build": build})})
    store = ArtifactStore(tmp_path, things)

    store.ensure("hello")

    assert said_by(store.path("hello", "hello")) == "hello, world\n"
    assert store.folder("hello") != ArtifactStore(tmp_path, whole).folder("hello")


def test_failed_build_shows_the_error_and_goes_on_when_it_is_mended(tmp_path: Path, hub: Hub) -> None:
    source = tarball({**PROJECT, "pack-1.0/vendor/hello/hello.cpp": b"int main() { return oops; }\n"})
    store = ArtifactStore(tmp_path, catalogue(source, hub.serve("/pack.tar.gz", source)))
    with pytest.raises(ArtifactError) as caught:
        store.ensure("hello")
    assert caught.value.code == "build-failed"
    assert "oops" in caught.value.message
    log = Path(caught.value.hint.removeprefix("The whole log is ").removesuffix("."))
    assert "oops" in log.read_text()
    assert not store.is_present("hello")

    (log.parent / "source" / "hello.cpp").write_bytes(PROJECT["pack-1.0/vendor/hello/hello.cpp"])
    assert store.ensure("hello")
    assert log.parent.exists() is False
    assert [path for path, _ in hub.requests] == ["/pack.tar.gz"], "the source was fetched again"


def test_a_program_that_dies_of_a_cpu_library_is_kept_for_its_trial(tmp_path: Path) -> None:
    artifact = catalogue(b"source", "https://example.org/pack").artifact("hello")
    program = tmp_path / "hello"
    for script, is_kept in (("kill -ILL $$", True), ("kill -SEGV $$", False), ("exit 3", False)):
        program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        program.chmod(0o755)
        with nullcontext() if is_kept else pytest.raises(ArtifactError, match="does not start here: "):
            check_starts(program, artifact)


def test_source_with_a_wrong_hash_is_never_built(tmp_path: Path, hub: Hub) -> None:
    source = tarball(PROJECT)
    other = bytearray(source)
    other[-1] ^= 1
    store = ArtifactStore(tmp_path, catalogue(source, hub.serve("/pack.tar.gz", bytes(other))))
    with pytest.raises(ArtifactError, match="sha256 is"):
        store.ensure("hello")
    assert not list(tmp_path.rglob("CMakeLists.txt"))


def test_missing_tools_are_named_with_the_command_that_installs_them(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tarball(PROJECT)
    store = ArtifactStore(tmp_path, catalogue(source, hub.serve("/pack.tar.gz", source)))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ArtifactError, match="building needs CMake, Ninja") as caught:
        store.ensure("hello")
    assert caught.value.hint == "Install with: apt-get install cmake ninja-build gcc g++"


def test_second_machine_takes_the_build_from_the_mirror_without_any_tool(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tarball(PROJECT)
    things = catalogue(source, hub.serve("/pack.tar.gz", source))
    first = ArtifactStore(tmp_path / "first", things)
    first.ensure("hello")
    folder = tmp_path / "mirror"
    assert publish(folder, things, ModelStore(tmp_path / "models", things), first) == 3
    assert publish(folder, things, ModelStore(tmp_path / "models", things), first) == 0
    for path in folder.rglob("*"):
        if path.is_file():
            hub.serve(f"/{path.relative_to(folder)}", path.read_bytes())
    monkeypatch.setenv("PATH", str(tmp_path))

    second = ArtifactStore(tmp_path / "second", things, mirror_url=hub.url)
    assert second.ensure("hello")
    assert said_by(second.path("hello", "hello")) == "hello, world\n"
    assert second.problems("hello") == []


def test_mirror_with_a_damaged_program_is_not_believed(tmp_path: Path, hub: Hub) -> None:
    source = tarball(PROJECT)
    things = catalogue(source, hub.serve("/pack.tar.gz", source))
    first = ArtifactStore(tmp_path / "first", things)
    first.ensure("hello")
    publish(tmp_path / "mirror", things, ModelStore(tmp_path / "models", things), first)
    for path in (tmp_path / "mirror").rglob("*"):
        if path.is_file():
            body = path.read_bytes()
            is_manifest = path.suffix == ".json"
            hub.serve(f"/{path.relative_to(tmp_path / 'mirror')}", body if is_manifest else body[:-1] + b"?")
    log = io.StringIO()
    second = ArtifactStore(tmp_path / "second", things, mirror_url=hub.url)
    assert second.ensure("hello", TextProgress(log, is_terminal=False))
    assert "sha256 is" in log.getvalue()
    assert "configuring" in log.getvalue(), "it was not built here"
    assert said_by(second.path("hello", "hello")) == "hello, world\n"


def test_damaged_program_is_found_by_verify(tmp_path: Path, hub: Hub) -> None:
    source = tarball(PROJECT)
    store = ArtifactStore(tmp_path, catalogue(source, hub.serve("/pack.tar.gz", source)))
    store.ensure("hello")
    program = store.path("hello", "hello")
    body = program.read_bytes()
    program.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    assert store.problems("hello") == ["hello is damaged"]


def test_unknown_program_lists_the_known_ones(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path, catalogue(b"x", "http://127.0.0.1:9/x"))
    with pytest.raises(ArtifactError, match="has no program 'bye'; it has: hello"):
        store.path("hello", "bye")
    with pytest.raises(ArtifactError, match="not on this machine") as caught:
        store.path("hello")
    assert caught.value.hint == "Fetch or build it with: twin artifacts fetch hello"


@pytest.mark.parametrize("name", ["p/../../evil", "p/a/../../../evil"])
def test_archive_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(tarball({name: b"x"}))
    with pytest.raises(ArtifactError, match="leads outside"):
        extract(archive, "p", _made(tmp_path / "target"))
    assert not (tmp_path / "evil").exists()


def test_archive_that_writes_through_a_link_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tarball_:
        link = tarfile.TarInfo("p/out")
        link.type, link.linkname = tarfile.SYMTYPE, "../.."
        tarball_.addfile(link)
        member = tarfile.TarInfo("p/out/evil")
        member.size = 1
        tarball_.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(ArtifactError, match="leads outside"):
        extract(archive, "p", _made(tmp_path / "deep" / "target"))
    assert not list(tmp_path.rglob("evil"))


def test_archive_without_the_project_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(tarball({"other/file": b"x"}))
    with pytest.raises(ArtifactError, match="has nothing below p"):
        extract(archive, "p", _made(tmp_path / "target"))


def _made(path: Path) -> Path:
    path.mkdir(parents=True)
    return path
