"""Where on a broker things are found. Names become levels of a topic, whatever characters they hold."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_MOST_CHARS = 48
# '+', '#', '/', NUL and '$' mean something to brokers, blanks something to shells.
_NOT_IN_LEVEL = re.compile(r"[^\w.-]+")
_NOT_IN_SLUG = re.compile(r"[^A-Za-z0-9_-]+")


def topic_level(name: str) -> str:
    """A name as one level of a topic. Where it had to be changed, a short hash keeps it apart from similar ones."""
    return _safe(name, _NOT_IN_LEVEL)


def slug(name: str) -> str:
    """The same in the characters that Home Assistant allows in identifiers: ASCII letters, digits, '_' and '-'."""
    return _safe(name, _NOT_IN_SLUG)


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics under one prefix, e.g. ``edgegraft/greenhouse``."""

    prefix: str

    @property
    def availability(self) -> str:
        """``online`` or ``offline``, retained."""
        return f"{self.prefix}/availability"

    @property
    def status(self) -> str:
        """``device.status.Status``, retained."""
        return f"{self.prefix}/status"

    def of(self, camera: str, region: str, what: str) -> str:
        """``state``, ``event`` or ``prediction`` of a camera, or of a region of it."""
        place = topic_level(camera) + (f"/{topic_level(region)}" if region else "")
        return f"{self.prefix}/{place}/{what}"


def _safe(name: str, forbidden: re.Pattern[str]) -> str:
    safe = forbidden.sub("_", name).strip("_")[:_MOST_CHARS]
    if safe == name and safe:
        return safe
    mark = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    return f"{safe}-{mark}".lstrip("-")
