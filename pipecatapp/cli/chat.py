"""`twin chat`: a conversation in writing with a running agent.

It owns the terminal; the conversation is the agent's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

import httpx

from pipecatapp.cli.agent_client import client_for, raise_for_reply
from pipecatapp.sse import SseReader


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("chat", help="write with a running agent")
    parser.add_argument(
        "text", nargs="*", help="what to say; without it, each line of standard input is a turn"
    )
    parser.add_argument("--url", default="", help="the agent (default: http://127.0.0.1:TWIN_PORT)")
    parser.add_argument("--session", default="", help="go on with this conversation")
    parser.add_argument("--json", action="store_true", help="print each reply as JSON")
    parser.set_defaults(func=_chat)


def _chat(options: argparse.Namespace) -> int:
    session = options.session
    with client_for(options.url) as client:
        for text in _texts(options.text):
            reply = _turn(client, text, session, quiet=options.json)
            session = reply["session_id"]
            print(json.dumps(reply) if options.json else "")
    return 0


def _texts(words: list[str]) -> Iterator[str]:
    if words:
        yield " ".join(words)
        return
    if sys.stdin.isatty():
        print("Write to Twin; an empty line or Ctrl-D ends.", file=sys.stderr)
    for line in sys.stdin:
        if not line.strip():
            return
        yield line.strip()


def _turn(client: httpx.Client, text: str, session: str, *, quiet: bool) -> dict[str, Any]:
    body = {"text": text, "session_id": session, "stream": True}
    reply: dict[str, Any] = {"session_id": session}
    with client.stream("POST", "/api/chat", json=body) as response:
        raise_for_reply(response)
        reader = SseReader()
        for piece in response.iter_bytes():
            for event in reader.feed(piece):
                data = json.loads(event.data)
                if event.name == "delta" and not quiet:
                    print(data["text"], end="", flush=True)
                elif event.name == "done":
                    reply = data
    return reply
