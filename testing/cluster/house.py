"""A house of three machines, set up by `playbook.yaml` and talked to as its people do.

It owns talking to it by voice and by text, running playbooks, and asking Nomad and Consul; what must hold,
the tests say.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from testing.hosts.cluster import Cluster, Node, Played

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / "build" / "cluster"
CALL_TIMEOUT_S = 180.0
"""A call with two questions on machines that share two cores."""
CHAT_TIMEOUT_S = 60.0
POLL_S = 0.5
ASK = """
import json, sys, urllib.error, urllib.request
body = json.dumps({"text": sys.argv[2]} | ({"session_id": sys.argv[3]} if sys.argv[3] else {})).encode()
request = urllib.request.Request(sys.argv[1] + "/api/chat", body, {"Content-Type": "application/json"})
try:
    with urllib.request.urlopen(request, timeout=float(sys.argv[4])) as answer:
        sys.stdout.write(answer.read().decode())
except urllib.error.HTTPError as exc:
    sys.exit(f"{exc}: {' '.join(exc.read().decode(errors='replace').split())[:300]}")
"""

WITH_TOKEN = (
    "export NOMAD_ADDR=https://127.0.0.1:4646 NOMAD_CACERT=/etc/nomad.d/tls/ca.pem"
    " NOMAD_TOKEN=$(cat /etc/nomad.d/management_token)"
)
"""What a shell on a controller needs before it asks Nomad as who may do everything."""

T = TypeVar("T")


def say(line: str) -> None:
    """Print a measured line, past pytest's capture with -s and into its report without."""
    sys.stdout.write(f"\n{line}\n")


def wait_for(what: str, look: Callable[[], T], timeout_s: float) -> T:
    """Return the first true thing that `look` finds.

    Raises:
        AssertionError: It found none in time, or only errors.
    """
    deadline_s = time.monotonic() + timeout_s
    last: object = None
    while time.monotonic() < deadline_s:
        try:
            found = look()
        except (RuntimeError, OSError, AssertionError, subprocess.SubprocessError) as exc:
            last = exc
        else:
            if found:
                return found
            last = found
        time.sleep(POLL_S)
    raise AssertionError(f"{what} did not come in {timeout_s:g} s; last: {last}")


@contextlib.contextmanager
def will_not_start(node: Node, unit: str, must: str) -> Iterator[None]:
    """Have a service of a node not start where a shell's condition does not hold.

    Args:
        node: The machine.
        unit: The service.
        must: What must hold for a start.
    """
    folder = node.root / f"etc/systemd/system/{unit}.service.d"
    folder.mkdir()
    (folder / "refuse.conf").write_text(f"[Service]\nExecStartPre=/bin/sh -c '{must}'\n", encoding="utf-8")
    node.run("systemctl", "daemon-reload")
    try:
        yield
    finally:
        shutil.rmtree(folder)
        node.run("systemctl", "daemon-reload")


def versions(name: str) -> list[str]:
    """The versions of a program that can be had, the wanted one first."""
    catalogue = yaml.safe_load((ROOT / "group_vars/artifacts.yaml").read_text(encoding="utf-8"))
    return [str(item["version"]) for item in catalogue["artifacts"] if item["name"] == name]


class House:
    """The cluster and its people.

    Args:
        cluster: Machines, booted.
        chosen: Versions of Consul and Nomad that it begins with; none for the newest.
    """

    def __init__(self, cluster: Cluster, chosen: Mapping[str, str] | None = None) -> None:
        self.cluster = cluster
        self.chosen = dict(chosen or {})

    @property
    def nodes(self) -> list[Node]:
        """Every machine."""
        return self.cluster.hosts

    def play(
        self,
        name: str,
        *arguments: str,
        log: str = "",
        variables: Mapping[str, object] | None = None,
        must_pass: bool = True,
    ) -> Played:
        """Run a playbook, keep its log in build/cluster and print how long it took."""
        LOGS.mkdir(parents=True, exist_ok=True)
        label = log or Path(name).stem
        own = {"twin_versions": self.chosen} if self.chosen else {}
        played = self.cluster.playbook(
            name,
            *arguments,
            log=LOGS / f"{label}.log",
            variables=own | dict(variables or {}),
            must_pass=must_pass,
        )
        say(f"{label}: {played.took_s:.0f} s, changed={played.changed}")
        return played

    def speak(self, node: Node, *recordings: str) -> str:
        """Call through a node from beside the house, speak recordings, return what was heard and replied."""
        url = f"http://{node.address}:8000"
        caller = [sys.executable, "-m", "testing.e2e.client", "--url", url, *recordings]
        done = subprocess.run(
            self.cluster.outside(*caller),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=CALL_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def chat(
        self, node: Node, text: str, session_id: str = "", timeout_s: float = CHAT_TIMEOUT_S
    ) -> dict[str, Any]:
        """Send a text through a node from beside the house; return the answer.

        Raises:
            AssertionError: There was none, with why.
        """
        url = f"http://{node.address}:8000"
        command = self.cluster.outside(sys.executable, "-c", ASK, url, text, session_id, str(timeout_s))
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout_s + 10,
            check=False,
            env={"PATH": "/usr/bin:/bin"},
        )
        assert done.returncode == 0, done.stderr.strip().splitlines()[-1:]
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def turn(
        self,
        node: Node,
        text: str,
        timeout_s: float = CHAT_TIMEOUT_S,
        on_first_word: Callable[[], object] | None = None,
    ) -> list[dict[str, Any]]:
        """Send a text through a node in a conversation of its own; return what the page is told of it.

        Args:
            node: Whose front is asked.
            text: What is said.
            timeout_s: Longest time for all of it.
            on_first_word: Called when the answer begins.

        Raises:
            AssertionError: There was no end of it, with why.
        """
        url = f"http://{node.address}:8000"
        command = self.cluster.outside(
            sys.executable, "-m", "testing.cluster.turns", url, text, str(timeout_s)
        )
        events: list[dict[str, Any]] = []
        # It ends by itself after the time that it is given.
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as asking:
            assert asking.stdout is not None and asking.stderr is not None
            for line in asking.stdout:
                events.append(json.loads(line))
                if on_first_word and events[-1]["kind"] == "assistant_delta":
                    on_first_word()
                    on_first_word = None
            why = asking.stderr.read()
        assert asking.returncode == 0, why.strip().splitlines()[-1:]
        return events

    def facts(self, node: Node) -> list[str]:
        """Every fact that the house remembers, sorted, as a node tells them."""
        url = f"http://{node.address}:8000/api/memory"
        ask = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=20).read().decode())"
        done = subprocess.run(
            self.cluster.outside(sys.executable, "-c", ask, url),
            capture_output=True,
            text=True,
            timeout=40,
            check=True,
            env={"PATH": "/usr/bin:/bin"},
        )
        found = json.loads(done.stdout)
        return sorted(item["text"] for item in (found["facts"] if isinstance(found, dict) else found))

    def nomad(self, path: str, node: Node | None = None) -> Any:
        """Ask Nomad on a controller, with its management token."""
        return self._ask("https://127.0.0.1:4646", "X-Nomad-Token", "nomad", path, node)

    def consul(self, path: str, node: Node | None = None) -> Any:
        """Ask Consul on a controller, with its management token."""
        return self._ask("http://127.0.0.1:8500", "X-Consul-Token", "consul", path, node)

    def ready(self) -> set[str]:
        """The names of the nodes that Nomad gives jobs to."""
        return {node["Name"] for node in self.nomad("/v1/nodes") if node["Status"] == "ready"}

    def allocations(self, job: str, node: Node | None = None) -> list[dict[str, Any]]:
        """The allocations of a job that run and are to run."""
        found = self.nomad(f"/v1/job/{job}/allocations", node)
        return [a for a in found if a["ClientStatus"] == "running" and a["DesiredStatus"] == "run"]

    def places(self, service: str, node: Node | None = None) -> set[str]:
        """The names of the nodes on which a service passes its checks, as Consul knows."""
        found = self.consul(f"/v1/health/service/{service}?passing", node)
        return {item["Node"]["Node"] for item in found}

    def node_named(self, name: str) -> Node:
        """The machine of that name."""
        return next(node for node in self.nodes if node.name == name)

    def _ask(self, address: str, header: str, name: str, path: str, node: Node | None) -> Any:
        token = f"/etc/{name}.d/management_token"
        command = ["curl", "-sS", "--fail-with-body", "--max-time", "20", "-k", "-H"]
        script = f'{" ".join(command)} "{header}: $(cat {token})" {address}{path!r}'.replace("'", '"')
        text = (node or self.nodes[0]).run("bash", "-c", script).stdout
        return json.loads(text)


def reach(url: str, *, token: tuple[str, str] | None = None, timeout_s: float = 10.0) -> int:
    """Return the status that a URL answers with, whatever its certificate."""
    request = urllib.request.Request(url, headers=dict([token]) if token else {})
    context = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(request, timeout=timeout_s, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        return int(exc.code)
