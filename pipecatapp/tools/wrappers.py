"""What every tool gets around it: a time limit, an output limit, and errors in words.

It owns limits and the closed list of system errors that a model may be told; what a tool does is its own.
Each wrapper takes a tool and returns one.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from pipecatapp.errors import ToolError, ToolRetry
from pipecatapp.ports import ToolResult
from pipecatapp.tools.base import Arguments, Tool, ToolContext

SYSTEM_ERRORS: tuple[tuple[type[Exception], str, str], ...] = (
    (FileNotFoundError, "not-found", "The file or folder does not exist."),
    (IsADirectoryError, "is-a-folder", "That is a folder, not a file."),
    (NotADirectoryError, "not-a-folder", "That is a file, not a folder."),
    (PermissionError, "not-permitted", "I am not allowed to read or write that."),
    (UnicodeDecodeError, "not-text", "That is not a text file."),
)
"""Errors that the world causes; any other exception of a tool is a fault of ours."""


def with_timeout(tool: Tool) -> Tool:
    """Return `tool`, stopped with a ToolError after its `timeout_s`."""

    async def run(arguments: Arguments, context: ToolContext) -> ToolResult:
        try:
            async with asyncio.timeout(tool.timeout_s) as limit:
                return await tool.run(arguments, context)
        except TimeoutError as exc:
            if not limit.expired():
                raise
            raise ToolError(
                "tool-timeout",
                f"The tool '{tool.spec.name}' was not done within {tool.timeout_s:g} seconds.",
                retryable=True,
            ) from exc

    return replace(tool, run=run)


def with_output_limit(tool: Tool) -> Tool:
    """Return `tool` with results of at most `output_chars` characters; a cut one says so."""

    async def run(arguments: Arguments, context: ToolContext) -> ToolResult:
        result = await tool.run(arguments, context)
        if len(result.content) <= tool.output_chars:
            return result
        note = f"\n[{len(result.content)} characters; the rest was cut]"
        return replace(result, content=result.content[: max(0, tool.output_chars - len(note))] + note)

    return replace(tool, run=run)


def with_system_errors(tool: Tool) -> Tool:
    """Return `tool`; the system errors of the closed list become ToolErrors."""

    async def run(arguments: Arguments, context: ToolContext) -> ToolResult:
        try:
            return await tool.run(arguments, context)
        except (OSError, UnicodeDecodeError) as exc:
            told = _map_error(exc)
            if told is None:
                raise
            raise told from exc

    return replace(tool, run=run)


def with_error_messages(tool: Tool) -> Tool:
    """Return `tool`; its ToolErrors become results that are not ok.

    An error that stays is also said to the user; one that the model can correct is not.
    """

    async def run(arguments: Arguments, context: ToolContext) -> ToolResult:
        try:
            return await tool.run(arguments, context)
        except ToolRetry as exc:
            return ToolResult(False, f"{exc.message} Correct the arguments and call it again.")
        except ToolError as exc:
            return ToolResult(False, exc.message, speech=exc.message)

    return replace(tool, run=run)


def wrap(tool: Tool) -> Tool:
    """Return `tool` with everything around it, innermost first."""
    for wrapper in (with_system_errors, with_timeout, with_output_limit, with_error_messages):
        tool = wrapper(tool)
    return tool


def _map_error(error: Exception) -> ToolError | None:
    for kind, code, message in SYSTEM_ERRORS:
        if isinstance(error, kind):
            return ToolError(code, message)
    return None
