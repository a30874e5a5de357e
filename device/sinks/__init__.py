"""Sinks: one URI gives one Sink."""

from device.sinks.base import Sink, SinkGone
from device.sinks.uri import open_sink, sink_name

__all__ = ["Sink", "SinkGone", "open_sink", "sink_name"]
