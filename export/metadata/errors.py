"""Exceptions. A message says what came, what was expected and what to do about it."""

from export.errors import ExportError


class MetadataError(ExportError):
    """A model file that cannot be described, or whose description of itself cannot be read."""
