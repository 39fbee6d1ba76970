"""A loopback HTTP server with OpenAI's chat, audio and embedding calls, in front of any engines.

It owns the wire only; what thinks, hears, speaks and embeds is handed in. `failure` makes every answer fail.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import threading
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import numpy as np

from pipecatapp.ports import ChatDelta, ChatRequest, Embedder, LlmClient, Message, SpeechToText, TextToSpeech
from pipecatapp.units import SPEECH_RATE_HZ

KEY = "a-secret"
UNTAKEN = {
    "error": {"code": 500, "message": "Cannot use both json_schema and grammar", "type": "server_error"}
}
"""How llama.cpp's server answers a request that it cannot take, with status 500."""


@dataclass
class OpenAiServer:
    """What the server does, and what it was asked."""

    stt: SpeechToText | None = None
    tts: TextToSpeech | None = None
    embedder: Embedder | None = None
    llm: LlmClient | None = None
    failure: str = ""
    """"", "refuse", "untaken", "later", "busy", "hang", "cut", "nonsense" or "shape"."""
    refused_fields: frozenset[str] = frozenset()
    """Fields of a chat request that it does not take; the others that it does not know it ignores."""
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(server: OpenAiServer) -> Iterator[OpenAiServer]:
    """Serve on a free loopback port."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    try:
        yield server
    finally:
        server.released.set()
        http.shutdown()
        http.server_close()
        thread.join()


def _handler(server: OpenAiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Authorization"] != f"Bearer {KEY}":
                self._reply(401, {"error": {"message": "no such key"}})
            elif server.failure:
                self._fail()
            else:
                routes: dict[str, Callable[[bytes], None]] = {
                    "/v1/audio/transcriptions": self._transcribe,
                    "/v1/audio/speech": self._speak,
                    "/v1/embeddings": self._embed,
                    "/v1/chat/completions": self._chat,
                }
                routes[self.path](body)

        def _fail(self) -> None:
            if server.failure == "refuse":
                self._reply(400, {"error": {"message": "the model 'x' does not exist"}})
            elif server.failure == "untaken":
                self._reply(500, UNTAKEN)
            elif server.failure == "later":
                self._raw(200, f"data: {json.dumps(UNTAKEN)}\n\n".encode())
            elif server.failure == "busy":
                self._reply(503, {"error": "overloaded"})
            elif server.failure == "hang":
                server.released.wait(20)
                self.close_connection = True
            elif server.failure == "cut":
                self.send_response(200)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                self.wfile.write(b'data: {"choices":[{"delta":{"content":"half"}}]}\n\n' + bytes(2000))
                self.close_connection = True
            else:
                self._raw(200, b"data: <html>\n\n" if server.failure == "nonsense" else b"data: [1]\n\n")

        def _transcribe(self, body: bytes) -> None:
            form, file = _form(self.headers["Content-Type"], body)
            server.requests.append((self.path, form))
            with wave.open(BytesIO(file)) as sound:
                assert (sound.getframerate(), sound.getnchannels()) == (SPEECH_RATE_HZ, 1)
                pcm = sound.readframes(sound.getnframes())
            assert server.stt is not None
            self._reply(200, {"text": asyncio.run(server.stt.transcribe(pcm, final=True)).text})

        def _speak(self, body: bytes) -> None:
            request = json.loads(body)
            server.requests.append((self.path, request))
            assert server.tts is not None
            pcm = asyncio.run(_joined(server.tts.synthesize(request["input"])))
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            # Odd sizes, and silence first: real servers do both.
            data = bytes(2401 * 2) + pcm
            for start in range(0, len(data), 4097):
                piece = data[start : start + 4097]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

        def _chat(self, body: bytes) -> None:
            request = json.loads(body)
            server.requests.append((self.path, request))
            assert server.llm is not None
            if refused := server.refused_fields & request.keys():
                self._reply(400, {"error": {"message": f"unknown fields {sorted(refused)}"}})
                return
            messages = tuple(Message(message["role"], message["content"]) for message in request["messages"])
            asked = ChatRequest(messages=messages, max_tokens=request["max_tokens"])
            deltas = asyncio.run(_listed(server.llm.stream(asked)))
            if not request.get("stream"):
                text = "".join(delta.text for delta in deltas)
                self._reply(200, {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})
                return
            events = [
                {"choices": [{"delta": {"content": delta.text}, "finish_reason": delta.finish or None}]}
                for delta in deltas
            ]
            lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"]
            self._raw(200, "".join(lines).encode())

        def _embed(self, body: bytes) -> None:
            request = json.loads(body)
            server.requests.append((self.path, request))
            assert server.embedder is not None
            # Longer than 1, and in another order: the client has to care.
            vectors = asyncio.run(server.embedder.embed(request["input"])) * np.float32(3)
            data = [{"index": index, "embedding": row.tolist()} for index, row in enumerate(vectors)]
            self._reply(200, {"data": data[::-1]})

        def _reply(self, status: int, value: Any) -> None:
            self._raw(status, json.dumps(value).encode())

        def _raw(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            return

    return Handler


def _form(content_type: str, body: bytes) -> tuple[dict[str, str], bytes]:
    """Return the fields and the file of a multipart form."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    form, file = {}, b""
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if part.get_filename():
            file = payload
        else:
            form[str(name)] = payload.decode()
    return form, file


async def _joined(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def _listed(deltas: AsyncIterator[ChatDelta]) -> list[ChatDelta]:
    return [delta async for delta in deltas]
