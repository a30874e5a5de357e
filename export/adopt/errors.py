"""Exceptions. A message says what came, what was expected and what to do about it."""

from export.errors import ExportError


class AdoptError(ExportError):
    """A model, its labels or its photos that cannot become a proven bundle."""
