"""The service that machines ask to join, HTTPS with the node's certificate.

It owns the addresses of the service, what a machine without a good token is told (as little as it needs),
and the limit of wrong attempts. It runs without rights: a good request goes into the spool, and root takes
it from there.

    GET  /v1/authority   the house's certificate; the caller compares its fingerprint with the token's
    POST /v1/hello       {token}: whom to let in; the token stays good
    POST /v1/join        {token, hostname, address, host_keys}: uses the token
    GET  /v1/progress    with the token as bearer: {state, sentence, log, next}; ?from= is the log's offset
"""

from __future__ import annotations

import json
import logging
import re
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .spool import MAX_REQUEST_BYTES, Spool, read_request
from .tokens import JoinError, Parts, Store, parse

IO_TIMEOUT_S = 15.0
"""How long a caller may take for a step of a request (seconds)."""
MAX_CALLERS = 16
"""Requests at a time; a further one is closed at once."""
WINDOW_S = 60.0
MAX_WRONG_OF_ONE = 5
MAX_WRONG_OF_ALL = 30
"""Wrong attempts in a window, of one address and of all together, before callers are told to wait."""

log = logging.getLogger("twin-join")

SENTENCES = {
    "malformed": "This is no token.",
    "unknown": "This token is not known here, or it was revoked. Make a new one on the controller: twin "
    "join-token create",
    "used": "This token has been used already; each is good for one machine. Make a new one: twin join-token "
    "create",
    "expired": "This token has expired. Make a new one on the controller: twin join-token create",
}


class Limiter:
    """Counts wrong attempts in a window.

    Args:
        clock: Seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: deque[tuple[float, str]] = deque()
        self._lock = threading.Lock()

    def wait_s(self, address: str) -> int:
        """How long `address` has to wait (seconds); 0 when it may try."""
        with self._lock:
            now_s = self._forget()
            of_one = [when for when, who in self._wrong if who == address]
            over = of_one if len(of_one) >= MAX_WRONG_OF_ONE else []
            if len(self._wrong) >= MAX_WRONG_OF_ALL:
                over = [when for when, _ in self._wrong]
            return int(over[0] + WINDOW_S - now_s) + 1 if over else 0

    def wrong(self, address: str) -> None:
        """Count a wrong attempt."""
        with self._lock:
            self._wrong.append((self._forget(), address))

    def _forget(self) -> float:
        now_s = self._clock()
        while self._wrong and self._wrong[0][0] + WINDOW_S <= now_s:
            self._wrong.popleft()
        return now_s


@dataclass(frozen=True, slots=True)
class Reception:
    """What the service works with."""

    store: Store
    spool: Spool
    authority_pem: str
    offer: dict[str, Any]
    """Whom a joining machine lets in: `public_key`, `from` and `user`."""
    limiter: Limiter = field(default_factory=Limiter)


class Refused(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after_s = status, code, message, retry_after_s


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "twin-join", ""
    timeout = IO_TIMEOUT_S
    server: Server

    def do_GET(self) -> None:
        """Answer a question."""
        routes = {"/v1/authority": self._authority, "/v1/progress": self._progress}
        self._answer(routes.get(urlsplit(self.path).path))

    def do_POST(self) -> None:
        """Take what is sent."""
        self._answer({"/v1/hello": self._hello, "/v1/join": self._join}.get(urlsplit(self.path).path))

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged; what matters is, below."""

    def _answer(self, route: Callable[[], dict[str, Any]] | None) -> None:
        headers = {}
        try:
            if route is None:
                raise Refused(404, "not-found", "There is nothing here.")
            status, body = 200, route()
        except Refused as exc:
            status = exc.status
            body = {"error": {"code": exc.code, "message": exc.message}}
            if exc.retry_after_s:
                headers["Retry-After"] = str(exc.retry_after_s)
        data = json.dumps(body).encode()
        self.send_response(status)
        headers |= {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            "Connection": "close",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True

    @property
    def _caller(self) -> str:
        address: str = self.client_address[0]
        return address.removeprefix("::ffff:")

    def _authority(self) -> dict[str, Any]:
        return {"authority": self.server.reception.authority_pem}

    def _hello(self) -> dict[str, Any]:
        data = self._body()
        self._good(data.get("token"))
        return {**self.server.reception.offer, "you": self._caller}

    def _join(self) -> dict[str, Any]:
        desk = self.server.reception
        data = self._body()
        parts = self._good(data.get("token"))
        try:
            request = read_request(data)
        except JoinError as exc:
            raise Refused(400, "bad-request", str(exc)) from exc
        if request.address != self._caller:
            raise Refused(
                400,
                "address",
                f"You say that you are {request.address}, and you come from {self._caller}. A machine joins "
                "with the address that the controller sees, with no translation between them.",
            )
        if not desk.store.use(parts, f"{request.hostname} ({request.address})"):
            raise self._refusal("used", parts.id)
        try:
            desk.spool.put(request)
        except OSError as exc:
            log.error("the request of %s cannot be written: %s", request.hostname, exc.strerror)
            raise Refused(500, "spool", f"The controller cannot write: {exc.strerror}. Its disk?") from exc
        log.info("token %s taken: %s joins from %s", parts.id, request.hostname, request.address)
        return {"state": "waiting"}

    def _progress(self) -> dict[str, Any]:
        desk = self.server.reception
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        parts = self._good(bearer, may_be_used=True)
        query = parse_qs(urlsplit(self.path).query).get("from", ["0"])[0]
        offset = int(query) if re.fullmatch(r"\d{1,12}", query) else 0
        state = desk.spool.state(parts.id)
        text, after = desk.spool.log(parts.id, offset)
        return {"state": state.state, "sentence": state.sentence, "log": text, "next": after}

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,6}", length) or int(length) > MAX_REQUEST_BYTES:
            raise Refused(413, "too-large", f"A request has at most {MAX_REQUEST_BYTES} bytes.")
        try:
            data = json.loads(self.rfile.read(int(length)))
        except ValueError as exc:
            raise Refused(400, "bad-request", "The request is no JSON.") from exc
        if not isinstance(data, dict):
            raise Refused(400, "bad-request", "The request is no JSON object.")
        return data

    def _good(self, text: Any, *, may_be_used: bool = False) -> Parts:
        """The caller's token, if it is good.

        Raises:
            Refused: It is not, or there were too many that were not.
        """
        desk = self.server.reception
        wait_s = desk.limiter.wait_s(self._caller)
        if wait_s:
            log.warning("refused: too many wrong attempts (from %s)", self._caller)
            raise Refused(429, "too-many", f"Too many wrong attempts; wait {wait_s} seconds.", wait_s)
        try:
            parts = parse(text if isinstance(text, str) else "")
        except JoinError:
            raise self._refusal("malformed", "-") from None
        reason = desk.store.refusal(parts, may_be_used=may_be_used)
        if reason:
            raise self._refusal(reason, parts.id)
        return parts

    def _refusal(self, reason: str, name: str) -> Refused:
        log.warning("refused: %s token %s (from %s)", reason, name, self._caller)
        self.server.reception.limiter.wrong(self._caller)
        return Refused(403, f"token-{reason}", SENTENCES[reason])


class Server(ThreadingHTTPServer):
    """The listening socket; each caller's handshake is in the caller's own thread.

    Args:
        address: Where to listen; "" is every address of the machine, IPv6 included where there is any.
        port: 0 takes a free one.
        context: The node's certificate and key.
        reception: What requests work with.
    """

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, address: str, port: int, context: ssl.SSLContext, reception: Reception) -> None:
        self.reception = reception
        self._context = context
        self._room = threading.BoundedSemaphore(MAX_CALLERS)
        if not address and socket.has_dualstack_ipv6():
            self.address_family = socket.AF_INET6
        super().__init__(
            (address or ("::" if self.address_family == socket.AF_INET6 else "0.0.0.0"), port), Handler
        )

    def server_bind(self) -> None:
        """Listen on IPv4 and IPv6."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a caller's thread, if there is room."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands, answer, make room."""
        try:
            request.settimeout(IO_TIMEOUT_S)
            secured = self._context.wrap_socket(request, server_side=True)
        except OSError:
            self.shutdown_request(request)
        else:
            super().process_request_thread(secured, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is no event."""
        log.debug("a caller went away")


def serve(folder: Path, port: int, certificate: Path, key: Path, authority: Path) -> None:
    """Serve until the process is told to end.

    Raises:
        OSError: The port is taken, or a file cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    offer = json.loads((folder / "offer.json").read_text(encoding="utf-8"))
    reception = Reception(Store(folder), Spool(folder), authority.read_text(encoding="ascii"), offer)
    with Server("", port, context, reception) as server:
        log.info("machines may ask to join on port %s", port)
        server.serve_forever()
