"""Coming by a Go program: on PATH, from a mirror, from its vendor, and built with the real Go."""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipecatapp.artifacts.artifact_schema import GoToolchain
from pipecatapp.artifacts.artifact_store import ArtifactStore
from pipecatapp.artifacts.catalogue import Catalogue
from pipecatapp.artifacts.commands import run_logged
from pipecatapp.artifacts.go_tool import GoFinder, is_at_least
from pipecatapp.artifacts.mirror import publish as lay_out
from pipecatapp.artifacts.model_store import ModelStore
from pipecatapp.artifacts.progress import SilentProgress, TextProgress
from pipecatapp.errors import ArtifactError
from testing.integration.artifacts.entries import sha256
from testing.integration.artifacts.go_modules import FILES, catalogue, our_sum, publish
from testing.integration.artifacts.hub import Hub

pytestmark = pytest.mark.integration

HELLO = "#!/bin/sh\n[ \"$1\" = version ] && echo 'Hello v1.2.0' && echo {tone}\n"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        yield server


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Go's cache of compiled packages, so that its own library is compiled once."""
    return tmp_path_factory.mktemp("go-build")


@pytest.fixture
def sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: Path) -> Path:
    """A PATH that has no more than a build needs, without Go; returns its folder."""
    folder = tmp_path / "path"
    folder.mkdir()
    for name in ("env", "nice", "sh"):
        (folder / name).symlink_to(shutil.which(name) or "")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "mod"))
    monkeypatch.setenv("GOCACHE", str(compiled))
    monkeypatch.setenv("GOFLAGS", "-modcacherw")
    monkeypatch.setenv("GONOSUMDB", "*")
    return folder


@pytest.fixture
def go(sealed: Path) -> Path:
    """The same with the real Go."""
    assert REAL_GO, "there is no go; run the tests by scripts/test, which brings it"
    (sealed / "go").symlink_to(REAL_GO)
    return sealed


REAL_GO = shutil.which("go") or ""


def program(folder: Path, text: str, name: str = "hello") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def zipped(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def said_by(path: Path) -> list[str]:
    return subprocess.run([path, "version"], capture_output=True, text=True, check=True).stdout.split("\n")[
        :2
    ]


def origin_of(store: ArtifactStore) -> str:
    manifest = store.manifest("hello")
    assert manifest is not None
    return manifest.origin


def release(hub: Hub, body: bytes, digest: str = "") -> list[dict[str, str]]:
    url = hub.serve("/hello_1.2.0_linux_amd64.zip", body)
    return [{"machine": platform.machine(), "url": url, "sha256": digest or sha256(body)}]


def mirrored(folder: Path, things: Catalogue, store: ArtifactStore, hub: Hub) -> None:
    """Serve what `store` has."""
    lay_out(folder, things, ModelStore(folder / "models", things), store)
    for path in folder.rglob("*"):
        if path.is_file():
            hub.serve(f"/{path.relative_to(folder)}", path.read_bytes())


def test_program_is_built_from_its_published_module(
    tmp_path: Path, hub: Hub, go: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOPROXY", publish(hub))
    things = catalogue(tmp_path, tags=["loud"])
    before = sorted(path.read_bytes() for path in (tmp_path / "go-modules").rglob("go.*"))
    store = ArtifactStore(tmp_path / "artifacts", things)
    log = io.StringIO()

    assert store.ensure("hello", TextProgress(log, is_terminal=False))
    assert said_by(store.path("hello", "hello")) == ["Hello v1.2.0", "loud"]
    assert origin_of(store).startswith("built from its Go module with Go 1.")
    assert "hello 1.2.0: building with Go 1." in log.getvalue()
    assert before == sorted(path.read_bytes() for path in (tmp_path / "go-modules").rglob("go.*"))
    assert sorted(path.name for path in (tmp_path / "artifacts" / "hello").iterdir()) == [
        ".supply",
        store.folder("hello").name,
    ], "the build is still there"

    hub.stop()
    assert not ArtifactStore(tmp_path / "artifacts", things).ensure("hello"), "it was built again"


def test_module_with_another_hash_is_never_built(
    tmp_path: Path, hub: Hub, go: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = {**FILES, "quiet.go": FILES["quiet.go"].replace('quiet"', 'evil"')}
    monkeypatch.setenv("GOPROXY", publish(hub, changed))
    store = ArtifactStore(tmp_path / "artifacts", catalogue(tmp_path, go_sum=our_sum()))
    with pytest.raises(ArtifactError, match="checksum mismatch"):
        store.ensure("hello")
    assert not store.is_present("hello")


def test_pins_that_are_not_the_catalogues_are_refused(tmp_path: Path, go: Path) -> None:
    store = ArtifactStore(tmp_path / "artifacts", catalogue(tmp_path, sha256="a" * 64))
    with pytest.raises(ArtifactError, match="the catalogue says aaaa") as caught:
        store.ensure("hello")
    assert "correct artifacts.yaml" in caught.value.hint


def test_failed_build_tells_what_go_said_and_is_taken_up_again(
    tmp_path: Path, hub: Hub, go: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOPROXY", publish(hub))
    hub.pages["/proxy/example.org/hello/@v/v1.2.0.zip"].status = 503
    store = ArtifactStore(tmp_path / "artifacts", catalogue(tmp_path))
    with pytest.raises(ArtifactError, match="503") as caught:
        store.ensure("hello")
    assert "a program on PATH: there is no hello" in caught.value.message
    assert "build.log" in caught.value.hint

    publish(hub)
    assert store.ensure("hello")


def test_full_disk_is_said_before_anything_is_fetched(tmp_path: Path, hub: Hub, go: Path) -> None:
    store = ArtifactStore(tmp_path / "artifacts", catalogue(tmp_path, disk_mb=10**9))
    with pytest.raises(ArtifactError, match="building hello 1.2.0 needs") as caught:
        store.ensure("hello")
    assert caught.value.code == "disk-full"
    assert hub.requests == []


def test_program_on_path_is_taken_without_any_network(tmp_path: Path, sealed: Path, hub: Hub) -> None:
    installed = program(sealed, HELLO.format(tone="installed"))
    store = ArtifactStore(tmp_path / "artifacts", catalogue(tmp_path), mirror_url=hub.url)
    assert store.ensure("hello")
    installed.unlink()
    assert said_by(store.path("hello", "hello")) == ["Hello v1.2.0", "installed"], "it was not copied"
    assert origin_of(store) == f"{sealed}/hello on PATH"
    assert hub.requests == []


@pytest.mark.parametrize("said", ["Hello v1.2.1", "Hello v1.2.0-dev", "Goodbye v1.2.0"])
def test_program_on_path_of_another_version_is_passed_over(
    tmp_path: Path, sealed: Path, hub: Hub, said: str
) -> None:
    program(sealed, f"#!/bin/sh\necho '{said}'\n")
    things = catalogue(tmp_path, releases=release(hub, zipped({"hello": HELLO.format(tone="vendor")})))
    store = ArtifactStore(tmp_path / "artifacts", things)
    log = io.StringIO()
    assert store.ensure("hello", TextProgress(log, is_terminal=False))
    assert said_by(store.path("hello", "hello")) == ["Hello v1.2.0", "vendor"]
    assert f"it says '{said}', wanted is 'Hello v1.2.0'" in log.getvalue()


def test_our_own_link_on_path_is_no_source(tmp_path: Path, sealed: Path, hub: Hub) -> None:
    things = catalogue(tmp_path, releases=release(hub, zipped({"hello": HELLO.format(tone="vendor")})))
    store = ArtifactStore(tmp_path / "artifacts", things)
    ours = program(tmp_path / "artifacts/hello/older/bin", HELLO.format(tone="ours"))
    (sealed / "hello").symlink_to(ours)
    assert store.ensure("hello")
    assert said_by(store.path("hello", "hello")) == ["Hello v1.2.0", "vendor"]


def test_vendors_archive_is_checked_and_unpacked(tmp_path: Path, sealed: Path, hub: Hub) -> None:
    body = zipped({"LICENSE.txt": "x", "hello": HELLO.format(tone="vendor")})
    store = ArtifactStore(tmp_path / "artifacts", catalogue(tmp_path, releases=release(hub, body)))
    assert store.ensure("hello")
    assert said_by(store.path("hello", "hello")) == ["Hello v1.2.0", "vendor"]
    assert origin_of(store) == f"{hub.url}/hello_1.2.0_linux_amd64.zip"
    assert store.problems("hello") == []
    assert [path.name for path in store.path("hello").iterdir()] == ["hello"]


def test_every_way_that_failed_is_listed_with_its_reason(
    tmp_path: Path, go: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(go, "#!/bin/sh\necho 'Hello v1.0.0'\n")
    monkeypatch.setenv("GOPROXY", f"{hub.url}/nothing")
    body = zipped({"hello": HELLO.format(tone="vendor")})
    things = catalogue(tmp_path, releases=release(hub, body, "b" * 64), older="0.9")
    store = ArtifactStore(tmp_path / "artifacts", things, mirror_url=hub.url)
    with pytest.raises(ArtifactError) as caught:
        store.ensure("hello")
    lines = caught.value.message.splitlines()
    assert lines[0] == "hello 1.2.0 cannot be had. Tried:"
    assert "it says 'Hello v1.0.0'" in lines[1]
    assert "HTTP 404" in lines[2]
    assert "mirror" in lines[2]
    assert "sha256 is" in lines[3]
    assert "built from its Go module" in lines[4]
    assert caught.value.hint.endswith("An older version: twin artifacts fetch hello@0.9")
    assert not list((tmp_path / "artifacts").rglob("bin/hello"))


def test_second_machine_takes_it_from_the_mirror_whatever_the_first_took(
    tmp_path: Path, sealed: Path, hub: Hub
) -> None:
    installed = program(sealed, HELLO.format(tone="installed"))
    things = catalogue(tmp_path)
    first = ArtifactStore(tmp_path / "first", things)
    first.ensure("hello")
    installed.unlink()
    mirrored(tmp_path / "mirror", things, first, hub)

    second = ArtifactStore(tmp_path / "second", things, mirror_url=hub.url)
    assert second.ensure("hello")
    assert said_by(second.path("hello", "hello")) == ["Hello v1.2.0", "installed"]
    assert origin_of(second).startswith(f"mirror {hub.url}/artifacts/hello/")


def test_mirror_whose_programs_are_not_the_expected_ones_is_not_believed(
    tmp_path: Path, sealed: Path, hub: Hub
) -> None:
    ran = tmp_path / "ran"
    evil = program(sealed, HELLO.format(tone="evil") + f": >{ran}\n")
    things = catalogue(tmp_path, releases=release(hub, zipped({"hello": HELLO.format(tone="vendor")})))
    first = ArtifactStore(tmp_path / "first", things)
    first.ensure("hello")
    mirrored(tmp_path / "mirror", things, first, hub)
    for path in (evil, ran):
        path.unlink()

    second = ArtifactStore(tmp_path / "second", things, mirror_url=hub.url, mirror_digest="a" * 64)
    assert second.ensure("hello")
    assert said_by(second.path("hello", "hello")) == ["Hello v1.2.0", "vendor"]
    assert not ran.exists(), "it was run before it was checked"
    third = ArtifactStore(tmp_path / "third", things, mirror_url=hub.url, mirror_digest=first.digest("hello"))
    assert third.ensure("hello")
    assert third.digest("hello") == first.digest("hello")


def test_mirror_with_a_damaged_program_is_passed_over(tmp_path: Path, sealed: Path, hub: Hub) -> None:
    installed = program(sealed, HELLO.format(tone="installed"))
    things = catalogue(tmp_path, releases=release(hub, zipped({"hello": HELLO.format(tone="vendor")})))
    first = ArtifactStore(tmp_path / "first", things)
    first.ensure("hello")
    installed.unlink()
    mirrored(tmp_path / "mirror", things, first, hub)
    for path, page in hub.pages.items():
        if not path.endswith((".json", ".zip")):
            page.body = page.body[:-1] + b"?"
    second = ArtifactStore(tmp_path / "second", things, mirror_url=hub.url)
    assert second.ensure("hello")
    assert said_by(second.path("hello", "hello")) == ["Hello v1.2.0", "vendor"]


def test_damaged_program_is_found_by_verify(tmp_path: Path, sealed: Path) -> None:
    program(sealed, HELLO.format(tone="installed"))
    store = ArtifactStore(tmp_path / "artifacts", catalogue(tmp_path))
    store.ensure("hello")
    body = store.path("hello", "hello").read_bytes()
    store.path("hello", "hello").write_bytes(body[:-1] + b"?")
    assert store.problems("hello") == ["hello is damaged"]


FAKE_GO = """#!/bin/sh
case "$*" in
  "env GOVERSION") echo go{version} ;;
  *-changed*) echo '{{}}' ;;
  *) echo '{{"GOMODCACHE": "/nonexistent/mod", "GOCACHE": "/nonexistent/build"}}' ;;
esac
"""


def toolchain(hub: Hub, version: str) -> GoToolchain:
    body = zipped({"go/bin/go": FAKE_GO.format(version=version), "go/VERSION": version, "other": "x"})
    source = {"filename": "go.whl", "sha256": sha256(body), "size_bytes": len(body)}
    return GoToolchain.model_validate(
        {
            "version": version,
            "machine": platform.machine(),
            "disk_mb": 1,
            "source": source | {"url": hub.serve("/go.whl", body)},
        }
    )


@pytest.mark.parametrize("here", ["", "1.24.4"])
def test_go_is_unpacked_once_where_none_is_new_enough(
    tmp_path: Path, sealed: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, here: str
) -> None:
    monkeypatch.delenv("GOMODCACHE")
    monkeypatch.delenv("GOCACHE")
    if here:
        program(sealed, FAKE_GO.format(version=here), "go")
    log = io.StringIO()
    finder = GoFinder(
        tmp_path / "go", toolchain(hub, "1.26.6"), TextProgress(log, is_terminal=False), places=()
    )
    tool = finder.find("1.25.8")
    assert (tool.version, tool.is_own_cache) == ("1.26.6", True)
    assert tool.module_cache == tmp_path / "go" / "mod"
    assert ("is 1.24.4" if here else "there is no go on PATH") in log.getvalue()
    hub.stop()
    assert finder.find("1.25.8") == tool, "it was unpacked again"


def test_go_that_is_new_enough_is_used_with_its_own_caches(tmp_path: Path, sealed: Path, hub: Hub) -> None:
    program(sealed, FAKE_GO.format(version="1.26.0"), "go")
    tool = GoFinder(tmp_path / "go", toolchain(hub, "1.27.0"), SilentProgress(), places=()).find("1.25.8")
    assert tool.version == "1.26.0"
    assert hub.requests == []


def test_without_any_go_the_error_says_which_is_needed(tmp_path: Path, sealed: Path) -> None:
    program(sealed, FAKE_GO.format(version="1.19"), "go")
    with pytest.raises(ArtifactError, match=r"needs Go 1.25.8 or newer: .*/go is 1.19") as caught:
        GoFinder(tmp_path / "go", None, SilentProgress(), places=()).find("1.25.8")
    assert "newer `go` on PATH" in caught.value.hint


def test_versions_compare_by_number() -> None:
    assert is_at_least("1.26", "1.9.3")
    assert not is_at_least("1.25.7", "1.25.8")


def test_program_that_is_stopped_may_clean_up_and_is_gone(tmp_path: Path) -> None:
    script = 'trap "echo cleaned >&2; touch gone; exit 3" INT; echo ready; while :; do sleep 0.05; done'

    def interrupt(line: str) -> None:
        if line == "ready":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_logged(["sh", "-c", script], tmp_path / "log", "it", on_line=interrupt, cwd=tmp_path)
    assert (tmp_path / "gone").exists()


def test_program_that_falls_silent_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="sleep said nothing for"):
        run_logged(["sleep", "600"], tmp_path / "log", "it", silence_s=0.1)


def test_interrupted_build_leaves_nothing_running_and_goes_on_later(
    tmp_path: Path, hub: Hub, go: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = publish(hub)
    things = catalogue(tmp_path)
    artifact = things.artifact("hello").model_dump(mode="json")
    (tmp_path / "artifacts.yaml").write_text(json.dumps({"artifacts": [artifact]}))
    (tmp_path / "models.yaml").write_text("main_models: []\n")
    interrupter: list[subprocess.Popen[bytes]] = []

    def interrupt(sent: int) -> None:
        if interrupter:
            interrupter.pop().send_signal(signal.SIGINT)

    hub.pages["/proxy/example.org/hello/@v/v1.2.0.zip"].before_block = interrupt
    hub.pages["/proxy/example.org/hello/@v/v1.2.0.zip"].cuts = [10] * 5
    environment = {
        **os.environ,
        "GOPROXY": proxy,
        "TWIN_CATALOGUE_DIR": str(tmp_path),
        "TWIN_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
    }
    command = [sys.executable, "-m", "pipecatapp", "artifacts", "fetch", "hello", "--json"]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    interrupter.append(child)
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 130, errors.decode()
    assert not list((tmp_path / "cache").rglob("bin/hello"))

    publish(hub)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["fetched"] == ["hello"]
    assert said_by(Path(told["paths"]["hello"]) / "hello") == ["Hello v1.2.0", "quiet"]
