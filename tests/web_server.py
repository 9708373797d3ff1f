"""A web server on loopback whose pages tests write, and which fails as they say."""

from __future__ import annotations

import hashlib
import http.server
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Page:
    """What is at a path. Without `tagged` and `modified` nothing tells its versions apart."""

    data: bytes = b""
    tagged: bool = True
    weak: bool = False
    modified: str | None = None
    ranges: bool = True
    # A range is sent whatever If-Range says, as some servers do.
    careless: bool = False
    chunked: bool = False
    moved: str | None = None
    login: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def etag(self) -> str | None:
        if not self.tagged:
            return None
        return ("W/" if self.weak else "") + f'"{hashlib.md5(self.data).hexdigest()}"'


@dataclass
class Fault:
    """What happens to one request: a status, or an answer that ends or waits within the body."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    seconds: float = 0
    # Without `cut_after`: how many pieces the body comes in, so many seconds apart.
    pieces: int = 1


class WebServer:
    """Pages and faults, and the requests that came."""

    def __init__(self, port: int, scheme: str = "http") -> None:
        self.pages: dict[str, Page] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.host = f"127.0.0.1:{port}"
        self.base = f"{scheme}://{self.host}"

    def put(self, path: str, data: bytes = b"", **more: object) -> str:
        """Put a page at a path; return its address."""
        self.pages[path.partition("?")[0]] = Page(data, **more)  # type: ignore[arg-type]
        return self.base + path

    def headers(self, name: str) -> list[str | None]:
        """Return what each request had as a header."""
        return [headers.get(name) for _, headers in self.requests]


@contextmanager
def serving(certificate: str | None = None) -> Iterator[WebServer]:
    """Serve on a free port until the context ends, with TLS if there is a certificate with key."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    web = WebServer(server.server_address[1], "https" if certificate else "http")
    server.web = web  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            # Who asked has gone.
            self.close_connection = True

    def do_GET(self) -> None:
        web: WebServer = self.server.web  # type: ignore[attr-defined]
        web.requests.append((self.path, dict(self.headers)))
        fault = web.faults.pop(0) if web.faults else Fault()
        page = web.pages.get(self.path.partition("?")[0])
        if fault.status:
            self._answer(fault.status, fault.headers)
        elif page is None:
            self._answer(404, {})
        elif page.login and self.headers.get("Authorization") != page.login:
            self._answer(401, {})
        elif page.moved:
            self._answer(302, {"Location": page.moved})
        else:
            self._send(page, fault)

    def _answer(self, status: int, headers: dict[str, str], length: int = 0) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if headers.get("Transfer-Encoding") is None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(self, page: Page, fault: Fault) -> None:
        asked = self.headers
        versions = {"ETag": page.etag, "Last-Modified": page.modified}
        headers = {name: value for name, value in versions.items() if value} | page.headers
        if asked.get("If-None-Match", "?") == page.etag or (
            page.etag is None and asked.get("If-Modified-Since", "?") == page.modified
        ):
            self._answer(304, headers)
            return
        data, status = page.data, 200
        is_same = page.careless or asked.get("If-Range") in (page.etag, page.modified)
        if page.ranges and asked.get("Range") and is_same:
            start = int(asked["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self._answer(416, {})
                return
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            data, status = data[start:], 206
        if page.chunked:
            self._answer(status, {**headers, "Transfer-Encoding": "chunked"})
            data = b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)
        else:
            self._answer(status, headers, len(data))
        size = -(-len(data) // fault.pieces)
        while fault.cut_after is None and len(data) > size:
            self.wfile.write(data[:size])
            data = data[size:]
            time.sleep(fault.seconds)
        middle = len(data) if fault.cut_after is None else fault.cut_after
        self.wfile.write(data[:middle])
        self.wfile.flush()
        time.sleep(fault.seconds)
        if fault.cut_after is not None and not fault.seconds:
            self.close_connection = True
            try:
                self.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            return
        self.wfile.write(data[middle:])
