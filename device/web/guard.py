"""What every request passes before it reaches a page or the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from device.web.address import WebConfig, is_called_rightly
from device.web.auth import Attempts, Authority

# A probe of a service manager or load balancer has no token; the answer is one word.
_OPEN = frozenset({"/healthz", "/readyz"})
# These answer a stranger with the page that asks for the token.
_PAGES = frozenset({"/", "/login"})
_SAFE = frozenset({"GET", "HEAD"})
_COOKIE = "edgegraft"
_MOST_BODY = 8 * 1024
_HEADERS: Mapping[str, str] = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def refusal(status: int, sentence: str, **headers: str) -> Response:
    """An error as JSON: ``{"error": sentence}``."""
    return JSONResponse({"error": sentence}, status, {name.replace("_", "-"): text for name, text in headers.items()})


@dataclass(frozen=True, slots=True)
class Guard:
    """ASGI middleware: Host, Origin, size, token or session; and the security headers of every answer.

    Attributes:
        app: what is guarded.
        config: token and names.
        authority: of the token.
        attempts: counts wrong tokens.
        port: the server's own; browsers keep cookies by host only.
        tell: takes a line for the log when a request failed for a reason of ours.
    """

    app: ASGIApp
    config: WebConfig
    authority: Authority
    attempts: Attempts
    port: Callable[[], int]
    tell: Callable[[str], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            return
        request = Request(scope)
        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, text in _HEADERS.items():
                    headers.setdefault(name, text)
            await send(message)

        handler: ASGIApp = self._refuse(request) or self.app
        try:
            await handler(scope, receive, send_guarded)
        except Exception as err:  # one request failed: the others and the loop go on
            self.tell(f"live view: {request.method} {request.url.path!r} failed: {type(err).__name__}: {err}")
            if not started:
                await refusal(500, "this failed; the log says why")(scope, receive, send_guarded)

    def _refuse(self, request: Request) -> Response | None:
        headers, path = request.headers, request.url.path
        if len(headers.getlist("host")) != 1 or not is_called_rightly(headers["host"], self.config):
            return refusal(421, "this server is not called so; open it by its IP address")
        if _is_from_elsewhere(headers, request.method, path):
            return refusal(403, "the request comes from a page of another site")
        if request.method not in _SAFE and (problem := _body_problem(headers)):
            return problem
        request.state.authorised = self._is_authorised(request)
        if request.state.authorised or path in _OPEN or path in _PAGES:
            return None
        if self.attempts.blocked(client(request)):
            return too_many()
        if "authorization" in headers:
            self.attempts.failed(client(request))
        return refusal(401, "a token is needed: Authorization: Bearer TOKEN", www_authenticate="Bearer")

    def _is_authorised(self, request: Request) -> bool:
        if self.authority.open or self.authority.accepts(_session(request.headers, self.cookie)):
            return True
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        guessing = self.attempts.blocked(client(request))
        return not guessing and scheme.lower() == "bearer" and self.authority.knows(token.strip())

    @property
    def cookie(self) -> str:
        """The name of the session's cookie."""
        return f"{_COOKIE}_{self.port()}"


def client(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else ""


def too_many() -> Response:
    """Refuse to look at one more token."""
    return refusal(429, "too many wrong tokens; wait a minute", retry_after="60")


def _is_from_elsewhere(headers: Headers, method: str, path: str) -> bool:
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != headers["host"].lower():
        return True
    site = headers.get("sec-fetch-site", "none")
    # A link to the page is no harm: without the session's cookie, which is not sent along, it asks for the token.
    linked = method in _SAFE and path == "/" and headers.get("sec-fetch-mode") == "navigate"
    return site not in ("same-origin", "none") and not linked


def _body_problem(headers: Headers) -> Response | None:
    # JSON cannot be sent by another site's form, and its script would have to ask first.
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return refusal(415, "expected Content-Type: application/json", connection="close")
    length = headers.get("content-length")
    if length is None or not length.isdecimal():
        return refusal(411, "expected a Content-Length", connection="close")
    if int(length) > _MOST_BODY:
        return refusal(413, f"the body has {int(length)} bytes, expected at most {_MOST_BODY}", connection="close")
    return None


def _session(headers: Headers, name: str) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel else ""
