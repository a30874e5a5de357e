"""A static web server on loopback that counts what it sends, knows ranges, and fails as it is told to."""

from __future__ import annotations

import http.server
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(slots=True)
class Faults:
    """What goes wrong.

    Attributes:
        cut_after: bytes of a body; then the connection is closed. Once for each entry of the list.
        endless: bodies never end.
        drip_s: between single bytes of a body.
        redirect: where every request is sent to; ``{path}`` stands for the path.
        without_ranges: as servers that know none: the whole file comes.
        login: the Authorization header that is asked for.
    """

    cut_after: list[int] = field(default_factory=list)
    endless: bool = False
    drip_s: float = 0.0
    redirect: str = ""
    without_ranges: bool = False
    login: str = ""


@dataclass(slots=True)
class StaticServer:
    """A folder on the web.

    Attributes:
        url: of the folder.
        requests: (path, status) of each.
        headers: of each request.
        received, sent: bytes over all connections, headers included.
        faults: may be changed at any time.
    """

    folder: Path
    url: str = ""
    requests: list[tuple[str, int]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    received: int = 0
    sent: int = 0
    faults: Faults = field(default_factory=Faults)
    _server: http.server.ThreadingHTTPServer | None = None

    def forget(self) -> None:
        """Count from zero."""
        self.requests.clear()
        self.headers.clear()
        self.received = self.sent = 0

    def stop(self) -> None:
        """Nobody listens any more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def static_server(folder: Path, certificates: Path | None = None) -> Iterator[StaticServer]:
    """Serve a folder; with certificates (``server.pem``, ``server.key``) over TLS."""
    site = StaticServer(folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))
    server.daemon_threads = True
    scheme = "http"
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    site.url = f"{scheme}://127.0.0.1:{server.server_port}/"
    site._server = server
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.stop()
        thread.join()


def _handler(site: StaticServer) -> type[http.server.BaseHTTPRequestHandler]:  # noqa: C901 - one class
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "static/1"

        def setup(self) -> None:
            super().setup()
            self.wfile: Any = _Counting(self.wfile, site)

        def do_GET(self) -> None:
            faults = site.faults
            site.received += len(self.requestline) + 4 + sum(len(k) + len(v) + 4 for k, v in self.headers.items())
            site.headers.append(dict(self.headers.items()))
            if faults.redirect:
                return self._answer(302, b"", Location=faults.redirect.format(path=self.path))
            if faults.login and self.headers.get("Authorization") != faults.login:
                return self._answer(401, b"login, please")
            path = site.folder / self.path.lstrip("/")
            if not path.is_file():
                return self._answer(404, b"<!doctype html><title>404 Not Found</title><h1>Not Found</h1>")
            data = path.read_bytes()
            asked = _RANGE.fullmatch(self.headers.get("Range", ""))
            if not asked or faults.without_ranges:
                return self._answer(200, data)
            start, end = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
            if start >= len(data):
                return self._answer(416, b"", Content_Range=f"bytes */{len(data)}")
            return self._answer(206, data[start : end + 1], Content_Range=f"bytes {start}-{end}/{len(data)}")

        def _answer(self, status: int, body: bytes, **headers: str) -> None:
            faults = site.faults
            site.requests.append((self.path, status))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("ETag", f'"{len(body):x}"')
            self.send_header("Last-Modified", self.date_time_string())
            if faults.endless:
                self.send_header("Connection", "close")
            else:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if status in (200, 206) and faults.cut_after and faults.cut_after[0] < len(body):
                self.wfile.write(body[: faults.cut_after.pop(0)])
                self.close_connection = True
                return
            for at in range(0, len(body), 1 if faults.drip_s else 65536):
                self.wfile.write(body[at : at + (1 if faults.drip_s else 65536)])
                time.sleep(faults.drip_s)
            while faults.endless:
                self.wfile.write(b"\0" * 65536)

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except (TimeoutError, ConnectionError, ssl.SSLError):
                self.close_connection = True

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()

    return Handler


class _Counting:
    def __init__(self, stream: Any, site: StaticServer) -> None:
        self._stream = stream
        self._site = site

    def write(self, data: bytes) -> int:
        self._site.sent += len(data)
        written: int = self._stream.write(data)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
