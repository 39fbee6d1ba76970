"""A real web server on loopback that serves files well or badly, and remembers what it was asked.

It owns being a mirror, a hub or a registry for the tests of the supply; it knows nothing of the supply.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

BLOCK_BYTES = 16_384


@dataclass(slots=True)
class Page:
    """What is served under one path.

    Args:
        body: The bytes.
        cuts: After how many bytes each of the first answers is cut.
        has_range: Whether a request for a part gets only that part.
        status: The status of the answer.
        before_block: Called before each block, with how many bytes went out.
    """

    body: bytes
    cuts: list[int] = field(default_factory=list)
    has_range: bool = True
    status: int = 200
    before_block: Callable[[int], None] = lambda sent: None


class Hub:
    """The server; use it as a context manager."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.requests: list[tuple[str, str]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.requests.append((self.path, self.headers.get("Range", "")))
                hub.answer(self)

            def do_HEAD(self) -> None:
                hub.requests.append((self.path, "HEAD"))
                hub.answer(self, has_body=False)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def serve(self, path: str, body: bytes, **options: object) -> str:
        """Serve `body` under `path` and return its address."""
        self.pages[path] = Page(body, **options)  # type: ignore[arg-type]
        return f"{self.url}{path}"

    def answer(self, handler: BaseHTTPRequestHandler, *, has_body: bool = True) -> None:
        page = self.pages.get(handler.path)
        if page is None or page.status != 200:
            handler.send_error(page.status if page else 404)
            return
        wanted = handler.headers.get("Range", "").removeprefix("bytes=").partition("-")[0]
        start = int(wanted) if wanted and page.has_range else 0
        body = page.body[start:]
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(page.body) - 1}/{len(page.body)}")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if not has_body:
            return
        end = page.cuts.pop(0) if page.cuts else len(body)
        for sent in range(0, min(end, len(body)), BLOCK_BYTES):
            page.before_block(sent)
            try:
                handler.wfile.write(body[sent : min(sent + BLOCK_BYTES, end)])
            except (BrokenPipeError, ConnectionResetError):
                break
        handler.close_connection = True
