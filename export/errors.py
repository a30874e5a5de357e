"""Exceptions. A message says what came, what was expected and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from device.errors import EdgegraftError


class ExportError(EdgegraftError):
    """The root of this package's errors."""


class ConversionError(ExportError):
    """A model that a converter cannot turn into a variant."""


class ParityError(ExportError):
    """No variant is close enough to the float model; the message says which figure failed."""


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Whatever a converter raises becomes a ``ConversionError`` that says what was being made; our own errors pass."""
    try:
        yield
    except ExportError:
        raise
    except Exception as err:  # converters and quantisers raise whatever goes wrong inside
        first = (str(err).strip().splitlines() or [type(err).__name__])[0]
        raise ConversionError(f"{what}: {first}; see log.txt in the run") from err
