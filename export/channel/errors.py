"""Exceptions of publishing."""

from __future__ import annotations

from export.errors import ExportError


class PublishError(ExportError):
    """A channel that cannot be written or continued, or a bundle that does not fit it; what boards see is unchanged."""
