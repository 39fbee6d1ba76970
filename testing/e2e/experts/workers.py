"""Workers that lend an expert memory, as the job runs them: the RPC server, and the door in front of it.

It owns their processes; the door's settings are those of the job's file.
"""

from __future__ import annotations

import getpass
import re
import subprocess
import textwrap
import time
from pathlib import Path

from pipecatapp.adapters.llm_server import HOST, free_ports
from pipecatapp.adapters.rpc_tunnel import Pair
from pipecatapp.experts.names import RPC_PROVIDER
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

    def __init__(self, number: int, pair: Pair, folder: Path) -> None:
        self.inner, self.port = free_port(), free_port()
        self._folder, self._pair, self._number = folder, pair, number
        command = [
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
        self.door = subprocess.Popen(["/usr/sbin/haproxy", "-db", "-f", str(settings)])
        end_s = time.monotonic() + START_TIMEOUT_S
        while not all(is_open(port) for port in (self.inner, self.port)):
            assert time.monotonic() < end_s, "a worker does not listen"
            time.sleep(0.02)

    def _door(self) -> str:
        """The settings in the job's file, with Nomad's values filled in."""
        text = (ROOT / "ansible/jobs/llamacpp-rpc.nomad.hcl").read_text(encoding="utf-8")
        found = re.search(r"data\s+= <<-EOT\n(?P<door>.*?)EOT", text, re.DOTALL)
        assert found is not None
        values = {
            "NOMAD_IP_rpc": HOST,
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
        return Endpoint(RPC_PROVIDER, f"w{self._number}", f"node{self._number}", HOST, self.port, tags)

    def resident_mb(self) -> int:
        return int(resident_mb(self.server.pid))

    def close(self) -> None:
        for process in (self.door, self.server):
            process.kill()
            process.wait()


def make_pair(folder: Path) -> Pair:
    certificate, key, combined = folder / "certificate.pem", folder / "key.pem", folder / "combined.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=rpc.creative", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    combined.write_text(certificate.read_text() + key.read_text(), encoding="ascii")
    return Pair(certificate, combined)
