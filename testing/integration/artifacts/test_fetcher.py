"""Files over a real connection: cut, wrong, twice at once, and with nobody there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipecatapp.artifacts.fetcher import Fetcher, FetchError
from pipecatapp.artifacts.progress import TextProgress
from pipecatapp.errors import ArtifactError
from testing.integration.artifacts.entries import entry, payload, sha256
from testing.integration.artifacts.hub import Hub

pytestmark = pytest.mark.integration

BODY = payload(1_000_000)
REPO = Path(__file__).resolve().parents[3]
DEAD = "http://127.0.0.1:9"
"""The discard port: nobody listens there."""
CHILD = """
import resource, sys
from pathlib import Path
from pipecatapp.errors import ArtifactError
from pipecatapp.artifacts.fetcher import Fetcher
from pipecatapp.artifacts.model_schema import FileEntry
limit = int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with Fetcher(Path(sys.argv[1])) as fetcher:
        print("changed" if fetcher.ensure(FileEntry.model_validate_json(sys.argv[2])) else "unchanged")
except ArtifactError as exc:
    print(exc.code, exc.message)
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        yield server


def child(root: Path, file_json: str, limit_bytes: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(root), file_json, str(limit_bytes)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPO,
    )


def partials(root: Path) -> list[Path]:
    return list((root / ".supply" / "partial").glob("*"))


def test_cut_connection_is_resumed_where_it_ended(tmp_path: Path, hub: Hub) -> None:
    file = entry(BODY, url=hub.serve("/model.bin", BODY, cuts=[300_000, 200_000]))
    with Fetcher(tmp_path) as fetcher:
        assert fetcher.ensure(file)
    assert (tmp_path / "model.bin").read_bytes() == BODY
    assert [asked for _, asked in hub.requests] == ["", "bytes=300000-", "bytes=500000-"]
    assert partials(tmp_path) == []


def test_next_run_goes_on_with_what_the_last_one_left(tmp_path: Path, hub: Hub) -> None:
    address = hub.serve("/model.bin", BODY, cuts=[400_000, 0])
    with Fetcher(tmp_path) as fetcher, pytest.raises(FetchError, match="at 400000 of 1000000 bytes"):
        fetcher.ensure(entry(BODY, url=address))
    hub.requests.clear()
    with Fetcher(tmp_path) as fetcher:
        assert fetcher.ensure(entry(BODY, url=address))
    assert hub.requests == [("/model.bin", "bytes=400000-")]
    assert (tmp_path / "model.bin").read_bytes() == BODY


def test_server_without_ranges_is_read_from_the_start(tmp_path: Path, hub: Hub) -> None:
    file = entry(BODY, url=hub.serve("/model.bin", BODY, cuts=[300_000], has_range=False))
    with Fetcher(tmp_path) as fetcher:
        assert fetcher.ensure(file)
    assert (tmp_path / "model.bin").read_bytes() == BODY


def test_wrong_bytes_of_an_earlier_run_are_thrown_away(tmp_path: Path, hub: Hub) -> None:
    file = entry(BODY, url=hub.serve("/model.bin", BODY))
    part = tmp_path / ".supply" / "partial" / f"{file.sha256}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(payload(500_000, seed=2))
    with Fetcher(tmp_path) as fetcher:
        assert fetcher.ensure(file)
    assert (tmp_path / "model.bin").read_bytes() == BODY
    assert [asked for _, asked in hub.requests] == ["bytes=500000-", ""]


def test_wrong_hash_falls_through_to_the_next_source(tmp_path: Path, hub: Hub) -> None:
    wrong = hub.serve("/wrong", payload(len(BODY), seed=2))
    right = {"kind": "url", "url": hub.serve("/right", BODY)}
    with Fetcher(tmp_path) as fetcher:
        assert fetcher.ensure(entry(BODY, url=wrong, sources=[right]))
    assert (tmp_path / "model.bin").read_bytes() == BODY
    assert [path for path, _ in hub.requests] == ["/wrong", "/right"]


def test_one_flipped_byte_is_refused_and_named(tmp_path: Path, hub: Hub) -> None:
    flipped = BODY[:500_000] + bytes([BODY[500_000] ^ 1]) + BODY[500_001:]
    file = entry(BODY, filename="deep/model.bin", url=hub.serve("/model.bin", flipped))
    with Fetcher(tmp_path) as fetcher, pytest.raises(FetchError) as caught:
        fetcher.ensure(file)
    assert "deep/model.bin cannot be had" in caught.value.message
    assert f"sha256 is {sha256(flipped)}, the catalogue says {file.sha256}" in caught.value.message
    assert not (tmp_path / "deep").exists()
    assert partials(tmp_path) == []


def test_error_lists_every_source_in_order_and_why_it_failed(tmp_path: Path, hub: Hub) -> None:
    sources = [
        {"kind": "url", "url": hub.serve("/gone", b"", status=410)},
        {"kind": "url", "url": hub.serve("/short", BODY[:-1])},
        {"kind": "url", "url": hub.serve("/other", payload(len(BODY), seed=2))},
        {"kind": "local", "path": str(tmp_path / "nowhere.bin")},
    ]
    file = entry(BODY, url=f"{hub.url}/absent", sources=sources)
    with Fetcher(tmp_path, mirror_url=DEAD) as fetcher, pytest.raises(FetchError) as caught:
        fetcher.ensure(file)
    reasons = [(attempt.source, attempt.reason) for attempt in caught.value.attempts]
    assert [source for source, _ in reasons] == [
        f"mirror {DEAD}/{file.sha256}",
        f"{hub.url}/absent",
        f"{hub.url}/gone",
        f"{hub.url}/short",
        f"{hub.url}/other",
        str(tmp_path / "nowhere.bin"),
    ]
    said = ["cannot be reached", "HTTP 404", "HTTP 410", "has 999999 bytes", "sha256 is", "no such file"]
    assert all(text in reason for text, (_, reason) in zip(said, reasons, strict=True))
    assert all(f"{number}. " in caught.value.message for number in range(1, 7))
    assert "TWIN_MIRROR_URL" in caught.value.hint


def test_file_of_another_size_is_refused_before_it_is_read(tmp_path: Path, hub: Hub) -> None:
    sent: list[int] = []
    address = hub.serve("/model.bin", payload(50_000_000), before_block=sent.append)
    with Fetcher(tmp_path) as fetcher, pytest.raises(FetchError, match="has 50000000 bytes, the catalogue"):
        fetcher.ensure(entry(BODY, url=address))
    assert len(sent) * 16_384 < 20_000_000


def test_dead_mirror_costs_one_attempt_however_many_files(tmp_path: Path, hub: Hub) -> None:
    bodies = [payload(1000, seed=seed) for seed in range(5)]
    files = [
        entry(body, filename=f"{number}.bin", url=hub.serve(f"/{number}", body))
        for number, body in enumerate(bodies)
    ]
    with Fetcher(tmp_path, mirror_url="http://127.0.0.1:9") as fetcher:
        assert len(fetcher.ensure_all(files)) == 5
    assert [(tmp_path / f"{number}.bin").read_bytes() for number in range(5)] == bodies


def test_mirror_that_dies_in_the_middle_is_named_and_what_came_is_gone_on_with(
    tmp_path: Path, hub: Hub
) -> None:
    file = entry(BODY)
    page = f"/{sha256(BODY)}"
    hub.serve(page, BODY, cuts=[100_000, 0])
    with Fetcher(tmp_path, mirror_url=hub.url) as fetcher, pytest.raises(FetchError) as caught:
        fetcher.ensure(file)
    assert "100000 of" in caught.value.message
    assert f"mirror {hub.url} (TWIN_MIRROR_URL) does not serve" in caught.value.hint
    assert "same command again" in caught.value.hint

    with Fetcher(tmp_path, mirror_url=hub.url) as fetcher:
        assert fetcher.ensure(file)
    assert hub.requests[-1] == (page, "bytes=100000-")


def test_mirror_that_has_no_such_file_is_not_called_dead(tmp_path: Path, hub: Hub) -> None:
    with Fetcher(tmp_path, mirror_url=hub.url) as fetcher, pytest.raises(FetchError) as caught:
        fetcher.ensure(entry(BODY))
    assert "HTTP 404" in caught.value.message
    assert "does not serve" not in caught.value.hint


def test_mirror_is_asked_first_and_by_hash(tmp_path: Path, hub: Hub) -> None:
    hub.serve(f"/mirror/{sha256(BODY)}", BODY)
    file = entry(BODY, url=hub.serve("/model.bin", BODY))
    with Fetcher(tmp_path, mirror_url=f"{hub.url}/mirror/") as fetcher:
        assert fetcher.ensure(file)
    assert [path for path, _ in hub.requests] == [f"/mirror/{sha256(BODY)}"]


def test_second_fetch_does_not_touch_the_network_nor_read_the_file(tmp_path: Path, hub: Hub) -> None:
    file = entry(BODY, url=hub.serve("/model.bin", BODY))
    with Fetcher(tmp_path) as fetcher:
        fetcher.ensure(file)
    hub.stop()
    (tmp_path / "model.bin").chmod(0o000)  # whoever reads it as a user fails
    before = (tmp_path / "model.bin").stat().st_atime_ns
    with Fetcher(tmp_path) as fetcher:
        assert not fetcher.ensure(file)
        assert fetcher.state(file) == "present"
    assert (tmp_path / "model.bin").stat().st_atime_ns == before


def test_file_put_in_place_by_hand_is_taken_when_its_hash_is_right(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(BODY)
    with Fetcher(tmp_path) as fetcher:
        assert not fetcher.ensure(entry(BODY, url=f"{DEAD}/model.bin"))


def test_damaged_file_is_noticed_and_replaced(tmp_path: Path, hub: Hub) -> None:
    file = entry(BODY, url=hub.serve("/model.bin", BODY))
    with Fetcher(tmp_path) as fetcher:
        fetcher.ensure(file)
        path = tmp_path / "model.bin"
        path.write_bytes(BODY[:-1] + bytes([BODY[-1] ^ 1]))
        assert fetcher.state(file) == "damaged"
        assert fetcher.ensure(file)
        assert path.read_bytes() == BODY


def test_rot_under_an_unchanged_date_is_found_by_reading_again(tmp_path: Path, hub: Hub) -> None:
    file = entry(BODY, url=hub.serve("/model.bin", BODY))
    with Fetcher(tmp_path) as fetcher:
        fetcher.ensure(file)
        path = tmp_path / "model.bin"
        times = path.stat()
        with path.open("r+b") as handle:
            handle.write(bytes([BODY[0] ^ 1]))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert fetcher.state(file) == "present"
        assert fetcher.state(file, rehash=True) == "damaged"
        assert fetcher.state(file) == "damaged"


def test_bytes_that_another_file_here_has_are_not_fetched_again(tmp_path: Path, hub: Hub) -> None:
    first = entry(BODY, filename="a/voice.bin", url=hub.serve("/a", BODY))
    second = entry(BODY, filename="b/voice.bin", url=f"{DEAD}/b")
    with Fetcher(tmp_path) as fetcher:
        fetcher.ensure(first)
        assert fetcher.ensure(second, same_content=[first, second])
    assert (tmp_path / "b" / "voice.bin").samefile(tmp_path / "a" / "voice.bin")


def test_two_processes_download_once(tmp_path: Path, hub: Hub) -> None:
    gate = threading.Event()

    def hold(sent: int) -> None:
        if sent > 500_000:
            gate.wait(30)

    file = entry(BODY, url=hub.serve("/model.bin", BODY, before_block=hold))
    first = child(tmp_path, file.model_dump_json())
    _wait_until(lambda: hub.requests != [])
    second = child(tmp_path, file.model_dump_json())
    time.sleep(1.0)  # time enough for the second to download it as well, if it did
    gate.set()
    said = sorted([first.communicate(timeout=60)[0].strip(), second.communicate(timeout=60)[0].strip()])
    assert said == ["changed", "unchanged"]
    assert len(hub.requests) == 1
    assert (tmp_path / "model.bin").read_bytes() == BODY


def test_interrupt_keeps_what_arrived_and_the_next_run_goes_on(tmp_path: Path, hub: Hub) -> None:
    slow = threading.Event()

    def hold(sent: int) -> None:
        if sent > 500_000 and not slow.is_set():
            slow.wait(30)

    file = entry(BODY, url=hub.serve("/model.bin", BODY, before_block=hold))
    process = child(tmp_path, file.model_dump_json())
    _wait_until(lambda: any(path.stat().st_size > 400_000 for path in partials(tmp_path)))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    slow.set()
    kept = partials(tmp_path)[0].stat().st_size
    assert kept > 400_000
    assert not (tmp_path / "model.bin").exists()
    with Fetcher(tmp_path) as fetcher:
        assert fetcher.ensure(file)
    assert hub.requests[-1] == ("/model.bin", f"bytes={kept}-")


def test_disk_too_small_is_refused_before_anything_is_asked(tmp_path: Path, hub: Hub) -> None:
    file = entry(BODY, url=hub.serve("/model.bin", BODY)).model_copy(update={"size_bytes": 10**16})
    with Fetcher(tmp_path) as fetcher, pytest.raises(ArtifactError) as caught:
        fetcher.ensure(file)
    assert caught.value.code == "disk-full"
    assert str(tmp_path) in caught.value.message
    assert hub.requests == []


def test_disk_that_fills_up_ends_it_keeps_the_bytes_and_resumes(tmp_path: Path, hub: Hub) -> None:
    other = {"kind": "url", "url": hub.serve("/other", BODY)}
    file = entry(BODY, url=hub.serve("/model.bin", BODY), sources=[other])
    said = child(tmp_path, file.model_dump_json(), limit_bytes=300_000).communicate(timeout=60)[0]
    assert said.startswith("disk-full model.bin: no room left")
    assert [path for path, _ in hub.requests] == ["/model.bin"], "another source is no help on a full disk"
    assert partials(tmp_path)[0].stat().st_size == 300_000
    assert child(tmp_path, file.model_dump_json()).communicate(timeout=60)[0] == "changed\n"
    assert hub.requests[-1] == ("/model.bin", "bytes=300000-")


def test_real_file_system_without_room_is_named(small_disk: Path | None, tmp_path: Path, hub: Hub) -> None:
    """A tmpfs of 80 MB fills while 10 MB arrive; without the right to mount, a size limit does it."""
    root = small_disk or tmp_path
    body = payload(10_000_000)

    def fill(sent: int) -> None:
        if small_disk is not None and sent > 4_000_000 and not (root / "filler").exists():
            with pytest.raises(OSError), (root / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(1_000_000))

    file = entry(body, url=hub.serve("/model.bin", body, before_block=fill))
    limit_bytes = 0 if small_disk else 5_000_000
    said = child(root, file.model_dump_json(), limit_bytes).communicate(timeout=60)[0]
    assert said.startswith("disk-full model.bin: no room left")
    (root / "filler").unlink(missing_ok=True)
    hub.serve("/model.bin", body)
    assert child(root, file.model_dump_json()).communicate(timeout=60)[0] == "changed\n"
    assert hub.requests[-1][1].startswith("bytes=")
    assert (root / "model.bin").read_bytes() == body


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with Fetcher(tmp_path / "models") as fetcher, pytest.raises(ArtifactError, match="models") as caught:
        fetcher.ensure(entry(BODY, url=f"{DEAD}/x"))
    assert caught.value.code == "supply-folder"


def test_log_says_which_source_failed_and_which_gave_the_file(tmp_path: Path, hub: Hub) -> None:
    body = payload(6_000_000)
    log = tmp_path / "log"
    with log.open("w") as stream:
        file = entry(body, url=hub.serve("/model.bin", body))
        progress = TextProgress(stream, is_terminal=False)
        with Fetcher(tmp_path, mirror_url=DEAD, progress=progress) as fetcher:
            fetcher.ensure(file)
    lines = log.read_text().splitlines()
    assert lines[0].startswith("model.bin from the mirror: failed: 127.0.0.1:9 cannot be reached")
    assert lines[1].startswith("model.bin from 127.0.0.1: 6.0 MB, sha256 is right")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A file system of 80 MB, or None where one may not be mounted."""
    point = tmp_path / "small"
    point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(point)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    yield point if mounted else None
    if mounted:
        subprocess.run(["umount", str(point)], check=True)


def _wait_until(is_true: object, limit_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not is_true():  # type: ignore[operator]
        assert time.monotonic() < deadline_s, "it did not come to that"
        time.sleep(0.02)
