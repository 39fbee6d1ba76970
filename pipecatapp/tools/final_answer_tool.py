"""The tool that ends a turn with an answer.

It owns nothing but that: a model that thinks in tool calls needs a call for "I am done".
"""

from __future__ import annotations

from pipecatapp.errors import ToolRetry
from pipecatapp.ports import ToolResult
from pipecatapp.tools.base import ToolFunction, tool


@tool(
    examples=(
        "Hello, how are you?",
        "Thank you very much",
        "Tell me a short story",
        "Why is the sky blue?",
        "What is the capital of France?",
        "How do I make tea?",
        "What can you do?",
        "Explain what a computer is",
    )
)
def final_answer() -> ToolFunction:
    """Return the tool."""

    async def execute(text: str) -> ToolResult:
        """Answer the user and end the turn.

        Args:
            text: What to say, one to three short sentences.
        """
        answer = text.strip()
        if not answer:
            raise ToolRetry("empty-answer", "The answer is empty.")
        return ToolResult(True, answer, speech=answer, is_final=True)

    return execute
