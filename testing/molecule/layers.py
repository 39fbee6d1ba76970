"""What the machines of scenarios have on their disks: layers over the image, made by the playbooks.

It owns the layers' folder, when a layer is still good, and how one is made. A scenario names the topmost:

    bare       Debian with ssh, as its installer leaves it
    software   and the agent's code and Python packages, on a machine alone
    cluster    and Consul and Nomad, as a cluster of one, and what jobs need
    house      and the jobs: people can talk to it
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from testing.hosts.cluster import ROOT, Cluster, built_programs, warm_caches
from testing.hosts.images import ensure_image, hosts_folder

LOGS = ROOT / "build" / "molecule"
SOURCES = (
    "ansible",
    "ansible.cfg",
    "group_vars",
    "pipecatapp",
    "playbooks",
    "requirements.txt",
    "requirements-bootstrap.txt",
)
"""What a layer is made of; when one of them changes, layers are made anew."""
LEFT_OUT = {"molecule", "__pycache__", "README.md"}
"""Folders and files that change nothing on a machine."""
KEPT = 3
"""States of the checkout, of all on this machine, whose layers are kept (some 3 GB each)."""


@dataclass(frozen=True, slots=True)
class Layer:
    """How a layer is made: playbooks, on the layers below it."""

    playbooks: tuple[str, ...]
    variables: Mapping[str, object] = field(default_factory=dict)


LAYERS = {
    "bare": Layer(()),
    "software": Layer(("software",), {"twin_mode": "standalone"}),
    "cluster": Layer(("software", "programs", "control_plane", "models", "nodes")),
    "house": Layer(("jobs", "health")),
}
"""From the lowest to the topmost."""
PROBE_TIMEOUT_S = 180
UNTIL = f"""for _ in {{1..{PROBE_TIMEOUT_S * 2}}}; do
bash -c "$1" >/dev/null 2>&1 && exit
sleep 0.5
done
exit 1"""
CONSUL_IS_WELL = """export CONSUL_HTTP_TOKEN_FILE=/etc/consul.d/management_token
consul operator raft list-peers | grep leader"""
NOMAD_IS_WELL = """export NOMAD_ADDR=https://127.0.0.1:4646 NOMAD_CACERT=/etc/nomad.d/tls/ca.pem
export NOMAD_TOKEN=$(cat /etc/nomad.d/management_token)
nomad node status -self -t '{{.Status}} {{.SchedulingEligibility}}' | grep -x 'ready eligible'"""
PEOPLE_ARE_ANSWERED = "curl -sf http://127.0.0.1:8000/health"
PROBES = {
    "bare": (),
    "software": (),
    "cluster": (CONSUL_IS_WELL, NOMAD_IS_WELL),
    "house": (CONSUL_IS_WELL, NOMAD_IS_WELL, PEOPLE_ARE_ANSWERED),
}
"""What succeeds once all that starts with a machine is well."""


def network_number() -> int:
    """The network that this checkout's machines are on: a cluster's disk remembers its own addresses."""
    return 100 + zlib.crc32(str(ROOT).encode()) % 156


def boot(name: str, layers: list[Path], own: Mapping[str, Path] | None = None) -> Cluster:
    """One machine with these layers, `name` the topmost, its `own` folders, and all that starts with it well.

    Raises:
        RuntimeError: It did not come up or did not become well.
    """
    lent = warm_caches() | dict(own or {})
    cluster = Cluster(1, network_number(), lent=lent, first_lent=built_programs(), layers=layers)
    try:
        for probe in PROBES[name]:
            cluster.hosts[0].run("bash", "-c", UNTIL, "until", probe, timeout_s=PROBE_TIMEOUT_S + 10)
    except BaseException:
        cluster.close()
        raise
    return cluster


def fingerprint(network: int, sources: Sequence[str] = SOURCES, left_out: Collection[str] = LEFT_OUT) -> str:
    """Twelve hex digits of all that disks on a network are made of."""
    total = hashlib.sha256(str(network).encode())
    total.update((ensure_image("node") / "var/lib/dpkg/status").read_bytes())
    for source in sources:
        top = ROOT / source
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and not set(left_out) & set(path.relative_to(ROOT).parts):
                total.update(f"{path.relative_to(ROOT)}\n{path.stat().st_size}\n".encode())
                total.update(path.read_bytes())
    return total.hexdigest()[:12]


def ensure_layers(name: str, say: Callable[[str], None] = lambda _: None) -> list[Path]:
    """Make the layers up to this one where they are missing; return their folders, the lowest first.

    Raises:
        KeyError: No layer has this name.
        RuntimeError: A playbook failed; with the end of its output.
    """
    names = list(LAYERS)[1 : list(LAYERS).index(name) + 1] if name in LAYERS else [name]
    home = hosts_folder() / "layers" / fingerprint(network_number())
    made: list[Path] = []
    with locked(home):
        for each in names:
            folder = home / each
            if not folder.exists():
                say(each)
                _make(each, made, folder)
            made.append(folder)
        home.touch()
    return made


def _make(name: str, below: list[Path], folder: Path) -> None:
    layer = LAYERS[name]
    forget_old(folder.parent)
    with boot(list(LAYERS)[len(below)], below) as cluster:
        for playbook in layer.playbooks:
            log = LOGS / f"layer-{name}-{playbook}.log"
            cluster.playbook(f"playbooks/{playbook}.yaml", variables=layer.variables, log=log)
        cluster.hosts[0].save(folder)


def forget_old(home: Path, kept: int = KEPT) -> None:
    """Remove the disks beside `home` that were used longest ago, until `kept` of them and it are there."""
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8")
    others = sorted((path for path in home.parent.iterdir() if path.is_dir() and path != home), key=_age)
    for path in others[kept - 1 :]:
        if str(path) not in mounts:
            # Under another name first: half a layer must not be taken for a whole one.
            grave = Path(tempfile.mkdtemp(prefix=".old-", dir=home.parent.parent))
            path.rename(grave / path.name)
            shutil.rmtree(grave, ignore_errors=True)


def _age(path: Path) -> float:
    return -path.stat().st_mtime


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Make the folder, and keep others from making what is in it meanwhile."""
    home.mkdir(parents=True, exist_ok=True)
    with home.with_name(f"{home.name}.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
