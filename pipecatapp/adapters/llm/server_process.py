"""A supervised LLM server process, on the loopback address unless told.

It owns the child process: its command, start, readiness, restart and end; `server_states` draws where it may
stand. Talking to it is `openai_chat`'s business; which engine runs is decided in `app`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from pipecatapp.adapters.host.child_trial import guard
from pipecatapp.adapters.llm.server_states import (
    Event,
    State,
    after,
    failures_after,
    restart_pause_s,
)
from pipecatapp.errors import AdapterError, AgentError
from pipecatapp.exit_status import describe_exit, is_illegal_instruction
from pipecatapp.settings import child_environment

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
WAITING_VARIABLES = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT")
"""OpenMP settings that suit a media process and halve an LLM server's speed when inherited."""
PROMPT_CACHE_MIB = 256
"""Memory for prompts of conversations without a slot (mebibytes); llama.cpp's default is 8192."""
BATCH_TOKENS = 512
"""Most tokens of prompts that are read in one go. llama.cpp's default is 2048, of which it computes 512 at a
time all the same (`--ubatch-size`); but a server hands out no token of a neighbour's answer in between
(tools/server/server-context.cpp, `decode`), which on an old desktop is half a minute."""
POLL_S = 0.1
"""Time between two looks at /health (seconds)."""
STOP_TIMEOUT_S = 5.0
"""Time to end by itself before it is killed (seconds)."""
TAIL_BYTES = 16_384
"""How much of the server's log is kept, in memory."""
TAIL_LINES = 12
"""How many of its last lines an error carries."""

CommandBuilder = Callable[[int], Sequence[str]]
"""Port to argument list."""


def xllamacpp_command(
    model: Path, *, threads: int, context: int, slots: int, python: str = sys.executable
) -> CommandBuilder:
    """Return the command of the prebuilt engine.

    Args:
        model: GGUF file.
        threads: CPU threads, > 0.
        context: Tokens of each slot, > 0.
        slots: Prompt caches, > 0.
        python: Interpreter that has `xllamacpp`.
    """

    def build(port: int) -> Sequence[str]:
        return [
            python, "-m", "pipecatapp.adapters.llm.xllamacpp_server",
            "--model", str(model), "--port", str(port), "--threads", str(threads),
            "--context", str(context), "--slots", str(slots), "--parent", str(os.getpid()),
        ]  # fmt: skip

    return build


def llama_server_command(
    binary: Path,
    model: Path,
    *,
    threads: int,
    context: int,
    slots: int,
    host: str = HOST,
    alias: str = "",
    more: Sequence[str] = (),
) -> CommandBuilder:
    """Return the command of a built `llama-server`.

    Args:
        binary: The program.
        model: GGUF file.
        threads: CPU threads, > 0.
        context: Tokens of each slot, > 0.
        slots: Prompt caches, > 0.
        host: Address to listen on.
        alias: What answers call the model; "" for its file's name.
        more: Further arguments.
    """

    def build(port: int) -> Sequence[str]:
        return [
            str(binary), "--model", str(model), "--alias", alias or model.stem, "--host", host,
            "--port", str(port), "--threads", str(threads), "--ctx-size", str(context * slots),
            "--parallel", str(slots), "--no-kv-unified", "--cache-ram", str(PROMPT_CACHE_MIB),
            "--batch-size", str(BATCH_TOKENS), "--jinja", "--offline", *more,
        ]  # fmt: skip

    return build


class LlmServerProcess:
    """A child server that is kept alive.

    Args:
        build_command: Makes the argument list for a port.
        name: What a person calls it.
        port: Loopback port; 0 takes a free one, which then stays the same over restarts.
        nice: Niceness, 0 to 19.
        ready_timeout_s: Longest wait for the model to load (seconds, > 0).
        host: Address that the command listens on.
        api_key: Key that the server wants; "" makes one that only this process has.
        is_kept: A server that ends is started again; else who started it waits for `ended`.
        on_illegal: Called when a server that is kept ended at an instruction that the CPU does not execute,
            before it is started again by what `build_command` says then.
    """

    def __init__(
        self,
        build_command: CommandBuilder,
        *,
        name: str = "llama-server",
        port: int = 0,
        nice: int = 10,
        ready_timeout_s: float = 180.0,
        host: str = HOST,
        api_key: str = "",
        is_kept: bool = True,
        on_illegal: Callable[[str], None] | None = None,
    ) -> None:
        self._on_illegal = on_illegal
        self._host = host
        self._is_kept = is_kept
        self._build_command = build_command
        self._name = name
        self._port = port or free_ports(1)[0]
        self._nice = nice
        self._ready_timeout_s = ready_timeout_s
        self._api_key = api_key or secrets.token_urlsafe(24)
        self._child: asyncio.subprocess.Process | None = None
        self._supervision: asyncio.Task[None] | None = None
        self._at = State.STOPPED
        self._ready = asyncio.Event()
        self._log = bytearray()
        self._restarts = 0

    @property
    def base_url(self) -> str:
        """Where the server's OpenAI API is."""
        return f"http://{self._host}:{self._port}/v1"

    @property
    def api_key(self) -> str:
        """Key that the server wants; one made for this process no other user and no web page has."""
        return self._api_key

    @property
    def is_ready(self) -> bool:
        """Whether the server answers now."""
        return self._at is State.READY

    @property
    def pid(self) -> int:
        """The child's process id; 0 when there is none."""
        return self._child.pid if self._child and self._child.returncode is None else 0

    @property
    def restarts(self) -> int:
        """How often it had to be started again."""
        return self._restarts

    @property
    def is_cpu_at_fault(self) -> bool:
        """Whether it ended at an instruction that the CPU, or its system, does not execute."""
        return self._child is not None and is_illegal_instruction(self._child.returncode)

    def log_tail(self) -> str:
        """Return the last lines the server wrote."""
        return "\n".join(self._log.decode("utf-8", errors="replace").splitlines()[-TAIL_LINES:])

    async def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            AdapterError: It ended, or was not ready in time; the message ends with its log.
        """
        try:
            reader = await self._launch()
            await self._wait_ready()
        except BaseException:
            await self._end_child()
            self._on(Event.CLOSED)
            raise
        if self._is_kept:
            self._supervision = asyncio.create_task(self._keep(reader), name=f"{self._name} keeper")

    async def ended(self) -> str:
        """Wait until the child ends by itself; return how, in words. Of no use for a server that is kept."""
        assert self._child is not None
        code = await self._child.wait()
        self._on(Event.ENDED)
        await asyncio.sleep(POLL_S)  # lets the last of the log arrive
        return describe_exit(code)

    async def wait_ready(self, *, timeout_s: float) -> None:
        """Wait until the server answers, for instance after it was killed.

        Raises:
            AdapterError: It did not in `timeout_s` seconds.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError as exc:
            raise self._not_ready(f"is not ready after {timeout_s:g} seconds") from exc

    async def close(self) -> None:
        """End the server: politely, then by force."""
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.gather(self._supervision, return_exceptions=True)
            self._supervision = None
        await self._end_child()
        self._on(Event.CLOSED)

    def _on(self, event: Event) -> None:
        self._at = after(self._at, event)
        if self._at is State.READY:
            self._ready.set()
        else:
            self._ready.clear()

    async def _launch(self) -> asyncio.Task[None]:
        """Start the child and return the task that reads its log to the end."""
        command = [*guard(), *self._build_command(self._port)]
        environment = child_environment(without=WAITING_VARIABLES) | {
            "LLAMA_API_KEY": self._api_key,
            # One that gives up is to end at once; it would have a debugger tell where, for seconds.
            "GGML_NO_BACKTRACE": "1",
        }
        try:
            self._child = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=environment,
                # Its own group, so that all of it can be ended, but our session: a new one would be a
                # scheduling group of its own (sched(7), autogroup), inside which niceness means nothing.
                process_group=0,
            )
        except OSError as exc:
            raise AdapterError("llm-server-failed", f"{self._name} cannot be run: {exc.strerror}") from exc
        with contextlib.suppress(OSError):
            # Before the child has made its threads, which inherit it.
            os.setpriority(os.PRIO_PROCESS, self._child.pid, self._nice)
        self._on(Event.LAUNCHED)
        return asyncio.create_task(self._read_log(self._child), name=f"{self._name} log")

    async def _read_log(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdout is not None
        while chunk := await child.stdout.read(4096):
            self._log += chunk
            del self._log[:-TAIL_BYTES]

    async def _wait_ready(self) -> None:
        child = self._child
        assert child is not None
        try:
            async with asyncio.timeout(self._ready_timeout_s), httpx.AsyncClient(trust_env=False) as client:
                while child.returncode is None:
                    if await self._answers(client):
                        self._on(Event.ANSWERED)
                        return
                    await asyncio.sleep(POLL_S)
        except TimeoutError as exc:
            raise self._not_ready(f"was not ready in {self._ready_timeout_s:g} seconds") from exc
        await asyncio.sleep(POLL_S)  # lets the last of the log arrive
        raise self._not_ready(f"ended at once ({describe_exit(child.returncode)})")

    async def _answers(self, client: httpx.AsyncClient) -> bool:
        try:
            reply = await client.get(f"http://{self._host}:{self._port}/health", timeout=2.0)
        except httpx.HTTPError:
            return False
        return reply.status_code == httpx.codes.OK

    async def _keep(self, reader: asyncio.Task[None]) -> None:
        """Start the server again whenever it ends."""
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            child = self._child
            assert child is not None
            started_s = loop.time()
            code = await child.wait()
            self._on(Event.ENDED)
            await reader
            failures = failures_after(failures, loop.time() - started_s)
            pause_s = restart_pause_s(failures)
            log.warning(
                "the LLM server ended and is started again",
                extra={"server": self._name, "ending": describe_exit(code), "backoff_s": pause_s},
            )
            if is_illegal_instruction(code) and self._on_illegal is not None:
                await self._tell_illegal(self._on_illegal, describe_exit(code))
            await asyncio.sleep(pause_s)
            self._restarts += 1
            reader = await self._relaunch(reader)

    async def _tell_illegal(self, on_illegal: Callable[[str], None], how: str) -> None:
        try:
            await asyncio.to_thread(on_illegal, how)
        except AgentError as exc:
            log.error("the LLM server has no engine", extra={"server": self._name, "reason": exc.message})

    async def _relaunch(self, reader: asyncio.Task[None]) -> asyncio.Task[None]:
        try:
            reader = await self._launch()
            await self._wait_ready()
        except AdapterError as exc:
            log.error("the LLM server does not start", extra={"server": self._name, "reason": exc.message})
            await self._end_child()
        return reader

    async def _end_child(self) -> None:
        self._on(Event.ENDED)
        child = self._child
        if child is None:
            return
        if child.returncode is None:
            _signal_group(child.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await child.wait()
            except TimeoutError:
                _signal_group(child.pid, signal.SIGKILL)
                await child.wait()

    def _not_ready(self, what: str) -> AdapterError:
        tail = self.log_tail()
        ending = f"; its last words:\n{tail}" if tail else "; it wrote nothing"
        return AdapterError("llm-server-failed", f"{self._name} {what}{ending}", retryable=True)


def free_ports(count: int) -> tuple[int, ...]:
    """Return that many loopback ports that nobody uses."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return tuple(int(probe.getsockname()[1]) for probe in probes)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
