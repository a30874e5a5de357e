"""From the token to a session: the page that asks, and what it sends."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from device.web.auth import Attempts, Authority
from device.web.guard import client, refusal, too_many


class _Login(msgspec.Struct, forbid_unknown_fields=True):
    token: str


class Login:
    """Answers ``POST /login`` with a session's cookie, which no script can read and no other site makes a browser send.

    Args:
        authority: of the token.
        attempts: counts wrong ones.
    """

    def __init__(self, authority: Authority, attempts: Attempts) -> None:
        self._authority = authority
        self._attempts = attempts

    async def __call__(self, request: Request, cookie: str) -> Response:
        """Check what was sent; ``cookie`` is the name of the session's."""
        if self._attempts.blocked(client(request)):
            return too_many()
        try:
            token = msgspec.json.decode(await request.body(), type=_Login).token
        except (msgspec.DecodeError, RecursionError):
            return refusal(400, 'expected {"token": "..."}')
        if not self._authority.knows(token):
            self._attempts.failed(client(request))
            return refusal(401, "this is not the token")
        session, seconds = self._authority.issue()
        response = Response(status_code=204)
        response.set_cookie(cookie, session, seconds, path="/", httponly=True, samesite="strict")
        return response
