"""Workers that lend an expert memory, as the job runs them: the RPC server, and the door in front of it.

It owns their processes; the door's settings are those of the job's file.
"""

from __future__ import annotations

import getpass
import os
import re
import subprocess
import textwrap
import time
from pathlib import Path

from pipecatapp.adapters.llm.rpc_tunnel import TlsIdentity
from pipecatapp.adapters.llm.server_process import HOST, free_ports
from pipecatapp.experts.service_names import RPC_PROVIDER
from pipecatapp.ports import Endpoint
from testing.e2e.engine_models import llama_binary
from testing.e2e.processes import is_open, resident_mb

ROOT = Path(__file__).resolve().parents[3]
LENT_MB = 320
"""What each worker says that it lends: enough for the whole of SmolLM2 135M (MiB)."""


START_TIMEOUT_S = 20.0


def free_port() -> int:
    return free_ports(1)[0]


class Worker:
    """A worker as the job runs one: the RPC server on loopback, and HAProxy in front of it."""

    def __init__(
        self,
        number: int,
        identity: TlsIdentity,
        folder: Path,
        address: str = HOST,
        within: tuple[str, ...] = (),
    ) -> None:
        """Start it at an address, `within` being the words before each of its commands."""
        self.inner, self.port = free_port(), free_port()
        self._folder, self._identity, self._number, self._address = folder, identity, number, address
        command = [
            *within,
            str(llama_binary("ggml-rpc-server")),
            "--host",
            HOST,
            "--port",
            str(self.inner),
            "--threads",
            "1",
        ]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.server = subprocess.Popen(command, **quiet)  # type: ignore[call-overload]
        settings = folder / f"door{number}.cfg"
        settings.write_text(self._door(), encoding="utf-8")
        self.door = subprocess.Popen([*within, "/usr/sbin/haproxy", "-db", "-f", str(settings)])
        end_s = time.monotonic() + START_TIMEOUT_S
        try:
            while not self._listens(within):
                assert time.monotonic() < end_s, "a worker does not listen"
                time.sleep(0.02)
        except BaseException:
            self.close()
            raise

    def _listens(self, within: tuple[str, ...]) -> bool:
        if not within:
            return is_open(self.inner) and is_open(self.port)
        listening = subprocess.run([*within, "ss", "-Htln"], capture_output=True, text=True, check=True)
        return all(f":{port} " in listening.stdout for port in (self.inner, self.port))

    def _door(self) -> str:
        """The settings in the job's file, with Nomad's values filled in."""
        text = (ROOT / "ansible/jobs/llamacpp-rpc.nomad.hcl").read_text(encoding="utf-8")
        found = re.search(r"data\s+= <<-EOT\n(?P<door>.*?)EOT", text, re.DOTALL)
        assert found is not None
        values = {
            "NOMAD_IP_rpc": self._address,
            "NOMAD_PORT_rpc": str(self.port),
            "NOMAD_PORT_inner": str(self.inner),
            "NOMAD_SECRETS_DIR": str(self._folder),
        }
        return re.sub(
            r"\{\{ env \"(\w+)\" \}\}",
            lambda match: values[match[1]],
            textwrap.dedent(found["door"]).replace("${var.user}", getpass.getuser()).rstrip() + "\n",
        )

    @property
    def endpoint(self) -> Endpoint:
        tags = ("pool=creative", f"memory-mb={LENT_MB}")
        return Endpoint(
            service=RPC_PROVIDER,
            id=f"w{self._number}",
            node=f"node{self._number}",
            address=self._address,
            port=self.port,
            tags=tags,
        )

    def resident_mb(self) -> int:
        return int(resident_mb(self.server.pid))

    def close(self) -> None:
        for process in (self.door, self.server):
            process.kill()
            process.wait()


class Cable:
    """A network of its own for a worker, with a cable to ours that can be cut; only root can make one."""

    address = "198.51.100.2"
    """Of the worker (RFC 5737: for documentation, so nobody's)."""

    def __init__(self) -> None:
        self._name = f"lend{os.getpid()}"
        self.within = ("nsenter", f"--net=/run/netns/{self._name}")
        near, far = f"{self._name}n", f"{self._name}f"
        for command in (
            f"ip netns add {self._name}",
            f"ip link add {near} type veth peer name {far} netns {self._name}",
            f"ip addr add 198.51.100.1/30 dev {near}",
            f"ip link set {near} up",
            f"ip -n {self._name} addr add {self.address}/30 dev {far}",
            f"ip -n {self._name} link set {far} up",
            f"ip -n {self._name} link set lo up",
        ):
            subprocess.run(command.split(), check=True)
        self._far = far

    def cut(self) -> None:
        """Lose every packet from now on, and tell neither side."""
        rules = f"""table inet cut {{
            chain in {{ type filter hook input priority 0; iifname "{self._far}" drop; }}
            chain out {{ type filter hook output priority 0; oifname "{self._far}" drop; }}
        }}"""
        subprocess.run([*self.within, "nft", "-f", "-"], input=rules, text=True, check=True)

    def is_talking_to(self, port: int) -> bool:
        """Whether there is a connection to a port inside."""
        command = [*self.within, "ss", "-Htn", "state", "established", f"( sport = :{port} )"]
        return bool(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    def close(self) -> None:
        subprocess.run(["ip", "link", "del", f"{self._name}n"], check=False)
        subprocess.run(["ip", "netns", "del", self._name], check=False)


def make_identity(folder: Path) -> TlsIdentity:
    certificate, key, bundle = folder / "certificate.pem", folder / "key.pem", folder / "combined.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=rpc.creative", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    bundle.write_text(certificate.read_text() + key.read_text(), encoding="ascii")
    return TlsIdentity(certificate, bundle)
