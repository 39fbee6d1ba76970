"""Running a workflow.

It owns the order in which nodes run, what reaches the caller and when; what a node does is its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from pipecatapp.workflow.model import Workflow
from pipecatapp.workflow.run_events import EventRaised, RunEvent, RunFinished, TextPiece
from pipecatapp.workflow.services import NodeServices, RunContext

__all__ = ["EventRaised", "RunEvent", "RunFinished", "TextPiece", "WorkflowRunner"]


class WorkflowRunner:
    """Runs one workflow, any number of times, also at once.

    Args:
        workflow: What to run.
        services: What its nodes may use.
    """

    def __init__(self, workflow: Workflow, services: NodeServices) -> None:
        self._workflow = workflow
        self._services = services

    async def warm(self) -> None:
        """Do ahead what the first run would otherwise wait for (embedding examples)."""

    def run(self, inputs: Mapping[str, object], context: RunContext) -> AsyncIterator[RunEvent]:
        """Yield what happens, as it happens; closing the iterator cancels every node at once.

        Raises:
            WorkflowRuntimeError: An input is missing, or a node failed and has no fallback.
        """
        raise NotImplementedError
