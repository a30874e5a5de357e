"""Events, or every prediction, as signed HTTP requests."""

from __future__ import annotations

import hashlib
import hmac
import ssl
import time
from dataclasses import dataclass
from importlib.metadata import version

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader, MaxRetryError, SSLError
from urllib3.util import Retry, Timeout

from device.errors import SinkError
from device.prediction import Prediction
from device.secret import Secret
from device.sinks.base import Result, Want
from device.sinks.network import existing_file, read_options, secret_option, split_uri, stays_near, take_secret
from device.sinks.network import text_option as text
from device.sinks.options import flag, number
from device.status import Status

ID_HEADER = "Idempotency-Key"
TIMESTAMP_HEADER = "Edgegraft-Timestamp"
SIGNATURE_HEADER = "Edgegraft-Signature"
_SIGNATURE_FORM = "v1="
_LEAST_KEY = 16
_PORTS = {"http": 80, "https": 443}
_OPTIONS = {
    "every": flag(),
    "key": secret_option(),
    "ca": text("a file of CA certificates (PEM)"),
    "timeout": number(0.1, 60.0),
}
_RETRIES = 4
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
# After this no further attempt is begun, whatever the receiver asks for.
_MOST_S = 60.0
_LONGEST_PAUSE_S = 15.0
_MOST_ANSWER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class WebHookConfig:
    """How a ``WebHookSink`` behaves.

    Attributes:
        url: of the receiver; its path and query may be secret and are never shown.
        name: the part of it that may be shown.
        every: send each prediction, not only those with an event.
        key: signs the requests; None leaves them unsigned.
        ca: file of the CA certificates that the receiver's is checked against; None for the system's.
        timeout_s: for connecting, and for each read of an answer.
    """

    url: str
    name: str
    every: bool = False
    key: Secret | None = None
    ca: str | None = None
    timeout_s: float = 5.0

    def __repr__(self) -> str:
        return f"WebHookConfig({self.name})"


class WebHookSink:
    """Implements ``Sink``: POSTs the prediction as JSON, the fields as in a line of ``jsonl:``.

    What may pass (no connection, no answer in time, 408, 425, 429, 5xx) is tried again up to four times, after pauses
    that grow, or that the receiver asked for with Retry-After. No redirect is followed.

    Args:
        config: see there.
    """

    def __init__(self, config: WebHookConfig) -> None:
        self._config = config
        self._encoder = msgspec.json.Encoder()
        self._agent = f"edgegraft/{version('edgegraft')}"
        timeout = Timeout(connect=config.timeout_s, read=config.timeout_s)
        try:
            context = ssl.create_default_context(cafile=config.ca)
        except (ssl.SSLError, OSError) as err:
            raise SinkError(f"{config.name}: the CA file cannot be used; expected certificates in PEM") from err
        self._pool = urllib3.PoolManager(1, maxsize=1, retries=False, timeout=timeout, ssl_context=context)

    def wants(self, prediction: Prediction) -> Want:
        """See ``Sink.wants``: events only, or everything."""
        return Want.PREDICTION if self._config.every or prediction.event is not None else Want.NOTHING

    def write(self, result: Result) -> None:
        """See ``Sink.write``."""
        self.deliver(self._encoder.encode(result.prediction))

    def deliver(self, body: bytes) -> None:
        """POST some JSON, several times if need be.

        Raises:
            SinkError: it did not arrive.
        """
        retry = Retry(total=_RETRIES, backoff_factor=0.25, backoff_max=_LONGEST_PAUSE_S, backoff_jitter=0.25)
        deadline = time.monotonic() + _MOST_S
        while True:
            trouble, asked_s = self._post(body)
            if not trouble:
                return
            try:
                retry = retry.increment("POST")
            except MaxRetryError:
                raise SinkError(f"{self._config.name}: {trouble}; tried {_RETRIES + 1} times") from None
            pause = min(_LONGEST_PAUSE_S, max(asked_s, retry.get_backoff_time()))
            if time.monotonic() + pause > deadline:
                raise SinkError(f"{self._config.name}: {trouble}; tried for {_MOST_S:.0f} s") from None
            time.sleep(pause)

    def report(self, status: Status) -> None:
        """See ``Sink.report``: only predictions are sent."""

    def close(self) -> None:
        """See ``Sink.close``."""
        self._pool.clear()

    def _post(self, body: bytes) -> tuple[str, float]:
        """Send once.

        Returns:
            what went wrong that may pass, or nothing; and the seconds that the receiver asks to wait.

        Raises:
            SinkError: another attempt would end the same way.
        """
        try:
            response = self._pool.request(
                "POST",
                self._config.url,
                body=body,
                headers=self._headers(body),
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except HTTPError as err:  # without the cause: it quotes path and query
            cause = err.args[0] if err.args else None
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise SinkError(
                    f"{self._config.name}: the receiver's certificate is not trusted ({cause.verify_message}); "
                    "name its CA with #ca=FILE"
                ) from None
            return _reason(err), 0.0
        try:
            status = response.status
            asked = _asked_pause(response.headers.get("Retry-After"))
            _finish(response)
        finally:
            response.close()
        if 200 <= status < 300:
            return "", 0.0
        if status in _PASSING or status >= 500:
            return f"the receiver answers {status}", asked
        hint = "give the address that it leads to" if 300 <= status < 400 else "check the address, the key and its log"
        raise SinkError(f"{self._config.name}: the receiver answers {status}; {hint}")

    def _headers(self, body: bytes) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": self._agent,
            # The same in every attempt, and at another delivery of the same body.
            ID_HEADER: hashlib.sha256(body).hexdigest()[:32],
        }
        if self._config.key is not None:
            timestamp = str(int(time.time()))
            headers[TIMESTAMP_HEADER] = timestamp
            headers[SIGNATURE_HEADER] = sign(self._config.key.value.encode(), timestamp, body)
        return headers


def sign(key: bytes, timestamp: str, body: bytes) -> str:
    """``v1=`` and the HMAC-SHA256 of ``timestamp.body`` in hexadecimal."""
    return _SIGNATURE_FORM + hmac.new(key, timestamp.encode("ascii") + b"." + body, "sha256").hexdigest()


def verify_signature(
    key: bytes, timestamp: str, body: bytes, signature: str, now: float, tolerance_s: float = 300.0
) -> bool:
    """Whether a request comes from who has the key, is unchanged, and is no old one sent again. For receivers.

    Within the tolerance the same request can come twice: remember the ``Idempotency-Key``, which is the start of the
    body's SHA-256 and can be computed anew.

    Args:
        key: the file's content without the line's end, as UTF-8.
        timestamp: header ``Edgegraft-Timestamp``, seconds since 1970.
        body: as it came, before any parsing.
        signature: header ``Edgegraft-Signature``.
        now: the receiver's clock, seconds since 1970.
        tolerance_s: how far the clocks may be apart and a request may have travelled.
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    if abs(now - int(timestamp)) > tolerance_s:
        return False
    return hmac.compare_digest(sign(key, timestamp, body).encode(), signature.encode("utf-8", "surrogateescape"))


def open_webhook(uri: str) -> WebHookSink:
    """``https://HOST[:PORT]/PATH?QUERY``; ``http://`` only to this machine or, by its address or name, a private
    network. Our options stand in the fragment, so that the query stays the receiver's: ``#every=1`` sends each
    prediction; ``key=file:PATH`` or ``key=credential:NAME`` signs; ``ca=PATH``; ``timeout=SECONDS`` (5).

    Raises:
        SinkError: not understood, a password in the URI, or a file that cannot be read.
    """
    host, parts = split_uri(uri, _PORTS)
    if parts.username is not None:
        raise SinkError(f"{host.name}: a user in the address is not supported; sign the requests with #key=file:PATH")
    if host.scheme == "http" and not stays_near(host.host):
        raise SinkError(f"{host.name}: what is sent could be read and changed on its way; expected https://")
    options = read_options(host.name, parts.fragment, _OPTIONS)
    key = None
    if "key" in options:
        key = take_secret(options["key"], host.name, "the web hook's key")
        if len(key.value) < _LEAST_KEY:
            raise SinkError(
                f"{host.name}: the key is shorter than {_LEAST_KEY} characters; make one: openssl rand -hex 32"
            )
    ca = str(existing_file(options["ca"], host.name, "ca")) if "ca" in options else None
    url = parts._replace(scheme=host.scheme, fragment="").geturl()
    return WebHookSink(WebHookConfig(url, host.name, options.get("every", False), key, ca, options.get("timeout", 5.0)))


def _finish(response: urllib3.BaseHTTPResponse) -> None:
    """Read a short answer to its end, so that the connection can be used again; of another nothing is read."""
    length = response.headers.get("Content-Length", "")
    if length.isascii() and length.isdigit() and len(length) < 5 and int(length) <= _MOST_ANSWER_BYTES:
        try:
            response.read(int(length))
            response.release_conn()
        except HTTPError:
            response.close()


def _asked_pause(header: str | None) -> float:
    if header is None or len(header) > 40:
        return 0.0
    try:
        return Retry().parse_retry_after(header)
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0


def _reason(error: HTTPError) -> str:
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "the receiver's name is not found"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "the receiver is not reached"
    if isinstance(error, SSLError):
        return "TLS with the receiver failed; check that this port speaks TLS"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "the receiver does not answer in time"
    return "the connection to the receiver broke"
