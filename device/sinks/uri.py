"""From a sink URI to an open Sink."""

from __future__ import annotations

from device.errors import SinkError
from device.sinks.base import Sink
from device.sinks.jsonl import open_jsonl


def open_sink(uri: str) -> Sink:
    """Open a sink: ``jsonl:-`` or ``jsonl:path``.

    Raises:
        SinkError: not understood, or it does not open.
    """
    scheme, colon, target = uri.partition(":")
    if scheme == "jsonl" and colon:
        return open_jsonl(target)
    raise SinkError(f"sink '{uri}' is not understood; expected jsonl:- or jsonl:FILE")
