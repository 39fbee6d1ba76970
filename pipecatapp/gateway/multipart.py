"""Parses `multipart/form-data` (RFC 7578), as browsers and OpenAI's clients send it.

It owns taking one apart; what its fields mean is said by who asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message

from pipecatapp.errors import GatewayError

MAX_PARTS = 32
"""Parts of one form; the largest useful one has about ten."""


@dataclass(frozen=True, slots=True)
class Form:
    """A form: its fields, of each name the last, and its files."""

    fields: Mapping[str, str]
    files: Mapping[str, bytes]


def parse_multipart(content_type: str, body: bytes) -> Form:
    """Return the form in a request's body.

    Raises:
        GatewayError: `invalid_form`.
    """
    header = _header("Content-Type", content_type)
    boundary = header.get_param("boundary")
    if header.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or not boundary:
        raise GatewayError("invalid_form", "This call takes a form with a file (multipart/form-data).")
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1", "replace"), MAX_PARTS + 1)
    if not parts or not parts[-1].startswith(b"--"):
        raise GatewayError("invalid_form", "The form has no end, or too many parts.")
    fields, files = {}, {}
    for part in parts[:-1]:
        head, separator, content = part.partition(b"\r\n\r\n")
        if not separator:
            raise GatewayError("invalid_form", "A part of the form has no head.")
        disposition = _header("Content-Disposition", _disposition(head))
        name = disposition.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            raise GatewayError("invalid_form", "A part of the form has no name.")
        if disposition.get_filename() is not None:
            files[name] = content
        else:
            fields[name] = content.decode("utf-8", "replace")
    return Form(fields, files)


def _header(name: str, value: str) -> Message:
    message = Message()
    message[name] = value.replace("\r", " ").replace("\n", " ")
    return message


def _disposition(head: bytes) -> str:
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            return value.strip()
    return ""
