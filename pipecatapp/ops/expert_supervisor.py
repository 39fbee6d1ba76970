"""Supervises one expert on one node: serves the best model of its list that works here now.

It owns the order of things: look at the file, at the room there is, load, ask a real prompt, serve; and when
the server ends or the workers that lend memory change, begin anew. Where it may stand is drawn in
`supervisor_states`; what fits is `experts.model_fit`'s.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipecatapp.adapters.host.cpu import CpuInfo, read_cpu
from pipecatapp.adapters.llm.llama_status import LlamaStatus
from pipecatapp.adapters.llm.llama_variants import LlamaVariants
from pipecatapp.adapters.llm.rpc_tunnel import RpcTunnel, TlsIdentity, reaches
from pipecatapp.adapters.llm.server_process import CommandBuilder, LlmServerProcess, llama_server_command
from pipecatapp.artifacts.disk import sha256_of
from pipecatapp.errors import AdapterError, ConfigError
from pipecatapp.experts.model_fit import (
    MemoryBudget,
    ModelSpec,
    Speed,
    SpeedFloor,
    fit_error,
    speed_error,
    tensor_split,
)
from pipecatapp.experts.service_names import RPC_PROVIDER, pool_of, rpc_memory_mb
from pipecatapp.files import write_atomic
from pipecatapp.ops.supervisor_states import Event, State, Verdict, after, verdict
from pipecatapp.ports import Endpoint, ServiceDirectory

log = logging.getLogger(__name__)

GGUF_MAGIC = b"GGUF"
"""How a model's file begins (ggml-org/ggml, docs/gguf.md)."""
LOAD_TIMEOUT_S = 600.0
"""Longest load: 4 GB that come over gigabit Ethernet from a slow disk (seconds)."""
TRIAL_TIMEOUT_S = 120.0
"""Longest trial: fifty tokens read and sixteen written at 0.6 tokens/s (seconds)."""
WORKERS_TIMEOUT_S = 60.0
"""How long it waits at its start for the workers that were ordered (seconds)."""
IDLE_TIMEOUT_S = 120.0
"""How long workers that changed wait for the answer that is being given (seconds)."""
SETTLE_S = 1.0
"""Changes of workers that come together are taken together (seconds)."""
POLL_S = 0.5
RETRY_S = 5.0
"""Pause after a list of which nothing worked (seconds)."""


class ListedModel(BaseModel):
    """A model of the list, as the job's file writes it (see `ModelSpec`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    filename: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    memory_mb: int = Field(gt=0)
    requires_cpu: tuple[str, ...] = ()
    token_bytes: int = Field(0, ge=0)

    def candidate(self, tokens: int = 0) -> ModelSpec:
        """Return it as the rules have it, with so much context in all."""
        found = ModelSpec(
            name=self.name,
            filename=self.filename,
            sha256=self.sha256,
            memory_mb=self.memory_mb,
            requires_cpu=self.requires_cpu,
            token_bytes=self.token_bytes,
        )
        return found.with_context(tokens)


class ExpertOrder(BaseModel):
    """What the job wants of one expert; the file `twin expert serve` is given.

    Args:
        expert: Such as `creative`.
        models: In order of preference; the last one is served however slow it is.
        models_dir: Folder of their files.
        program: `llama-server`.
        host: Address to listen on.
        port: TCP port.
        memory_mb: What the server may take on this node (mebibytes); 0 for what is free.
        workers: How many workers lend memory; 0 for none.
        folder: Where it may write, keys too.
        context: Tokens of each slot.
        slots: Prompt caches, one a conversation.
        threads: CPU threads; 0 takes all cores but one.
        decode: Least tokens a second of a model that people listen to; 0 for any.
        first_word_s: Longest wait for its first word (seconds); 0 for any.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    expert: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    models: tuple[ListedModel, ...] = Field(min_length=1)
    models_dir: Path
    program: Path
    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    memory_mb: int = Field(0, ge=0)
    workers: int = Field(0, ge=0)
    folder: Path
    context: int = Field(4096, ge=512)
    slots: int = Field(2, ge=1, le=32)
    threads: int = Field(0, ge=0, le=256)
    decode: float = Field(0.0, ge=0)
    first_word_s: float = Field(0.0, ge=0)


@dataclass(frozen=True, slots=True)
class ExpertSecrets:
    """What only this expert's jobs know.

    Args:
        key: What callers show.
        certificate: Of the expert and its workers (PEM); "" without workers.
        certificate_key: Its key (PEM).
    """

    key: str
    certificate: str = ""
    certificate_key: str = ""

    def write_identity(self, folder: Path) -> TlsIdentity:
        """Write the certificate to files that nobody else can read."""
        identity = TlsIdentity(folder / "certificate.pem", folder / "combined.pem")
        texts = {
            identity.certificate: self.certificate,
            identity.bundle: f"{self.certificate}\n{self.certificate_key}",
        }
        for path, text in texts.items():
            write_atomic(path, text.encode())
        return identity


def read_order(path: Path) -> ExpertOrder:
    """Read an expert's order.

    Raises:
        ConfigError: It cannot be read, or is none; the message says where.
    """
    try:
        return ExpertOrder.model_validate_json(path.read_bytes())
    except OSError as exc:
        raise ConfigError("expert-order", f"{path} cannot be read: {exc.strerror}") from exc
    except ValidationError as exc:
        faults = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in exc.errors())
        raise ConfigError("expert-order", f"{path}: {faults}") from exc


def verify_model_file(model: ModelSpec, models_dir: Path) -> str:
    """Return why a model's file cannot be served, in words; "" when it is right. Reads all of it."""
    path = models_dir / model.filename
    try:
        with path.open("rb") as file:
            is_gguf = file.read(len(GGUF_MAGIC)) == GGUF_MAGIC
        if not is_gguf:
            return f"{path} is no GGUF file"
        digest = sha256_of(path)
    except FileNotFoundError:
        return f"{path} is not on this node"
    except OSError as exc:
        return f"{path} cannot be read: {exc.strerror}"
    return "" if digest == model.sha256 else f"the sha256 of {path} is wrong"


def server_command(
    order: ExpertOrder, model: ModelSpec, cores: int, addresses: Sequence[str], split: str
) -> CommandBuilder:
    """Return the command that serves a model, split over workers where there are addresses."""
    more = ["--slots"]
    if addresses:
        # All layers go to the workers, in the proportion of the memory that they lend.
        more += ["--rpc", ",".join(addresses), "--gpu-layers", "99", "--tensor-split", split, "--fit", "off"]
    return llama_server_command(
        order.program,
        order.models_dir / model.filename,
        threads=order.threads or max(1, cores - 1),
        context=order.context,
        slots=order.slots,
        host=order.host,
        alias=model.name,
        more=more,
    )


@dataclass(slots=True, kw_only=True)
class RunningModel:
    """A model that works.

    Args:
        model: Which.
        server: Its process.
        tunnel: The way to its workers, or None.
        workers: Who they are.
        since_s: When it began to serve (seconds, of the loop's clock).
    """

    model: ModelSpec
    server: LlmServerProcess
    tunnel: RpcTunnel | None
    workers: tuple[Endpoint, ...]
    since_s: float

    async def close(self) -> None:
        """End it."""
        await self.server.close()
        if self.tunnel is not None:
            await self.tunnel.close()


class CpuFaultError(AdapterError):
    """A server ended at an instruction that this CPU, or its system, does not execute."""


class ExpertSupervisor:
    """Keeps an expert served.

    Args:
        order: What is wanted.
        secrets: What only its jobs know.
        directory: Where workers are found; None without workers.
        cpu: Reads this node's CPU and memory, each time anew.
        variants: Finds the program as this CPU can run it; None takes the one of the order as it is.
    """

    def __init__(
        self,
        order: ExpertOrder,
        secrets: ExpertSecrets,
        directory: ServiceDirectory | None = None,
        cpu: Callable[[], CpuInfo] = read_cpu,
        variants: LlamaVariants | None = None,
    ) -> None:
        self._variants = variants
        self._order = order
        self._directory = directory
        self._cpu = cpu
        self._key = secrets.key
        self._identity = secrets.write_identity(order.folder)
        self._floor = SpeedFloor(order.decode, order.first_word_s)
        self._failed: set[str] = set()
        self._at = State.GATHERING
        self._served: RunningModel | None = None

    @property
    def served(self) -> RunningModel | None:
        """What is served now; None while a model is being looked for."""
        return self._served

    async def run(self) -> None:
        """Serve until cancelled."""
        workers = await self._first_workers()
        self._on(Event.GATHERED)
        try:
            while True:
                self._served = await self._first_that_works(workers)
                self._on(Event.WORKS if self._served else Event.EXHAUSTED)
                if self._served is None:
                    log.error("No model of the list works here; trying again", extra={"pause_s": RETRY_S})
                    self._failed.clear()
                    await asyncio.sleep(RETRY_S)
                    self._on(Event.RESTED)
                else:
                    await self._until_it_must_change(self._served)
                    await self._end()
                workers = await self._workers_that_answer()
        finally:
            await self._end()

    def _on(self, event: Event) -> None:
        self._at = after(self._at, event)

    async def _end(self) -> None:
        served, self._served = self._served, None
        if served is not None:
            await served.close()

    async def _first_that_works(self, workers: tuple[Endpoint, ...]) -> RunningModel | None:
        last = self._order.models[-1]
        for listed in self._order.models:
            model = listed.candidate(self._order.context * self._order.slots)
            # Split first; a list that fits on no workers may still hold a model for this node alone.
            for lent in (workers, ()) if workers else ((),):
                where = f"{len(lent)} workers" if lent else "this node"
                # Twice when the CPU is at fault and not the model: its program has been tried anew by then.
                for _ in range(2):
                    try:
                        return await self._try(model, lent, is_last=listed is last)
                    except AdapterError as exc:
                        log.warning(
                            "A model is not served",
                            extra={"model": model.name, "where": where, "reason": exc.message},
                        )
                        if not isinstance(exc, CpuFaultError):
                            break
        return None

    async def _program(self, model: ModelSpec, *, is_split: bool) -> Path:
        """Return llama-server as this CPU can run it.

        Raises:
            AdapterError: None of its CPU libraries works here.
        """
        if self._variants is None:
            return self._order.program
        path = self._order.models_dir / model.filename
        if is_split:
            # This node alone has no room for it.
            path = min(path.parent.glob("*.gguf"), key=lambda file: file.stat().st_size, default=path)
        return await asyncio.to_thread(self._variants.fitted, self._order.program, path)

    def _doubt(self, how: str) -> None:
        if self._variants is not None:
            self._variants.doubt(self._order.program, how)

    async def _try(self, model: ModelSpec, workers: tuple[Endpoint, ...], *, is_last: bool) -> RunningModel:
        """Serve a model that has answered a real prompt.

        Raises:
            CpuFaultError: Its server ended at an instruction that this CPU does not execute.
            AdapterError: It does not work; the message says why.
        """
        cpu = self._cpu()
        here_mb = min(cpu.available_mb, self._order.memory_mb or cpu.available_mb)
        budget = MemoryBudget(here_mb, tuple(rpc_memory_mb(worker) for worker in workers), cpu.flags)
        reason = f"{model.name} failed before" if model.name in self._failed and not is_last else ""
        reason = reason or fit_error(model, budget)
        reason = reason or await asyncio.to_thread(verify_model_file, model, self._order.models_dir)
        if reason:
            raise AdapterError("model-unfit", reason)
        order = self._order.model_copy(update={"program": await self._program(model, is_split=bool(workers))})
        tunnel = await self._tunnel(workers)
        addresses = tunnel.addresses if tunnel else ()
        server = LlmServerProcess(
            server_command(order, model, cpu.cores, addresses, tensor_split(budget.workers_mb)),
            name=f"{self._order.expert}: {model.name}",
            port=self._order.port,
            ready_timeout_s=LOAD_TIMEOUT_S,
            host=self._order.host,
            api_key=self._key,
            is_kept=False,
        )
        served = RunningModel(model=model, server=server, tunnel=tunnel, workers=workers, since_s=0.0)
        try:
            await server.start()
            speed = await self._speed()
            slow = "" if is_last else speed_error(speed, self._floor)
            if slow:
                raise AdapterError("model-slow", slow)
        except BaseException as exc:
            await served.close()
            if isinstance(exc, AdapterError) and server.is_cpu_at_fault:
                self._doubt(exc.message)
                raise CpuFaultError("cpu-fault", exc.message) from exc
            raise
        served.since_s = asyncio.get_running_loop().time()
        log.info(
            "An expert is served",
            extra={
                "expert": self._order.expert,
                "model": model.name,
                "layers_on": ", ".join(worker.node for worker in workers) or "this node",
                "reads_tokens_s": round(speed.prefill, 1),
                "writes_tokens_s": round(speed.decode, 1),
            },
        )
        return served

    async def _tunnel(self, workers: tuple[Endpoint, ...]) -> RpcTunnel | None:
        if not workers:
            return None
        tunnel = RpcTunnel(workers, self._identity, self._order.folder)
        await tunnel.start()
        return tunnel

    async def _speed(self) -> Speed:
        probe = LlamaStatus(f"http://{self._order.host}:{self._order.port}", self._key)
        try:
            return Speed(*await probe.measure(timeout_s=TRIAL_TIMEOUT_S))
        finally:
            await probe.close()

    async def _until_it_must_change(self, served: RunningModel) -> None:
        """Return when the server has ended, or the workers have changed and nobody is being answered."""
        ended = asyncio.create_task(served.server.ended())
        changed = asyncio.create_task(self._workers_differ(served.workers))
        try:
            await asyncio.wait({ended, changed}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                self._on(Event.WORKERS_CHANGED)
                log.info("The workers have changed; the server starts anew when nobody is being answered")
                await self._wait_idle(served.workers, ended)
            self._on(Event.SERVER_ENDED if ended.done() else Event.DRAINED)
            if ended.done():
                self._tell_end(served, ended.result())
        finally:
            for task in (ended, changed):
                task.cancel()
            await asyncio.gather(ended, changed, return_exceptions=True)

    def _tell_end(self, served: RunningModel, ending: str) -> None:
        lasted_s = asyncio.get_running_loop().time() - served.since_s
        found = verdict(
            lasted_s, is_cpu_at_fault=served.server.is_cpu_at_fault, has_workers=bool(served.workers)
        )
        if found is Verdict.CPU_FAULT:
            self._doubt(ending)
        elif found is Verdict.MODEL_FAILED:
            self._failed.add(served.model.name)
        log.error(
            "The server of a model ended; what it was answering is lost here, and its caller asks elsewhere",
            extra={
                "model": served.model.name,
                "ending": ending,
                "last_words": f"\n{served.server.log_tail()}",
            },
        )

    async def _wait_idle(self, used: tuple[Endpoint, ...], ended: asyncio.Task[str]) -> None:
        """Return when nobody is being answered, or nobody can be, for a worker in use is silent."""
        probe = LlamaStatus(f"http://{self._order.host}:{self._order.port}", self._key)
        try:
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                while not ended.done():
                    # A machine without power or cable breaks no connection: the server waits for its reply.
                    silent = await self._silent(used)
                    if silent:
                        names = ", ".join(worker.node for worker in silent)
                        log.warning(
                            "What is being answered is lost: a worker does not answer",
                            extra={"workers": names},
                        )
                        return
                    if not await probe.is_busy():
                        return
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            log.warning("It starts anew in the middle of an answer", extra={"waited_s": IDLE_TIMEOUT_S})
        finally:
            await probe.close()

    async def _silent(self, workers: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
        """Return those behind which there is no program now."""
        answers = await asyncio.gather(*(reaches(worker, self._identity) for worker in workers))
        return tuple(worker for worker, is_there in zip(workers, answers, strict=True) if not is_there)

    def _known_workers(self) -> tuple[Endpoint, ...]:
        if self._directory is None or not self._order.workers:
            return ()
        here = pool_of(self._order.expert)
        return tuple(endpoint for endpoint in self._directory.healthy(RPC_PROVIDER) if here in endpoint.tags)

    async def _first_workers(self) -> tuple[Endpoint, ...]:
        """Wait for as many workers as were ordered; go on with those that came."""
        for _ in range(round(WORKERS_TIMEOUT_S / POLL_S)):
            if len(self._known_workers()) >= self._order.workers:
                break
            await asyncio.sleep(POLL_S)
        found = await self._workers_that_answer()
        if len(found) < self._order.workers:
            log.warning(
                "Fewer workers are there than were ordered",
                extra={"ordered": self._order.workers, "found": len(found)},
            )
        return found

    async def _workers_that_answer(self) -> tuple[Endpoint, ...]:
        """Return the workers behind which a program is now: Consul notices a loss seconds later."""
        known = self._known_workers()
        silent = await self._silent(known)
        for worker in silent:
            log.warning("A worker does not answer; going on without it", extra={"node": worker.node})
        return tuple(worker for worker in known if worker not in silent)

    async def _workers_differ(self, used: tuple[Endpoint, ...]) -> None:
        """Return when other workers are there than those in use, and have been for `SETTLE_S`."""
        directory = self._directory
        if directory is None or not self._order.workers:
            await asyncio.Event().wait()
            return
        while True:
            version = directory.version
            if directory.state().is_stale or set(self._known_workers()) == set(used):
                await directory.wait_for_change(version)
                continue
            await asyncio.sleep(SETTLE_S)
            # One that Consul lists and that does not answer yet is asked again.
            if set(await self._workers_that_answer()) != set(used) and not directory.state().is_stale:
                return


def check_program(order: ExpertOrder) -> None:
    """See that the server's program is there.

    Raises:
        ConfigError: It is not, or cannot be run.
    """
    if not os.access(order.program, os.X_OK):
        raise ConfigError(
            "no-llama-server",
            f"{order.program} is not on this node.",
            hint="ansible-playbook playbooks/deploy_expert.yaml brings it to every node.",
        )
