"""A TLS tunnel from an expert's server to the RPC backends that lend it memory.

It owns one HAProxy for as long as the workers are the same: it listens on loopback, a port for each worker,
and carries the bytes by TLS to the one in front of the worker. Both show the certificate that was made for
this expert alone and accept no other, because llama.cpp's RPC has neither a password nor a cipher. The other
half is in `ansible/jobs/llamacpp-rpc.nomad.hcl`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipecatapp.adapters.llm.server_process import HOST, free_ports
from pipecatapp.errors import AdapterError
from pipecatapp.ports import Endpoint
from pipecatapp.settings import child_environment

BUFFER_BYTES = 262144
"""What HAProxy reads at once. A token's probabilities are 600 KB (Qwen's 152 000 words); its own 16 KB cost a
tenth of the speed."""
CIPHER = "TLS_CHACHA20_POLY1305_SHA256"
"""A CPU without instructions for AES does this four times as quickly as TLS's first choice, AES-256 (`openssl
speed` with those and AVX masked: 1230 and 280 MB/s); with them they are alike (5160 and 4960 MB/s)."""
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
POLL_S = 0.05
TCP_USER_TIMEOUT_S = 30
"""How long a machine may leave the kernel's questions unanswered (seconds): one that lost its power or its
cable breaks no connection. It must be longer than a worker's disk takes to write a tensor, 500 MB at most:
it takes nothing in then, which Linux counts too (tcp(7), TCP_USER_TIMEOUT). The job's file has the same."""
KEEPALIVE_INTERVAL_S = 5
"""How often the kernel asks a silent one (seconds)."""
REACH_TIMEOUT_S = 3.0
"""Longest wait for a worker's side of a handshake (seconds)."""
CLOSE_DETECT_S = 0.3
"""A worker whose program is gone closes a connection at once; one that works keeps it (seconds)."""


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """The certificate of one expert, and its key.

    Args:
        certificate: PEM file; also the only one that is accepted.
        bundle: PEM file of certificate and key, as HAProxy wants them.
    """

    certificate: Path
    bundle: Path


class RpcTunnel:
    """A running HAProxy between this node and some workers.

    Args:
        workers: Where they are.
        identity: The expert's certificate.
        folder: Where the settings are written.
    """

    def __init__(self, workers: Sequence[Endpoint], identity: TlsIdentity, folder: Path) -> None:
        self._workers = tuple(workers)
        self._identity = identity
        self._settings = folder / "tunnel.cfg"
        self._ports: tuple[int, ...] = ()
        self._child: asyncio.subprocess.Process | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where each worker is reached now, in the order given."""
        return tuple(f"{HOST}:{port}" for port in self._ports)

    async def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            AdapterError: There is no HAProxy, or it ended.
        """
        program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
        if program is None:
            raise AdapterError("no-haproxy", "haproxy is not installed", hint="apt-get install haproxy")
        self._ports = free_ports(len(self._workers))
        self._settings.write_text(self._text(), encoding="utf-8")
        self._child = await asyncio.create_subprocess_exec(
            program, "-db", "-f", str(self._settings),
            stdin=asyncio.subprocess.DEVNULL, env=child_environment(), process_group=0,
        )  # fmt: skip
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not await self._listens():
                    if self._child.returncode is not None:
                        raise AdapterError("tunnel-failed", "haproxy ended; its log is above")
                    await asyncio.sleep(POLL_S)
        except TimeoutError as exc:
            await self.close()
            raise AdapterError("tunnel-failed", "haproxy does not listen") from exc

    async def close(self) -> None:
        """End it."""
        child, self._child = self._child, None
        if child is None or child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(HOST, self._ports[-1])
        except OSError:
            return False
        writer.close()
        return True

    def _text(self) -> str:
        lines = [
            "global",
            "  nbthread 1",
            f"  tune.bufsize {BUFFER_BYTES}",
            "defaults",
            "  mode tcp",
            "  retries 0",
            "  timeout connect 5s",
            # A computation or the loading of a layer may be silent for long.
            "  timeout client 1h",
            "  timeout server 1h",
            "  option srvtcpka",
            f"  srvtcpka-idle {KEEPALIVE_INTERVAL_S}s",
            f"  srvtcpka-intvl {KEEPALIVE_INTERVAL_S}s",
        ]
        tls = f"ssl ssl-min-ver TLSv1.3 ciphersuites {CIPHER}"
        identity = f"crt {self._identity.bundle} ca-file {self._identity.certificate} verify required"
        for number, (port, worker) in enumerate(zip(self._ports, self._workers, strict=True)):
            lines += [
                f"listen worker{number}",
                f"  bind {HOST}:{port}",
                f"  server {number} {worker.address}:{worker.port}"
                f" tcp-ut {TCP_USER_TIMEOUT_S}s {tls} {identity}",
            ]
        return "\n".join(lines) + "\n"


async def reaches(worker: Endpoint, identity: TlsIdentity) -> bool:
    """Whether a worker shows the expert's certificate, takes ours, and has its program behind it."""
    context = ssl.create_default_context(cafile=str(identity.certificate))
    # The certificate is this expert's own, and no other is accepted; it names no machine.
    context.check_hostname = False
    context.load_cert_chain(identity.bundle)
    try:
        async with asyncio.timeout(REACH_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(worker.address, worker.port, ssl=context)
    except (OSError, TimeoutError):
        return False
    try:
        async with asyncio.timeout(CLOSE_DETECT_S):
            await reader.read(1)
    except TimeoutError:
        return True
    except OSError:
        return False
    finally:
        writer.close()
    return False
