"""Two machines, of which one has no way to the internet: it gets everything from the other."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.hosts.cluster import ROOT, Cluster, Node, warm_caches
from testing.hosts.images import hosts_folder
from testing.hosts.network import ip

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

PLAYBOOKS = ("mirror", "software", "programs", "models")
OFFLINE = {"twin_offline_nodes": True}
PROGRAMS = ("TWIN_CACHE_DIR=/opt/twin/programs", "PYTHONPATH=/opt/twin/app")
FETCH = ("-m", "pipecatapp", "artifacts", "fetch")
LOGS = ROOT / "build" / "logs"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A controller that has this machine's downloads, and a worker that has nothing."""
    # What the supply has brought is lent as a program on PATH, so that the test does not build for minutes.
    with Cluster(1, lent=warm_caches("mirror") | {"/srv/programs": programs()}) as one:
        for name in ("consul", "nomad"):
            one.hosts[0].run("ln", "-s", f"/srv/programs/{name}", f"/usr/local/sbin/{name}")
        one._lent.clear()
        one.add_host()
        one.write_inventory(one.hosts[:1], one.hosts[1:])
        lock_in(one, one.hosts[1])
        yield one


def programs() -> Path:
    """This machine's Consul and Nomad, in one folder."""
    folder = hosts_folder() / "warm" / "programs"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("consul", "nomad"):
        twin = ["python", "-m", "pipecatapp", "artifacts"]
        subprocess.run([*twin, "fetch", name], cwd=ROOT, check=True, timeout=1200)
        path = subprocess.run(
            [*twin, "path", name, name], cwd=ROOT, check=True, timeout=60, capture_output=True, text=True
        ).stdout.strip()
        subprocess.run(["cp", "--update", path, str(folder / name)], check=True)
    return folder


def lock_in(cluster: Cluster, node: Node) -> None:
    """Leave the node nothing but its own network."""
    ip("-n", f"{cluster.network.name}h{node.address.rsplit('.', 1)[1]}", "route", "del", "default")


def played(cluster: Cluster, *arguments: str) -> int:
    """Run the playbooks; return how many changes they made on all hosts."""
    return sum(
        cluster.playbook(
            f"playbooks/{name}.yaml", *arguments, variables=OFFLINE, log=LOGS / f"mirror-{name}.log"
        ).changed
        for name in PLAYBOOKS
    )


def test_node_without_internet_gets_everything_from_the_first_controller(cluster: Cluster) -> None:
    node = cluster.hosts[1]
    with pytest.raises(RuntimeError):
        node.run("apt-get", "-qq", "-o", "Acquire::Retries=0", "update", "--error-on=any", timeout_s=120)

    assert played(cluster) > 0

    for name in ("consul", "nomad"):
        said = [host.run(name, "version").stdout.splitlines()[0] for host in cluster.hosts]
        assert said[0] == said[1]
        assert said[0].lower().startswith(f"{name} v")
    assert node.run("twin", "models", "path", "minilm").stdout.startswith("/opt/twin/models/")
    node.run("twin", "models", "verify", timeout_s=300)


def test_programs_are_roots_alone(cluster: Cluster) -> None:
    for host in cluster.hosts:
        assert host.run("find", "/opt/twin/programs", "-not", "-user", "root").stdout == ""
        assert host.run("readlink", "-f", "/usr/local/bin/nomad").stdout.startswith("/opt/twin/programs/")
    offered = ("/srv/twin-mirror/artifacts/nomad", "/srv/twin-mirror/artifacts/consul")
    assert cluster.hosts[0].run("find", *offered, "-not", "-user", "root").stdout == ""


def test_second_run_changes_nothing_and_check_mode_foresees_nothing(cluster: Cluster) -> None:
    assert played(cluster) == 0
    assert played(cluster, "--check") == 0


def test_mirror_gives_only_what_is_there_to_give(cluster: Cluster) -> None:
    first, node = cluster.hosts
    fetch = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=20).status)"
    for path in ("/../../etc/shadow", "/etc/shadow", "/debian/../etc/shadow"):
        with pytest.raises(RuntimeError, match=r"HTTP Error 40\d"):
            node.run("python3", "-c", fetch, f"http://{first.address}:8071{path}")
    users = first.run("ps", "-o", "user=", "-C", "nginx").stdout.split()
    assert set(users) == {"pipecatapp"}


TAMPER = """
import hashlib, json, pathlib
root = pathlib.Path("/srv/twin-mirror")
other = b"#!/bin/sh\\ntouch /root/it-ran\\necho Nomad v1.11.3\\n"
name = hashlib.sha256(other).hexdigest()
(root / name).write_bytes(other)
for listing in root.glob("artifacts/nomad/*.json"):
    told = json.loads(listing.read_text())
    told["files"] = [{"path": "nomad", "sha256": name, "size_bytes": len(other), "is_executable": True}]
    listing.unlink()
    listing.write_text(json.dumps(told))
"""


def test_mirror_that_offers_another_program_is_put_right_and_never_believed(cluster: Cluster) -> None:
    first, node = cluster.hosts
    before = node.run("sha256sum", "/usr/local/bin/nomad").stdout
    digest = json.loads(
        first.run("env", *PROGRAMS, "/opt/twin/venv/bin/python", *FETCH, "nomad", "--json").stdout
    )["digests"]["nomad"]
    node.run("rm", "-rf", "/opt/twin/programs")
    first.run("python3", "-c", TAMPER)
    mirror = f"http://{first.address}:8071"
    fetch = ("env", *PROGRAMS, "/opt/twin/venv/bin/python", *FETCH, "nomad", "--mirror", mirror)
    with pytest.raises(RuntimeError, match="its programs have the digest"):
        node.run(*fetch, "--digest", digest, timeout_s=300)

    assert cluster.playbook("playbooks/programs.yaml", variables=OFFLINE).status == 0
    assert node.run("sha256sum", "/usr/local/bin/nomad").stdout == before
    assert node.run("bash", "-c", "ls /root/it-ran 2>/dev/null || true").stdout == ""
