"""Answering a server that asks for a password: Basic (RFC 7617) and Digest (RFC 7616)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable
from urllib.request import parse_http_list, parse_keqv_list

# Best first; a server may offer several.
_HASHES = {"SHA-256": "sha256", "MD5": "md5"}
_CHALLENGE = re.compile(r"(?:^|,\s*)(Basic|Digest)(?:\s+|$)", re.IGNORECASE)


class Credentials:
    """A user and password, and what is needed to prove them to one server.

    The password leaves in clear only to a server that asks for Basic and offers no Digest.
    """

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._password = password
        self._digest: dict[str, str] | None = None
        self._hash = ""
        self._basic = False
        self._count = 0

    def challenge(self, headers: Iterable[str]) -> bool:
        """Take a server's ``WWW-Authenticate`` headers; False when it offers no form of proof that is known here."""
        offers = [offer for header in headers for offer in _offers(header)]
        self._digest = None
        self._basic = any(scheme == "basic" for scheme, _ in offers)
        for algorithm, name in _HASHES.items():
            for scheme, values in offers:
                if scheme == "digest" and _usable(values, algorithm):
                    self._digest, self._hash, self._count = values, name, 0
                    return True
        return self._basic

    def header(self, method: str, target: str) -> str | None:
        """The ``Authorization`` for one request; None before a challenge."""
        if self._digest is not None:
            return self._digest_header(self._digest, method, target)
        if not self._basic:
            return None
        return "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode()

    def _digest_header(self, challenge: dict[str, str], method: str, target: str) -> str:
        realm, nonce = challenge["realm"], challenge["nonce"]
        first = self._of(f"{self._user}:{realm}:{self._password}")
        second = self._of(f"{method}:{target}")
        values = {"username": self._user, "realm": realm, "nonce": nonce, "uri": target}
        plain = {"algorithm": challenge["algorithm"]} if "algorithm" in challenge else {}
        if "qop" in challenge:
            self._count += 1
            count, own = f"{self._count:08x}", secrets.token_hex(8)
            values |= {"cnonce": own, "response": self._of(f"{first}:{nonce}:{count}:{own}:auth:{second}")}
            plain |= {"qop": "auth", "nc": count}
        else:  # RFC 2069, which old cameras still speak
            values["response"] = self._of(f"{first}:{nonce}:{second}")
        if "opaque" in challenge:
            values["opaque"] = challenge["opaque"]
        quoted = [f'{name}="{_escaped(value)}"' for name, value in values.items()]
        header = "Digest " + ", ".join(quoted + [f"{name}={value}" for name, value in plain.items()])
        return header.encode().decode("latin-1")  # a header's characters are bytes

    def _of(self, text: str) -> str:
        return hashlib.new(self._hash, text.encode(), usedforsecurity=False).hexdigest()


def _offers(header: str) -> list[tuple[str, dict[str, str]]]:
    starts = list(_CHALLENGE.finditer(header))
    ends = [match.start() for match in starts[1:]] + [len(header)]
    return [(start[1].lower(), _values(header[start.end() : end])) for start, end in zip(starts, ends, strict=True)]


def _values(text: str) -> dict[str, str]:
    pairs = [item for item in parse_http_list(text) if "=" in item]
    return {name.lower().strip(): value for name, value in parse_keqv_list(pairs).items()}


def _usable(values: dict[str, str], algorithm: str) -> bool:
    ways = [way.strip().lower() for way in values.get("qop", "auth").split(",")]
    known = values.get("algorithm", "MD5").upper() == algorithm and "auth" in ways
    return known and "nonce" in values and "realm" in values


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
