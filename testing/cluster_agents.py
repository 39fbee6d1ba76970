"""A real Consul and a real Nomad for tests: single agents on free loopback ports, ACL on, deny by default.

It owns the processes, their folders and their tokens, and leaves no process behind. Pytest fixtures over
it are in `testing/cluster_fixtures.py`; whole hosts are `testing/hosts`'s business.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx

from pipecatapp.artifacts.artifact_store import ArtifactStore
from pipecatapp.artifacts.catalogue import load_catalogue

CATALOGUE = Path(__file__).resolve().parents[1] / "group_vars"
HOST = "127.0.0.1"
START_TIMEOUT_S = 90.0
"""Longest wait for a leader (seconds); an idle machine needs three."""
STOP_TIMEOUT_S = 20.0
POLL_S = 0.1
CLOUD_PROBES = "env_aws,env_azure,env_digitalocean,env_gce"
"""Nomad's questions to a cloud's metadata service, which is not the house's."""
LOCAL_POLICY = 'node_prefix "" { policy = "read" } agent_prefix "" { policy = "read" }'
"""What every reader may know of the machines."""


def cluster_binary(name: str) -> str:
    """Return the program `consul` or `nomad`: the product's version that the supply has here, else PATH's.

    Raises:
        AssertionError: There is none; the message has the command that brings it.
    """
    cache = Path(os.environ.get("TWIN_CACHE_DIR", str(Path.home() / ".cache" / "twin")))
    store = ArtifactStore(cache / "artifacts", load_catalogue(CATALOGUE))
    if store.is_present(name):
        return str(store.path(name, name))
    found = shutil.which(name)
    assert found, f"there is no {name} below {cache} or on PATH; bring it with: twin artifacts fetch {name}"
    return found


def free_ports(count: int) -> list[int]:
    """Return different ports that nobody uses, for TCP and UDP."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            tcp = stack.enter_context(socket.socket())
            udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            tcp.bind((HOST, 0))
            port = int(tcp.getsockname()[1])
            with contextlib.suppress(OSError):
                udp.bind((HOST, port))
                ports.append(port)
        return ports


class _Agent:
    """One process of an agent, with what it needs to be started again where it was.

    It dies with the thread that started it (prctl(2), PR_SET_PDEATHSIG): start it from the test's own.

    Args:
        name: `consul` or `nomad`.
        folder: Its configuration, data and log.
        port: HTTP port.
    """

    def __init__(self, name: str, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.url = f"http://{HOST}:{port}"
        self.log_path = folder / f"{name}.log"
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def kill(self) -> None:
        """End it as a power cut does; `start` brings it back with its data."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def stop(self) -> None:
        """End it, and what it started."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
        self.kill()
        _kill_below(self.folder)
        _unmount_below(self.folder)

    def pause(self) -> None:
        """Make it hang: connections are taken, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        # On a busy machine its threads answer until the kernel comes to them.
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            while task.exists() and (task / "stat").read_text(encoding="ascii").rpartition(") ")[2][0] != "T":
                if time.monotonic() > deadline_s:
                    raise RuntimeError(f"{self.pid} does not stop")
                time.sleep(POLL_S)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def log_tail(self, lines: int = 30) -> str:
        """Return the end of its log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def _launch(self, arguments: Sequence[str], config: Mapping[str, Any]) -> None:
        assert self._process is None, f"{self._name} runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self._name}.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=1), encoding="utf-8")
        guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*guard, cluster_binary(self._name), "agent", *arguments, str(path)],
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self, is_ready: Callable[[], bool], what: str) -> None:
        assert self._process is not None
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self._name} ended with {self._process.returncode}:\n{self.log_tail()}")
            with contextlib.suppress(httpx.TransportError):
                if is_ready():
                    return
            time.sleep(POLL_S)
        tail = self.log_tail()
        self.stop()
        raise RuntimeError(f"{self._name}: no {what} in {START_TIMEOUT_S:g} s\n{tail}")


class ConsulAgent(_Agent):
    """A single Consul server whose ACL denies what no token allows.

    Args:
        folder: Its configuration, data and log.
    """

    def __init__(self, folder: Path) -> None:
        self._ports = dict(zip(("http", "server", "serf_lan"), free_ports(3), strict=True))
        super().__init__("consul", folder, self._ports["http"])
        self.token = str(uuid.uuid4())
        """The management token."""
        self.node = "consul-test"

    def start(self) -> Self:
        """Start it and wait until it has a leader and takes writes.

        Raises:
            RuntimeError: It ended, or had no leader in time; with the end of its log.
        """
        config = {
            "server": True,
            "bootstrap_expect": 1,
            "datacenter": "twin",
            "node_name": self.node,
            "data_dir": str(self.folder / "data"),
            "bind_addr": HOST,
            "client_addr": HOST,
            "ports": {**self._ports, "dns": -1, "grpc": -1, "grpc_tls": -1, "serf_wan": -1},
            "performance": {"raft_multiplier": 1, "leave_drain_time": "0s"},
            "disable_update_check": True,
            "acl": {
                "enabled": True,
                "default_policy": "deny",
                "enable_token_persistence": True,
                "tokens": {"initial_management": self.token, "agent": self.token},
            },
        }
        self._launch(["-config-file"], config)
        self._wait(self._is_ready, "leader")
        return self

    def forget(self) -> None:
        """Throw the data away, so that the next `start` begins with indexes near zero."""
        assert self._process is None, "stop it first"
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def request(self, method: str, path: str, body: object = None, *, token: str | None = None) -> Any:
        """Ask `path` (below /v1) and return its JSON, or None for an empty answer.

        Raises:
            AssertionError: It did not answer 200.
        """
        reply = httpx.request(
            method,
            f"{self.url}/v1{path}",
            json=body,
            headers={"X-Consul-Token": self.token if token is None else token},
            timeout=10,
            trust_env=False,
        )
        assert reply.status_code == 200, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json() if reply.text.strip() else None

    def make_token(self, rules: str = 'service_prefix "" { policy = "read" } ' + LOCAL_POLICY) -> str:
        """Return a new token with a policy of `rules` (HCL); by default it reads services and nodes."""
        name = f"test-{secrets.token_hex(4)}"
        self.request("PUT", "/acl/policy", {"Name": name, "Rules": rules})
        made = self.request("PUT", "/acl/token", {"Policies": [{"Name": name}]})
        return str(made["SecretID"])

    def register(
        self,
        name: str,
        port: int,
        *,
        service_id: str = "",
        tags: Sequence[str] = (),
        address: str = HOST,
        status: str = "passing",
        meta: Mapping[str, str] | None = None,
    ) -> str:
        """Register a service with a check of `status` (passing, warning or critical); return its id."""
        service_id = service_id or f"{name}-{port}"
        body = {
            "Name": name,
            "ID": service_id,
            "Address": address,
            "Port": port,
            "Tags": list(tags),
            "Meta": dict(meta or {}),
            "Check": {"CheckID": f"check:{service_id}", "TTL": "1h", "Status": status},
        }
        self.request("PUT", "/agent/service/register", body)
        # Consul keeps an updated state over its restart, but not the one of the registration.
        self.set_status(service_id, status)
        return service_id

    def set_status(self, service_id: str, status: str) -> None:
        """Make the check of a registered service passing, warning or critical."""
        self.request("PUT", f"/agent/check/update/check:{service_id}", {"Status": status})

    def deregister(self, service_id: str) -> None:
        """Take a service away."""
        self.request("PUT", f"/agent/service/deregister/{service_id}")

    def let_jobs_in(self, nomad_url: str) -> None:
        """Trust what Nomad signs: its services may register, its tasks may read services and nodes."""
        rules = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'
        self.request("PUT", "/acl/policy", {"Name": "nomad-tasks", "Rules": rules})
        role = {"Name": "nomad-tasks-default", "Policies": [{"Name": "nomad-tasks"}]}
        self.request("PUT", "/acl/role", role)
        claims = {name: name for name in ("nomad_namespace", "nomad_job_id", "nomad_task", "nomad_service")}
        method = {
            "Name": "nomad-workloads",
            "Type": "jwt",
            "Config": {
                "JWKSURL": f"{nomad_url}/.well-known/jwks.json",
                "JWTSupportedAlgs": ["RS256"],
                "BoundAudiences": ["consul.io"],
                "ClaimMappings": claims,
            },
        }
        self.request("PUT", "/acl/auth-method", method)
        for kind, name, selector in (
            ("service", "${value.nomad_service}", '"nomad_service" in value'),
            ("role", "nomad-tasks-${value.nomad_namespace}", '"nomad_service" not in value'),
        ):
            rule = {"AuthMethod": "nomad-workloads", "BindType": kind, "BindName": name, "Selector": selector}
            self.request("PUT", "/acl/binding-rule", rule)

    def _is_ready(self) -> bool:
        """Whether a write goes through, which needs a leader that has set up its ACL."""
        reply = httpx.put(
            f"{self.url}/v1/kv/ready",
            content=b"yes",
            headers={"X-Consul-Token": self.token},
            timeout=5,
            trust_env=False,
        )
        return reply.status_code == 200


class NomadAgent(_Agent):
    """A Nomad server that is its own client, with raw_exec, and ACL on.

    Args:
        folder: Its configuration, data and log.
        consul: Where it registers services; None for no Consul.
        beside: A started server that it joins, as a server only; None for one alone.
        node: Its name.
    """

    def __init__(
        self,
        folder: Path,
        consul: ConsulAgent | None = None,
        beside: NomadAgent | None = None,
        node: str = "nomad-test",
    ) -> None:
        self._ports = dict(zip(("http", "rpc", "serf"), free_ports(3), strict=True))
        super().__init__("nomad", folder, self._ports["http"])
        self.token = beside.token if beside else ""
        """The management token, once it was started."""
        self.node = node
        self._consul = consul
        self._beside = beside

    def start(self) -> Self:
        """Start it and wait until its client is ready for work, or until it follows the one that it joins.

        Raises:
            RuntimeError: It ended, or was not ready in time; with the end of its log.
        """
        server: dict[str, Any] = {"enabled": True}
        if self._beside is None:
            server["bootstrap_expect"] = 1
        else:
            server["server_join"] = {"retry_join": [f"{HOST}:{self._beside._ports['serf']}"]}
        consul: dict[str, Any] = {
            "client_auto_join": False,
            "server_auto_join": False,
            "auto_advertise": False,
        }
        if self._consul is not None:
            identity = {"aud": ["consul.io"], "ttl": "1h"}
            consul |= {"address": f"{HOST}:{self._consul.port}", "token": self._consul.token}
            consul |= {"service_identity": identity, "task_identity": identity}
        config = {
            "name": self.node,
            "datacenter": "twin",
            "data_dir": str(self.folder / "data"),
            "bind_addr": HOST,
            "advertise": {name: HOST for name in self._ports},
            "ports": self._ports,
            "server": server,
            "client": {
                "enabled": self._beside is None,
                "network_interface": "lo",
                "options": {"fingerprint.denylist": CLOUD_PROBES},
            },
            "plugin": [{"raw_exec": [{"config": [{"enabled": True}]}]}],
            "consul": consul,
            "acl": {"enabled": True},
            "disable_update_check": True,
        }
        self._launch(["-config"], config)
        self._wait(self._has_token, "leader")
        if self._beside is None:
            self._wait(self._has_ready_node, "ready node")
        if self._consul is not None:
            self._consul.let_jobs_in(self.url)
        return self

    def stop(self) -> None:
        """End its jobs, itself, and whatever it started."""
        if self._process is not None and self._process.poll() is None and self.token:
            with contextlib.suppress(httpx.TransportError, AssertionError):
                for job in self.request("GET", "/jobs"):
                    self.request("DELETE", f"/job/{job['ID']}?purge=true")
        super().stop()

    def request(self, method: str, path: str, body: object = None, *, token: str | None = None) -> Any:
        """Ask `path` (below /v1) and return its JSON, or None for an empty answer.

        Raises:
            AssertionError: It did not answer 200.
        """
        reply = self._send(method, path, body, self.token if token is None else token)
        assert reply.status_code == 200, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json() if reply.text.strip() else None

    def wait_running(self, job: str) -> None:
        """Wait until an allocation of `job` runs.

        Raises:
            RuntimeError: None does in time; with the end of Nomad's log.
        """

        def runs() -> bool:
            allocations = self.request("GET", f"/job/{job}/allocations")
            return any(allocation["ClientStatus"] == "running" for allocation in allocations)

        self._wait(runs, f"running allocation of {job}")

    def make_token(
        self, rules: str = 'namespace "default" { policy = "read" } node { policy = "read" }'
    ) -> str:
        """Return a new token with a policy of `rules` (HCL); by default it reads jobs and nodes."""
        name = f"test-{secrets.token_hex(4)}"
        self.request("POST", f"/acl/policy/{name}", {"Name": name, "Rules": rules})
        made = self.request("POST", "/acl/token", {"Name": name, "Type": "client", "Policies": [name]})
        return str(made["SecretID"])

    def _has_token(self) -> bool:
        if self.token:
            return self._send("GET", "/status/leader", None, self.token).text.strip('"\n ') != ""
        token = str(uuid.uuid4())
        reply = self._send("POST", "/acl/bootstrap", {"BootstrapSecret": token}, "")
        if reply.status_code == 200:
            self.token = token
        return bool(self.token)

    def _has_ready_node(self) -> bool:
        reply = self._send("GET", "/nodes", None, self.token)
        return reply.status_code == 200 and any(node["Status"] == "ready" for node in reply.json())

    def _send(self, method: str, path: str, body: object, token: str) -> httpx.Response:
        headers = {"X-Nomad-Token": token} if token else {}
        return httpx.request(
            method, f"{self.url}/v1{path}", json=body, headers=headers, timeout=10, trust_env=False
        )


def _kill_below(folder: Path) -> None:
    """Kill what works in `folder` or names it on its command line, such as a job's tasks, and wait for it."""
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    while left := [pid for pid in _processes() if _is_of(pid, folder)]:
        assert time.monotonic() < deadline_s, f"processes {left} of {folder} do not die"
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_S)


def _unmount_below(folder: Path) -> None:
    """Unmount what a task had for its secrets: a Nomad that was killed leaves it."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in sorted((place for place in mounts if place.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", place], check=True, timeout=STOP_TIMEOUT_S)


def _is_of(pid: int, folder: Path) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        place = Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        return False
    return pid != os.getpid() and (f"{folder}/" in words or place.is_relative_to(folder))


def _processes() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            yield int(entry.name)
