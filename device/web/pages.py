"""The pages, each one file with its style and script inside, under a policy that allows exactly these."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

from starlette.responses import Response

_INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)


class Page:
    """A page of this folder, with ``style.html`` in its head."""

    def __init__(self, name: str) -> None:
        folder = resources.files("device.web")
        style = folder.joinpath("style.html").read_text("utf-8")
        text = folder.joinpath(name).read_text("utf-8").replace("<!-- style -->", style)
        self._text = text.encode()
        self._policy = _policy(text)

    def response(self) -> Response:
        """The page for a browser."""
        return Response(self._text, media_type="text/html", headers={"content-security-policy": self._policy})


def _policy(text: str) -> str:
    hashes: dict[str, list[str]] = {"style": [], "script": []}
    for kind, content in _INLINE.findall(text):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    return (
        f"default-src 'none'; script-src {' '.join(hashes['script'])}; style-src {' '.join(hashes['style'])}; "
        "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
