"""One HTTP request after another to a camera: with time limits, credentials and redirects, and to be interrupted."""

from __future__ import annotations

import contextlib
import http.client
import select
import ssl
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import urljoin

from device.cameras.address import Address, parse_address
from device.cameras.hangup import Hangup
from device.cameras.http_auth import Credentials
from device.closing import Closing
from device.errors import CameraError

SCHEMES = ("http", "https")
_MOST_REDIRECTS = 5
_CHUNK = 256 * 1024


class Answer(Closing):
    """A response whose body is still to be read.

    Attributes:
        content_type: as sent, lower case up to the first ';'.
        content_type_header: the whole of it.
        came_at: ``time.monotonic`` of its header.
    """

    def __init__(self, response: http.client.HTTPResponse, connection: http.client.HTTPConnection, hangup: Hangup):
        self.content_type_header = response.headers.get("Content-Type", "")
        self.content_type = self.content_type_header.partition(";")[0].strip().lower()
        self.came_at = time.monotonic()
        self._response = response
        self._connection = connection
        self._tls = connection.sock if isinstance(connection.sock, ssl.SSLSocket) else None
        self._hangup = hangup

    def receive(self) -> bytes:
        """What has come, after waiting for at least one byte; empty at the end.

        Raises:
            OSError, http.client.HTTPException: the connection failed or is silent for the time limit.
        """
        return self._response.read1(_CHUNK)

    def more_has_come(self) -> bool:
        """Whether ``receive`` would find something without waiting."""
        if self._tls is not None and self._tls.pending():
            return True
        ready = select.poll()
        ready.register(self._hangup, select.POLLIN)
        return bool(ready.poll(0))

    def close(self) -> None:
        """End the connection."""
        self._response.close()
        self._connection.close()


class HttpClient(Closing):
    """Asks for one address, as often as is wanted, each time over a connection of its own.

    Credentials go to the host of the address only, and never from https to http.

    Args:
        uri: ``http://`` or ``https://``, with credentials where the camera wants them.
        timeout_s: to connect, and to get an answer.
    """

    def __init__(self, uri: str, timeout_s: float) -> None:
        self._address = parse_address(uri, SCHEMES)
        self._credentials = Credentials(self._address.user, self._address.password)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._hangup: Hangup | None = None
        self.interrupted = False

    @property
    def name(self) -> str:
        """The address as it may be shown."""
        return self._address.name

    def get(self) -> Answer:
        """Ask for it.

        Raises:
            CameraError: not reached, refused, or answered with something else than 200.
        """
        address, challenged = self._address, False
        for _ in range(_MOST_REDIRECTS + 1):
            answer, status, response = self._request(address)
            if status == HTTPStatus.OK:
                return answer
            with answer:
                if status == HTTPStatus.UNAUTHORIZED and self._may_know(address) and not challenged:
                    challenged = True
                    self._challenged(response)
                elif 300 <= status < 400 and "Location" in response.headers:
                    address = self._redirected(address, response.headers["Location"])
                else:
                    raise CameraError(f"{self.name}: {self._refusal(status)}")
        raise CameraError(f"{self.name}: redirects more than {_MOST_REDIRECTS} times; give the final address")

    def interrupt(self) -> None:
        """End what is going on from another thread; it fails at once, and so does all that comes after."""
        with self._lock:
            self.interrupted = True
            if self._hangup is not None:
                self._hangup.cut()

    def close(self) -> None:
        """Give the descriptor back."""
        with self._lock:
            if self._hangup is not None:
                self._hangup.close()
            self._hangup = None

    def _request(self, address: Address) -> tuple[Answer, int, http.client.HTTPResponse]:
        connection = _connection(address, self._timeout_s)
        try:
            connection.connect()
            hangup = self._watch(connection)
            # The time limit of the socket starts again with every byte; this one does not.
            with _time_limit(hangup, self._timeout_s):
                connection.request("GET", address.target, headers=self._headers(address))
                response = connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as err:
            connection.close()
            raise CameraError(f"{self.name}: {self._failure(err)}") from None
        return Answer(response, connection, hangup), response.status, response

    def _watch(self, connection: http.client.HTTPConnection) -> Hangup:
        hangup = Hangup(connection.sock.fileno())
        with self._lock:
            if self._hangup is not None:
                self._hangup.close()
            self._hangup = hangup
            if self.interrupted:
                hangup.cut()
        return hangup

    def _headers(self, address: Address) -> dict[str, str]:
        headers = {"User-Agent": "edgegraft", "Accept": "multipart/x-mixed-replace, image/*", "Connection": "close"}
        proof = self._credentials.header("GET", address.target) if self._may_know(address) else None
        return headers | ({"Authorization": proof} if proof else {})

    def _may_know(self, address: Address) -> bool:
        home = self._address
        if not home.user or address.host != home.host:
            return False
        # Another port may be another program's; the change to https on its usual port is the camera's own.
        return (address.scheme, address.port) in {(home.scheme, home.port), ("https", 443)}

    def _challenged(self, response: http.client.HTTPResponse) -> None:
        if not self._credentials.challenge(response.headers.get_all("WWW-Authenticate", [])):
            raise CameraError(f"{self.name}: wants a kind of log-in that is not known here; expected Basic or Digest")

    def _redirected(self, address: Address, location: str) -> Address:
        target = urljoin(address.without_credentials, location.strip())
        try:
            return parse_address(target.partition("#")[0], SCHEMES)
        except CameraError:
            raise CameraError(f"{self.name}: redirects to something else than http or https; not followed") from None

    def _refusal(self, status: int) -> str:
        if status == HTTPStatus.UNAUTHORIZED:
            if not self._address.user:
                return "asks for credentials; write http://USER:PASSWORD@HOST/..."
            return "the camera does not accept this user and password"
        with contextlib.suppress(ValueError):
            return f"answers {status} {HTTPStatus(status).phrase}; expected 200, check the path"
        return f"answers {status}; expected 200, check the path"

    def _failure(self, err: Exception) -> str:
        if isinstance(err, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({err.verify_message}); add it to the system's, or use http://"
        if isinstance(err, OSError) and not isinstance(err, (TimeoutError, http.client.HTTPException)):
            return f"not reached ({err.strerror or type(err).__name__}); check host and port"
        return f"no HTTP answer within {self._timeout_s:g} s ({type(err).__name__}); is it switched on?"


@contextlib.contextmanager
def _time_limit(hangup: Hangup, timeout_s: float) -> Iterator[None]:
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        hangup.cut()

    timer = threading.Timer(timeout_s, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if expired.is_set():  # a header that is cut short counts as whole with http.client
        raise TimeoutError


def _connection(address: Address, timeout_s: float) -> http.client.HTTPConnection:
    if address.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(address.host, address.port, timeout=timeout_s, context=context)
    return http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)
