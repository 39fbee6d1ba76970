"""llama.cpp's rejection of an invalid request, told apart from a server that fails.

It owns the form of such an answer. llama.cpp answers with status 500 what other servers answer with 400: an
exception that is no `std::invalid_argument` becomes one (github.com/ggml-org/llama.cpp,
tools/server/server.cpp, `ex_wrapper`), and much of what is thrown over a caller's fields is none
(server-common.cpp, common/chat.cpp: a picture for a model without eyes, a schema beside a grammar, a message
without its role).
"""

from __future__ import annotations

import json

STATUS = 500
"""Of such an answer; it is in the body once more."""
KIND = "server_error"
"""The type in the body (server-common.cpp, `format_error_response`). OpenAI's own answers have it too, but no
number as their code; vLLM's have the number and another type."""
ITS_OWN = "Compute error"
"""How the one such answer begins that no request is to blame for (server-context.cpp, `decode`)."""


def parse_rejection(status: int, body: str | bytes) -> str:
    """Return why llama.cpp's server cannot take a request, in its words.

    Args:
        status: Of its answer.
        body: Of its answer.

    Returns:
        "" when the answer is another server's, or when the server itself failed.
    """
    if status != STATUS:
        return ""
    try:
        error = json.loads(body)["error"]
        code, kind, message = error["code"], error["type"], error["message"]
    except (ValueError, LookupError, TypeError):
        return ""
    if (code, kind) != (STATUS, KIND) or not isinstance(message, str) or message.startswith(ITS_OWN):
        return ""
    return message
