"""The execution of one node within a run: retries, time limit, fallback and streams.

It owns retry, time limit, fallback and the node's streams; when a node runs and who reads its outputs is
the runner's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from pipecatapp.errors import AgentError, WorkflowRuntimeError
from pipecatapp.events import Event
from pipecatapp.workflow.model import Body
from pipecatapp.workflow.node import Node, NodeRun, OpenOutputs, stream_outputs
from pipecatapp.workflow.port_types import TextStream
from pipecatapp.workflow.services import NodeServices, RunContext

AnyNode = Node[Any, Any, Any]
log = logging.getLogger(__name__)


class Host(Protocol):
    """What runs around a node."""

    @property
    def services(self) -> NodeServices:
        """The outside."""
        ...

    @property
    def context(self) -> RunContext:
        """The turn."""
        ...

    def settle(self, node: str, output: str, value: object) -> None:
        """Make an output known; None means that it was skipped."""
        ...

    def raise_event(self, event: Event) -> None:
        """Publish an event."""
        ...

    def record_tool_call(self, call: dict[str, Any]) -> None:
        """Note a tool call."""
        ...

    async def run_body(self, body: Body, given: Mapping[str, object]) -> Mapping[str, object]:
        """Run a loop body once and return its outputs."""
        ...


class NodeExecution(NodeRun):
    """One node's work: its attempts, its time and its streams.

    Args:
        host: Where its outputs and events go.
        node: The node.
    """

    def __init__(self, host: Host, node: AnyNode) -> None:
        self.services = host.services
        self.context = host.context
        self._host = host
        self._node = node
        self._definition = node.definition
        self._streams = {name: TextStream() for name in stream_outputs(type(node))}
        self._timer: asyncio.Timeout | None = None
        for name, stream in self._streams.items():
            host.settle(node.definition.id, name, stream)

    async def run(self, inputs: Any) -> None:
        """Run the node until it succeeds, or its attempts are used up and its fallback is taken."""
        for attempt in range(self._definition.retry_limit + 1):
            try:
                async with asyncio.timeout(self._definition.timeout_s) as self._timer:
                    outputs = await self._node.run(inputs, self)
            except TimeoutError as exc:
                if self._timer is None or not self._timer.expired():
                    raise
                message = f"no progress for {self._definition.timeout_s:g} seconds"
                error = WorkflowRuntimeError("node-timeout", self._named(message), retryable=True)
                error.__cause__ = exc
            except AgentError as exc:
                error = WorkflowRuntimeError(
                    exc.code, self._named(exc.message), hint=exc.hint, retryable=exc.retryable
                )
                error.__cause__ = exc
            else:
                self._publish(outputs)
                return
            is_last = attempt == self._definition.retry_limit
            if is_last or not error.retryable or any(s.has_text for s in self._streams.values()):
                break
            await asyncio.sleep(self._definition.retry_delay_s)
        if self._definition.fallback is None:
            raise error
        log.warning("node fell back", extra={"node": self._definition.id, "code": error.code})
        self._fall_back(self._definition.fallback)

    def _named(self, message: str) -> str:
        return f"Node '{self._definition.id}': {message}"

    def _publish(self, outputs: Any) -> None:
        is_open = isinstance(outputs, OpenOutputs)
        names = (
            outputs.values if is_open else self._node.output_ports(self._node.config, self.services.prompts)
        )
        for name in names:
            if name in self._streams:
                self._streams[name].close()
            else:
                value = outputs.values[name] if is_open else getattr(outputs, name)
                self._host.settle(self._definition.id, name, value)

    def _fall_back(self, fallback: Mapping[str, object]) -> None:
        for name, stream in self._streams.items():
            if name in fallback:
                stream.put((" " if stream.has_text else "") + str(fallback[name]))
            stream.close()
        for name, value in fallback.items():
            if name not in self._streams:
                taken = tuple(value) if isinstance(value, list) else value
                self._host.settle(self._definition.id, name, taken)

    def emit(self, output: str, piece: str) -> None:
        """Add a piece to a stream output; the node's time starts again."""
        self._streams[output].put(piece)
        self._restart_timer()

    def _restart_timer(self) -> None:
        if self._timer is not None and self._definition.timeout_s is not None:
            self._timer.reschedule(asyncio.get_running_loop().time() + self._definition.timeout_s)

    def raise_event(self, event: Event) -> None:
        """Publish an event through the run's caller."""
        self._host.raise_event(event)

    def record_tool_call(self, call: dict[str, Any]) -> None:
        """Note a tool call for the end of the run."""
        self._host.record_tool_call(call)

    async def confirmed(self) -> None:
        """Wait until the turn is certain; the node's time stands still."""
        if self.context.confirmed.is_set():
            return
        if self._timer is not None:
            self._timer.reschedule(None)
        await self.context.confirmed.wait()
        self._restart_timer()

    async def run_body(self, body: Body, given: Mapping[str, object]) -> Mapping[str, object]:
        """Run a loop body once and return its outputs."""
        return await self._host.run_body(body, given)
