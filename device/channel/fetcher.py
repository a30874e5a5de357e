"""What a board fetches from a channel over HTTP: metadata for tuf's client, and files that go on after a break."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout

from device.channel.address import Source
from device.channel.errors import ChannelError
from device.channel.limits import Limits, Pace, TooSlow
from device.releases.refusals import Damaged

_OK, _PARTIAL, _RANGE = 200, 206, 416
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class HttpFetcher(FetcherInterface):
    """Implements tuf's ``FetcherInterface`` on urllib3; proxies of the environment hold.

    Args:
        source: the channel.
        rate: bytes a second at most; None for no limit.
        limits: see there.
    """

    def __init__(self, source: Source, rate: int | None = None, limits: Limits | None = None) -> None:
        self._source = source
        self._rate = rate
        self._limits = limits or Limits()
        self._headers = {"User-Agent": f"edgegraft/{version('edgegraft')}", "Accept-Encoding": "identity"}
        self._pool = self._open_pool()
        self._home = _origin(source.url)

    def __enter__(self) -> HttpFetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.clear()

    def _fetch(self, url: str) -> Iterator[bytes]:
        """See ``FetcherInterface``. The caller ends it where more comes than was announced."""
        try:
            with self._answer(url, {}) as answer:
                if answer.status != _OK:
                    raise DownloadHTTPError(f"{self._source.name} answers {answer.status}", answer.status)
                yield from self._pieces(answer)
        except (ChannelError, TooSlow, HTTPError) as err:
            raise DownloadError(self._told(err)) from err

    def resume(self, path: str, partial: Path, size_bytes: int, progress: Callable[[int], None]) -> None:
        """Bring ``partial`` to its whole size; what is there already is not fetched again.

        Args:
            path: below the channel's folder.
            partial: made, or continued; what it holds afterwards has still to be checked.
            size_bytes: of the whole.
            progress: called with the bytes that came.

        Raises:
            ChannelError: it broke off several times without a byte in between; ``partial`` stays.
            Damaged: the server sends more than was announced.
            OSError: it cannot be written.
        """
        limits, left = self._limits, self._limits.attempts
        with partial.open("ab") as stream:
            while (had := stream.tell()) < size_bytes:
                try:
                    self._continue(path, stream, size_bytes, progress)
                    trouble = "the file ended too early"
                except (ChannelError, TooSlow, HTTPError) as err:
                    trouble = self._told(err)
                left = limits.attempts if stream.tell() > had else left - 1
                if stream.tell() < size_bytes and left == 0:
                    raise ChannelError(
                        f"{self._source.name}: {trouble}; {stream.tell()} of {size_bytes} bytes are kept, "
                        "the next 'edgegraft update' goes on from there"
                    )
                if stream.tell() < size_bytes:
                    time.sleep(limits.pause_s * 2 ** (limits.attempts - left))

    def _continue(self, path: str, stream: BinaryIO, size_bytes: int, progress: Callable[[int], None]) -> None:
        offset = stream.tell()
        asked = {"Range": f"bytes={offset}-{size_bytes - 1}"} if offset else {}
        with self._answer(urljoin(self._source.url, path), asked) as answer:
            if answer.status == _RANGE or (answer.status == _OK and offset):
                stream.truncate(0)  # it cannot go on in the middle, or has another file there: from the start
                stream.seek(0)
            if answer.status == _PARTIAL and not answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
                raise ChannelError(f"{self._source.name}: it sends another part of the file than was asked for")
            if answer.status not in (_OK, _PARTIAL):
                raise ChannelError(f"{self._source.name} answers {answer.status} for a file of its release")
            for piece in self._pieces(answer):
                if stream.tell() + len(piece) > size_bytes:
                    stream.truncate(0)
                    raise Damaged(
                        f"{self._source.name}: more than the {size_bytes} bytes that the signed metadata announces"
                    )
                stream.write(piece)
                progress(len(piece))

    @contextmanager
    def _answer(self, url: str, headers: Mapping[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
        """The answer to a GET, some redirects later.

        Raises:
            ChannelError: it leads in circles, elsewhere than to the web, or from https to http.
            HTTPError: not reached.
        """
        for _ in range(self._limits.redirects + 1):
            own = self._source.authorization() if _origin(url) == self._home else {}
            answer = self._pool.request(
                "GET",
                url,
                headers={**self._headers, **own, **headers},
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                if answer.status not in _REDIRECTS:
                    yield answer
                    return
                url = self._led(url, answer.headers.get("Location", ""))
            finally:
                # What is left of the answer is not read: a server could go on for ever.
                answer.close() if answer.status != _OK or answer.length_remaining else answer.release_conn()
        raise ChannelError(f"{self._source.name}: more than {self._limits.redirects} redirects")

    def _led(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
        if not location or scheme not in ("http", "https") or (url.startswith("https:") and scheme == "http"):
            raise ChannelError(f"{self._source.name}: it redirects to an address that is not followed ({scheme}:)")
        return target

    def _pieces(self, answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        pace = Pace(self._rate, self._limits)
        # read1: what has come, not a full chunk; a drop every few seconds would hold up a full one for ever.
        while piece := answer.read1(pace.chunk_bytes):
            yield piece
            pace.took(len(piece))

    def _open_pool(self) -> urllib3.PoolManager:
        limits, parts = self._limits, urlsplit(self._source.url)
        try:
            context = ssl.create_default_context(cafile=str(self._source.ca) if self._source.ca else None)
        except (ssl.SSLError, OSError) as err:
            raise ChannelError(f"{self._source.ca}: cannot be used; expected certificates in PEM") from err
        timeout = Timeout(connect=limits.connect_timeout_s, read=limits.read_timeout_s)
        proxy = getproxies().get(parts.scheme)
        if proxy and not proxy_bypass(parts.hostname or ""):
            return urllib3.ProxyManager(proxy, retries=False, timeout=timeout, ssl_context=context)
        return urllib3.PoolManager(retries=False, timeout=timeout, ssl_context=context)

    def _told(self, error: Exception) -> str:
        """In words, without the address."""
        name = self._source.name
        if isinstance(error, ChannelError):
            return str(error)
        if isinstance(error, TooSlow):
            return f"{name}: too slow, {error}"
        cause = error.args[0] if error.args else None
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{name}: its certificate is not trusted ({cause.verify_message}); name its CA with --ca FILE"
        return f"{name}: {_reason(error)}"


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _reason(error: Exception) -> str:
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "its name is not found"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "not reached"
    if isinstance(error, urllib3.exceptions.SSLError):
        return "TLS failed; check that this port speaks TLS"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "it does not answer in time"
    return "the connection broke"
