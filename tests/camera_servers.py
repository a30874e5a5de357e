"""Real network cameras on loopback: GStreamer's RTSP server as a child process, and an HTTP server to misbehave."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from bundles import plain_picture

USER, PASSWORD = "viewer", "s3cret@pass/word"
# As it stands in a URI.
CREDENTIALS = "viewer:s3cret%40pass%2Fword"
BOUNDARY = b"frame-boundary"

_SYSTEM_PYTHON = "/usr/bin/python3"
_NEEDED = "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-{base,good,ugly}"
_RTSP_SERVER = """
import sys, time, gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_service("0")
server.set_address("127.0.0.1")
if sys.argv[1] != "open":
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth = GstRtspServer.RTSPAuth()
    basic = sys.argv[1] == "basic"
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC if basic else GstRtsp.RTSPAuthMethod.DIGEST)
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(sys.argv[2], sys.argv[3]), token)
    auth.add_digest(sys.argv[2], sys.argv[3], token)
    server.set_auth(auth)
source = "videotestsrc is-live=true pattern=solid-color foreground-color=%s ! "
size = "video/x-raw,format=I420,width=320,height=240,framerate=25/1 ! "
h264 = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph264pay name=pay0 pt=96"
jpeg = "jpegenc ! rtpjpegpay name=pay0 pt=26"
clocks = []
def configure(factory, media):
    source = media.get_element().get_by_name("grey")
    clocks.append(source)
    media.connect("unprepared", lambda media: clocks.remove(source))
def mount(path, colour, encoder, clock=False):
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_shared(True)
    grey = "videobalance name=grey ! " if clock else ""
    factory.set_launch("( " + source % colour + size + grey + encoder + " )")
    factory.add_role_from_structure(Gst.Structure.from_string(
        "viewer, media.factory.access=true, media.factory.construct=true")[0])
    if clock:
        factory.connect("media-configure", configure)
    server.get_mount_points().add_factory(path, factory)
for name, colour in (("red", "0xfffa0000"), ("green", "0xff00fa00"), ("blue", "0xff0000fa")):
    mount("/" + name, colour, h264)
    mount("/jpeg-" + name, colour, jpeg)
mount("/clock", "0xff000000", h264, clock=True)
def tick():
    level = 28 + int(time.time() * 10) % 200
    for clock in clocks:
        clock.set_property("brightness", level * 219 / 255 / 255)  # luma goes from 16 to 235
    return True
GLib.timeout_add(10, tick)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""


def clock_age_s(pixels: np.ndarray, now: float) -> float:
    """How old the picture of ``/clock`` was at ``now``, in seconds since 1970: its grey tells tenths of a second.

    Up to 20 s; from -10 s on, where the grey was decoded a little too bright.
    """
    age = (now * 10 % 200 - (float(pixels.mean()) - 28)) % 200 / 10
    return age - 20 if age > 10 else age


@dataclass(frozen=True, slots=True)
class RtspServer:
    """A child process with the streams ``/red``, ``/jpeg-red`` and so on and ``/clock``: 320x240, 25/s."""

    port: int
    process: subprocess.Popen[str]

    def uri(self, path: str, credentials: str = "") -> str:
        """The address of a stream."""
        return f"rtsp://{credentials + '@' if credentials else ''}127.0.0.1:{self.port}{path}"

    def freeze(self) -> None:
        """It goes on holding its connections and sends nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """End it and its connections."""
        self.process.kill()
        self.process.wait()


def start_rtsp_server(authentication: str = "open") -> RtspServer:
    """Start one; skips the test where GStreamer's is not installed.

    Args:
        authentication: ``open``, or what it asks for: ``basic`` or ``digest``.
    """
    if not Path(_SYSTEM_PYTHON).exists():
        pytest.skip(f"no {_SYSTEM_PYTHON} for GStreamer's RTSP server: install {_NEEDED}")
    command = [_SYSTEM_PYTHON, "-W", "ignore", "-c", _RTSP_SERVER, authentication, USER, PASSWORD]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    ready, _, _ = select.select([process.stdout], [], [], 20)
    line = process.stdout.readline() if ready else ""
    if not line.strip():
        process.kill()
        said = process.communicate()[1]
        if "Namespace GstRtspServer not available" in said or "No module named 'gi'" in said:
            pytest.skip(f"GStreamer's RTSP server is not installed: install {_NEEDED}")
        raise RuntimeError(f"the RTSP server does not start: {said}")
    return RtspServer(int(line), process)


def jpeg_of(colour: str, height: int = 480, width: int = 640) -> bytes:
    """A plain picture as JPEG."""
    return bytes(cv2.imencode(".jpg", plain_picture(colour, height, width))[1])


def part(data: bytes, length: int | None = -1) -> bytes:
    """A frame as a part of the stream; ``length`` as announced: -1 is right, None is not at all."""
    announced = b"" if length is None else b"Content-Length: %d\r\n" % (len(data) if length == -1 else length)
    return b"--" + BOUNDARY + b"\r\nContent-Type: image/jpeg\r\n" + announced + b"\r\n" + data + b"\r\n"


STREAM_HEADER = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=" + BOUNDARY + b"\r\n\r\n"
Handler = Callable[["Visit"], None]


@dataclass(slots=True)
class Visit:
    """One request to the server, and the connection to answer on."""

    path: str
    headers: dict[str, str]
    connection: socket.socket

    def send(self, data: bytes) -> None:
        """Send it."""
        self.connection.sendall(data)

    def picture(self, data: bytes, kind: str = "image/jpeg") -> None:
        """Answer with one picture."""
        self.send(b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind.encode(), len(data)))
        self.send(data)

    def stream(self, parts: Iterator[bytes], pause_s: float = 0.04) -> None:
        """Answer with a stream, then hang up."""
        self.send(STREAM_HEADER)
        for data in parts:
            self.send(data)
            time.sleep(pause_s)

    def absent(self) -> None:
        """Answer that there is no such thing."""
        self.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    def wait(self) -> None:
        """Send nothing until the other side hangs up."""
        with contextlib.suppress(OSError):
            self.connection.recv(1)


@dataclass(slots=True)
class HttpServer:
    """Answers each path by its handler; ``visits`` tells what was asked for."""

    handlers: dict[str, Handler]
    visits: list[Visit] = field(default_factory=list)
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def uri(self, path: str, credentials: str = "", host: str = "127.0.0.1") -> str:
        """The address of a path."""
        return f"http://{credentials + '@' if credentials else ''}{host}:{self.listener.getsockname()[1]}{path}"

    def run(self) -> None:
        """Serve until the listener is closed."""
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(30)
            head = b""
            while b"\r\n\r\n" not in head:
                received = connection.recv(4096)
                if not received:
                    return
                head += received
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines if ":" in line}
            visit = Visit(first.split(" ")[1], headers, connection)
            self.visits.append(visit)
            self.handlers.get(urlsplit(visit.path).path, Visit.absent)(visit)


@contextlib.contextmanager
def http_server(**handlers: Handler) -> Iterator[HttpServer]:
    """A server with a path for each name."""
    server = HttpServer({f"/{name}": handler for name, handler in handlers.items()})
    threading.Thread(target=server.run, daemon=True).start()
    try:
        yield server
    finally:
        with contextlib.suppress(OSError):
            server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()


def locked(handler: Handler, scheme: str) -> Handler:
    """Asks for the password first: ``basic``, or ``digest-MD5`` and ``digest-SHA-256``."""

    def check(visit: Visit) -> None:
        if _proved(visit, scheme):
            return handler(visit)
        challenge = 'Basic realm="camera, hall"'
        if scheme != "basic":
            challenge = (
                f'Digest realm="camera, hall", qop="auth,auth-int", nonce="n1", algorithm={scheme[7:]}, opaque="o"'
            )
        visit.send(f"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\r\n".encode())
        return None

    return check


def _proved(visit: Visit, scheme: str) -> bool:
    proof = visit.headers.get("authorization", "")
    if scheme == "basic":
        return proof == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    values = {name: quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^,]*))', proof)}
    if not proof.startswith("Digest ") or values["nonce"] != "n1" or values["uri"] != visit.path:
        return False

    def digest(text: str) -> str:
        return hashlib.new(scheme[7:].replace("-", "").lower(), text.encode()).hexdigest()

    first, second = digest(f"{USER}:camera, hall:{PASSWORD}"), digest(f"GET:{visit.path}")
    middle = f"n1:{values['nc']}:{values['cnonce']}:auth"
    return values["response"] == digest(f"{first}:{middle}:{second}")
