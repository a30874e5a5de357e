"""Exceptions. A message says what came, what was expected and what to do about it."""

from device.errors import EdgegraftError


class ExportError(EdgegraftError):
    """The root of this package's errors."""


class ConversionError(ExportError):
    """A model that a converter cannot turn into a variant."""


class ParityError(ExportError):
    """No variant is close enough to the float model; the message says which figure failed."""
