"""A loopback server on https that says "hello" to everything, with a certificate of an authority of its own.

It owns the server and its certificates; what the answer means to a client is the test's business.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pipecatapp.adapters.tls.local_ca import ensure_certificates


@contextmanager
def https_stub(folder: Path) -> Iterator[tuple[str, Path]]:
    """Serve on a free loopback port; yield the address and the authority's certificate."""
    files = ensure_certificates(folder, ["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Hello)
    http.daemon_threads = True
    http.socket = context.wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{http.server_address[1]}", files.ca
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_arguments: object) -> None:
        return
