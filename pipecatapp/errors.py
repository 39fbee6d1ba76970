"""The tree of errors.

    AgentError
    ├── ConfigError        a setting, catalogue or file that a person wrote is wrong; raised at start
    ├── ArtifactError      an artefact cannot be had or is not what its hash says
    ├── WorkflowError
    │   ├── WorkflowDefinitionError   a workflow file is wrong; names file, line, node and key
    │   └── WorkflowRuntimeError      a node failed, timed out or ran past its limit
    ├── ToolError          told to the model: the tool could not do it
    │   └── ToolRetry      told to the model: correct the arguments and call again
    ├── AdapterError       an outside program or service failed or is absent
    ├── SessionError       an unknown session, or one that may not take this now
    ├── GatewayError       a program asked the gateway for what it cannot have; names the parameter
    └── VoiceError         a call could not be made or kept

It owns what an error carries; how it is shown is each edge's business.
"""

from __future__ import annotations

from typing import Any


class AgentError(Exception):
    """Anything that a person or a model can be told.

    Args:
        code: Stable kebab-case name, for programs.
        message: One sentence for a person: what happened and what is valid.
        hint: What to do next, or "" when the message says it.
        retryable: True when the same call may succeed a moment later.
        status: The HTTP status that fits.
    """

    default_status = 500

    def __init__(
        self, code: str, message: str, *, hint: str = "", retryable: bool = False, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.retryable = retryable
        self.status = self.default_status if status is None else status

    def to_wire(self) -> dict[str, Any]:
        """Return `{"error": {"code", "message", "hint"}}`, the shape of every error that leaves the agent."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}


class ConfigError(AgentError):
    """A setting, catalogue or file that a person wrote is wrong."""


class ArtifactError(AgentError):
    """An artefact cannot be had, or its bytes are not what its hash says."""

    default_status = 502


class WorkflowError(AgentError):
    """A workflow is wrong or went wrong."""


class WorkflowDefinitionError(WorkflowError):
    """A workflow file is wrong.

    Args:
        message: What is wrong and what would be right.
        file: The file's name.
        line: Line in the file, from 1; 0 when it concerns the whole file.
        node: Id of the node, or "".
        key: The key at fault, or "".
    """

    default_status = 422

    def __init__(
        self, message: str, *, file: str, line: int = 0, node: str = "", key: str = "", hint: str = ""
    ) -> None:
        where = f"{file}:{line}" if line else file
        if node:
            where += f": node '{node}'"
        if key:
            where += f": key '{key}'"
        super().__init__("workflow-definition", f"{where}: {message}", hint=hint)
        self.file = file
        self.line = line
        self.node = node
        self.key = key


class WorkflowRuntimeError(WorkflowError):
    """A node failed, timed out or ran past its limit."""


class ToolError(AgentError):
    """The tool could not do it; the model is told."""

    default_status = 422


class ToolRetry(ToolError):
    """The arguments are wrong; the model is asked to correct them."""


class AdapterError(AgentError):
    """An outside program or service failed, is absent, or answered nonsense."""

    default_status = 503


class SessionError(AgentError):
    """An unknown session, or one that may not take this now."""

    default_status = 404


class GatewayError(AgentError):
    """A program asked the gateway for what it cannot have.

    Args:
        code: As OpenAI calls it where it has a name for it, such as `model_not_found`.
        message: What happened and what is valid.
        param: The parameter at fault, or "".
        status: The HTTP status.
        retry_after_s: When to come back (seconds); 0 for no advice.
    """

    default_status = 400

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str = "",
        status: int | None = None,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(code, message, retryable=retry_after_s > 0, status=status)
        self.param = param
        self.retry_after_s = retry_after_s


class VoiceError(AgentError):
    """A call could not be made or kept."""
