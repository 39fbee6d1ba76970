"""Running a workflow.

It owns the order in which nodes run, what reaches the caller and when; what a node does is its own.
Every node is a task that waits for its inputs, so branches run side by side, and an output is known as
soon as it is: a stream already when its node begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, cast

from pipecatapp.errors import AgentError, WorkflowRuntimeError
from pipecatapp.events import Event
from pipecatapp.ports import ChatRequest, Message
from pipecatapp.workflow.conditions import evaluate
from pipecatapp.workflow.model import LOOP_ID, Body, Comparison, NodeDefinition, Source, Workflow
from pipecatapp.workflow.node import NodeRegistry, OpenInputs
from pipecatapp.workflow.node_execution import AnyNode, NodeExecution
from pipecatapp.workflow.nodes import default_registry
from pipecatapp.workflow.nodes.text_nodes import PromptNode
from pipecatapp.workflow.port_types import Messages, TextStream, converted
from pipecatapp.workflow.run_events import EventRaised, RunEvent, RunFinished, TextPiece
from pipecatapp.workflow.services import NodeServices, RunContext

__all__ = ["EventRaised", "RunEvent", "RunFinished", "TextPiece", "WorkflowRunner"]

TEXT_OUTPUT = "text"
"""The workflow output that is the answer."""


class WorkflowRunner:
    """Runs one workflow, any number of times, also at once.

    Args:
        workflow: What to run.
        services: What its nodes may use.
        registry: The node types; all there are when None.
    """

    def __init__(
        self, workflow: Workflow, services: NodeServices, *, registry: NodeRegistry | None = None
    ) -> None:
        self.workflow = workflow
        self._services = services
        self._registry = registry or default_registry()
        self._nodes: dict[int, AnyNode] = {}
        self._make(workflow.nodes)

    def _make(self, definitions: tuple[NodeDefinition, ...]) -> None:
        for definition in definitions:
            cls = self._registry.get(definition.type)
            if cls is None:
                raise WorkflowRuntimeError("unknown-node-type", f"There is no node type '{definition.type}'.")
            self._nodes[id(definition)] = cls(definition)
            if definition.body is not None:
                self._make(definition.body.nodes)

    async def warm(self) -> None:
        """Do ahead what the first run would otherwise wait for (embedding examples).

        Raises:
            AdapterError: An engine failed.
        """
        for node in self._nodes.values():
            await node.warm(self._services)

    async def prefill(self, history: Sequence[Message], heard: str, session_id: str = "") -> None:
        """Let the model read what the next prompt will begin with, so that its first word comes sooner.

        It is done once for each beginning of a prompt that carries the conversation on; what is read in vain
        costs nobody's time.

        Args:
            history: The conversation.
            heard: What the user has said of the next turn so far; may be "".
            session_id: The conversation, which is answered by whom has read it; "" for none.
        """
        beginnings: list[Messages] = []
        for definition in self.workflow.nodes:
            node = self._nodes[id(definition)]
            if isinstance(node, PromptNode) and "history" in definition.inputs:
                messages = node.beginning(self._services.prompts, tuple(history), heard)
                if messages not in beginnings:
                    beginnings.append(messages)
                    request = ChatRequest(messages=messages, max_tokens=1, session=session_id)
                    await self._services.llm.prefill(request)

    async def run(self, inputs: Mapping[str, object], context: RunContext) -> AsyncGenerator[RunEvent, None]:
        """Yield what happens, as it happens; closing the iterator cancels every node at once.

        Args:
            inputs: The workflow's inputs; further ones are ignored.
            context: The turn.

        Raises:
            WorkflowRuntimeError: An input is missing, or a node failed and has no fallback.
        """
        run = _Run(self._nodes, self._services, context)
        task = asyncio.create_task(run.execute(self.workflow, inputs), name=f"workflow {self.workflow.name}")
        try:
            while (happened := await run.queue.get()) is not None:
                yield happened
            await task
            yield run.finished()
        finally:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()


class _Run:
    """One run: its queue to the caller and what it has gathered.

    Args:
        nodes: Definition (by identity) to its node.
        services: The outside.
        context: The turn.
    """

    def __init__(self, nodes: Mapping[int, AnyNode], services: NodeServices, context: RunContext) -> None:
        self.nodes = nodes
        self.services = services
        self.context = context
        self.queue: asyncio.Queue[RunEvent | None] = asyncio.Queue()
        self.tool_calls: list[dict[str, Any]] = []
        self._outputs: dict[str, object] = {}
        self._text: list[str] = []

    async def execute(self, workflow: Workflow, inputs: Mapping[str, object]) -> None:
        """Run everything; the queue ends with None."""
        try:
            given = await _checked_inputs(workflow, inputs)
            await _Scope(self, workflow.nodes, given).execute()
            if TEXT_OUTPUT in workflow.outputs and TEXT_OUTPUT not in self._outputs:
                message = f"Workflow '{workflow.name}' gave no answer: every source of 'text' was skipped."
                raise WorkflowRuntimeError("no-answer", message)
        except BaseExceptionGroup as group:
            first = _first(group)
            # Its own cause stays: an apology is chosen by it.
            raise first from first.__cause__
        finally:
            self.queue.put_nowait(None)

    async def deliver(self, name: str, value: object) -> None:
        """Take one of the workflow's outputs; the answer goes out piece by piece."""
        if name == TEXT_OUTPUT:
            stream = cast(TextStream, await converted(value, "stream"))
            async for piece in stream.pieces():
                self._text.append(piece)
                self.queue.put_nowait(TextPiece(piece))
        self._outputs[name] = await value.text() if isinstance(value, TextStream) else value

    def finished(self) -> RunFinished:
        """Return the run's result."""
        return RunFinished(dict(self._outputs), "".join(self._text), tuple(self.tool_calls))


async def _checked_inputs(workflow: Workflow, inputs: Mapping[str, object]) -> dict[str, object]:
    taken = {}
    for name, kind in workflow.inputs.items():
        if name not in inputs:
            message = f"Workflow '{workflow.name}' needs the inputs: {', '.join(workflow.inputs)}."
            raise WorkflowRuntimeError("missing-input", message, status=422)
        try:
            taken[name] = await converted(inputs[name], kind)
        except TypeError as exc:
            raise WorkflowRuntimeError("wrong-input", f"Input '{name}': {exc}.", status=422) from exc
    return taken


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that a group of tasks ended with: a bug before an error that was foreseen."""
    flat: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending = [*error.exceptions, *pending]
        else:
            flat.append(error)
    return next((error for error in flat if not isinstance(error, AgentError)), flat[0])


class _Scope:
    """The nodes of a workflow or of one round of a loop, and their outputs.

    Args:
        run: The run.
        nodes: What to run.
        given: Values of the workflow's inputs, or of `loop` inside a loop.
        in_loop: Whether this is a round of a loop.
    """

    def __init__(
        self,
        run: _Run,
        nodes: tuple[NodeDefinition, ...],
        given: Mapping[str, object],
        *,
        in_loop: bool = False,
    ) -> None:
        self._run = run
        self._definitions = nodes
        self._given = given
        self._cells: dict[str, asyncio.Future[object]] = {}
        self._loop = asyncio.get_running_loop()
        if in_loop:
            for name, value in given.items():
                self.settle(LOOP_ID, name, value)

    def _cell(self, key: str) -> asyncio.Future[object]:
        if key not in self._cells:
            self._cells[key] = self._loop.create_future()
        return self._cells[key]

    def settle(self, node: str, output: str, value: object) -> None:
        """Make an output known; None means that it was skipped."""
        cell = self._cell(f"{node}.{output}")
        if not cell.done():
            cell.set_result(value)

    @property
    def services(self) -> NodeServices:
        """The outside."""
        return self._run.services

    @property
    def context(self) -> RunContext:
        """The turn."""
        return self._run.context

    def raise_event(self, event: Event) -> None:
        """Publish an event through the run's caller."""
        self._run.queue.put_nowait(EventRaised(event))

    def record_tool_call(self, call: dict[str, Any]) -> None:
        """Note a tool call for the end of the run."""
        self._run.tool_calls.append(call)

    async def run_body(self, body: Body, given: Mapping[str, object]) -> Mapping[str, object]:
        """Run a loop body once and return its outputs."""
        scope = _Scope(self._run, body.nodes, given, in_loop=True)
        await scope.execute()
        return await scope.values()

    async def execute(self) -> None:
        """Run every node to its end."""
        async with asyncio.TaskGroup() as group:
            for definition in self._definitions:
                if definition.type == "output":
                    for name, sources in definition.inputs.items():
                        group.create_task(self._deliver(name, sources), name=f"output {name}")
                else:
                    group.create_task(self._one(definition), name=f"node {definition.id}")

    async def values(self) -> dict[str, object]:
        """Return every known output as `node.output` to value, streams as text, without skipped ones."""
        known = {key: cell.result() for key, cell in self._cells.items() if cell.done()}
        return {
            key: await value.text() if isinstance(value, TextStream) else value
            for key, value in known.items()
            if value is not None
        }

    async def _deliver(self, name: str, sources: tuple[Source, ...]) -> None:
        value = await self._first_of(sources)
        if value is not None:
            await self._run.deliver(name, value)

    async def _first_of(self, sources: tuple[Source, ...]) -> object:
        for source in sources:
            value = await self._cell(str(source))
            if value is not None:
                return value
        return None

    async def _holds(self, comparisons: tuple[Comparison, ...]) -> bool:
        for comparison in comparisons:
            if not evaluate(comparison, await self._cell(str(comparison.source))):
                return False
        return True

    async def _one(self, definition: NodeDefinition) -> None:
        node = self._run.nodes[id(definition)]
        names = self._output_names(node)
        inputs = await self._inputs(node) if await self._holds(definition.when) else None
        if inputs is not None:
            await NodeExecution(self, node).run(inputs)
        for name in names:
            self.settle(definition.id, name, None)

    def _output_names(self, node: AnyNode) -> list[str]:
        names = list(node.output_ports(node.config, self._run.services.prompts))
        return names + list(node.definition.body.outputs if node.definition.body else ())

    async def _inputs(self, node: AnyNode) -> Any:
        """Return a node's inputs, or None when a required one was skipped."""
        definition = node.definition
        if definition.type == "input":
            return OpenInputs(self._given)
        ports = node.input_ports(node.config, self._run.services.prompts)
        taken: dict[str, object] = {}
        for name, sources in definition.inputs.items():
            value = await self._first_of(sources)
            if value is None:
                if ports is None or ports[name].is_required:
                    return None
                continue
            try:
                wanted = ports[name].type if ports is not None else "any"
                is_loose = wanted == "any" and isinstance(value, TextStream)
                taken[name] = await converted(value, "text" if is_loose else wanted)
            except TypeError as exc:
                message = f"Node '{definition.id}', input '{name}': {exc}."
                raise WorkflowRuntimeError("wrong-type", message) from exc
        return OpenInputs(taken) if node.inputs_type is OpenInputs else node.inputs_type(**taken)
