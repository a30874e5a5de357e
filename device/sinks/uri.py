"""From a sink URI to an open Sink."""

from __future__ import annotations

import importlib

from device.cameras.address import redacted
from device.errors import SinkError
from device.sinks.base import Sink

# Scheme to the function that opens it. A module is imported only when it is asked for: most need a library.
_OPENERS = {
    "jsonl": ("device.sinks.jsonl", "open_jsonl"),
    "snapshots": ("device.sinks.snapshots", "open_snapshots"),
    "clips": ("device.sinks.clips", "open_clips"),
    "gpio": ("device.sinks.gpio", "open_gpio"),
    "mqtt": ("device.sinks.mqtt", "open_mqtt"),
    "mqtts": ("device.sinks.mqtt", "open_mqtt"),
    "http": ("device.sinks.webhook", "open_webhook"),
    "https": ("device.sinks.webhook", "open_webhook"),
}
SINK_EXAMPLES = (
    "jsonl:- or jsonl:FILE, mqtt://HOST/TOPIC, https://HOST/PATH, gpio:17?class=NAME, snapshots:DIR, clips:DIR"
)


def open_sink(uri: str) -> Sink:
    """Open a sink: ``jsonl:-``, ``jsonl:FILE``, ``mqtt(s)://``, ``http(s)://``, ``gpio:``, ``snapshots:``, ``clips:``.

    Raises:
        SinkError: not understood, or it does not open.
    """
    scheme, colon, _ = uri.partition(":")
    if scheme not in _OPENERS or not colon:
        raise SinkError(f"sink '{sink_name(uri)}' is not understood; expected {SINK_EXAMPLES}")
    module, function = _OPENERS[scheme]
    opened: Sink = getattr(importlib.import_module(module), function)(uri)
    return opened


def sink_name(uri: str) -> str:
    """A sink's URI as it may be shown: of a web hook its host only, for path and query can be as good as a password."""
    shown = redacted(uri)
    if not shown.startswith(("http://", "https://")):
        return shown
    return "/".join(shown.split("/")[:3]).partition("?")[0].partition("#")[0]
