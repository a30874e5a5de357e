"""The status in Prometheus' text format.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ and .../practices/naming/
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from device.prediction import Prediction
from device.status import Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_MB = 1e6


class _Text:
    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, kind: str, text: str, samples: Iterable[tuple[Mapping[str, str], float | None]]) -> None:
        """One metric; what is not known is left out."""
        known = [(labels, value) for labels, value in samples if value is not None]
        if known:
            self._lines += [f"# HELP edgegraft_{name} {text}", f"# TYPE edgegraft_{name} {kind}"]
        for labels, value in known:
            inside = ",".join(f'{label}="{_escaped(content)}"' for label, content in labels.items())
            self._lines.append(f"edgegraft_{name}{f'{{{inside}}}' if inside else ''} {_number(value)}")

    def render(self) -> bytes:
        return ("\n".join(self._lines) + "\n").encode("utf-8", "replace")


def render_metrics(status: Status, latest: Iterable[Prediction]) -> bytes:
    """A scrape's answer.

    Args:
        status: of this moment.
        latest: the newest prediction of every region of every camera.
    """
    text = _Text()
    _general(text, status)
    _cameras(text, status)
    _answers(text, latest)
    _sinks(text, status)
    _health(text, status)
    _drift(text, status)
    return text.render()


def _general(text: _Text, status: Status) -> None:
    model = status.model
    what = {"bundle": model.bundle, "version": model.version, "variant": model.variant, "engine": model.engine}
    text.add("info", "gauge", "The bundle at work; always 1.", [({**what, "accelerator": model.accelerator}, 1)])
    states = type(status.state)
    text.add("state", "gauge", "1 for the state it is in.", [({"state": s.value}, s is status.state) for s in states])
    text.add("start_time_seconds", "gauge", "Start, seconds since 1970.", [({}, status.started_at)])
    text.add("classified_per_second", "gauge", "Frames answered a second, lately.", [({}, model.classified_per_second)])
    median = None if model.infer_ms is None else model.infer_ms / 1e3
    text.add("inference_median_seconds", "gauge", "Median time of an inference, lately.", [({}, median)])


def _cameras(text: _Text, status: Status) -> None:
    cameras = [({"camera": each.name}, each) for each in status.cameras]
    ok = type(status.state).OK
    text.add("camera_ok", "gauge", "1 while its frames are fresh.", [(label, c.state is ok) for label, c in cameras])
    for field, words in (
        ("frames", "Frames taken from the camera."),
        ("classified", "Frames answered."),
        ("dropped", "Frames passed over for newer ones."),
        ("bad", "Frames that could not be decoded."),
        ("still", "Frames left out because nothing moved."),
        ("reopened", "Times the camera was opened again."),
    ):
        name = "frames" if field == "frames" else "reopened" if field == "reopened" else f"{field}_frames"
        text.add(f"camera_{name}_total", "counter", words, [(label, getattr(c, field)) for label, c in cameras])
    rate = [(label, c.frames_per_second) for label, c in cameras]
    text.add("camera_frames_per_second", "gauge", "Of the camera, lately.", rate)
    ages = [(label, None if c.age_ms is None else c.age_ms / 1e3) for label, c in cameras]
    text.add("camera_frame_age_seconds", "gauge", "How old the newest frame is.", ages)


def _answers(text: _Text, latest: Iterable[Prediction]) -> None:
    found = [({"camera": each.camera, "region": each.region}, each) for each in latest]
    settled = [({**place, "class": each.settled}, 1.0) for place, each in found if each.settled is not None]
    text.add("answer", "gauge", "1 for the class that has settled.", settled)
    probability = [(place, each.probability) for place, each in found]
    text.add("answer_probability_ratio", "gauge", "Of the most probable class, newest frame.", probability)
    ages = [(place, each.age_ms / 1e3) for place, each in found]
    text.add("answer_age_seconds", "gauge", "Capture to answer, newest frame.", ages)


def _sinks(text: _Text, status: Status) -> None:
    sinks = [({"sink": each.name}, each) for each in status.sinks]
    text.add("sink_queued", "gauge", "Results waiting.", [(label, each.queued) for label, each in sinks])
    text.add("sink_written_total", "counter", "Results delivered.", [(label, each.written) for label, each in sinks])
    dropped = [(label, each.dropped) for label, each in sinks]
    text.add("sink_dropped_total", "counter", "Results dropped, the queue was full.", dropped)
    text.add("sink_failed_total", "counter", "Attempts that failed.", [(label, each.failed) for label, each in sinks])


def _health(text: _Text, status: Status) -> None:
    health = status.health
    parts = [({"part": "cpu"}, health.cpu_celsius), ({"part": "gpu"}, health.gpu_celsius)]
    text.add("temperature_celsius", "gauge", "Of the processor.", parts)
    for name, value, words in (
        ("under_voltage", health.under_voltage, "1 while the supply is too weak."),
        ("throttled", health.throttled, "1 while the processor is slowed."),
        ("under_voltage_since_boot", health.under_voltage_since_boot, "1 when the supply was too weak since boot."),
        ("throttled_since_boot", health.throttled_since_boot, "1 when the processor was slowed since boot."),
        ("load1", health.load, "Runnable processes, mean of a minute."),
        ("memory_available_bytes", _bytes(health.memory_available_mb), "Memory that is left."),
        ("memory_total_bytes", _bytes(health.memory_total_mb), "Memory in all."),
        ("resident_memory_bytes", _bytes(health.process_mb), "Memory of this process."),
        ("disk_free_bytes", _bytes(health.disk_free_mb), "Space that is left."),
    ):
        text.add(name, "gauge", words, [({}, value)])
    text.add("health_warnings", "gauge", "Warnings about the machine.", [({}, len(health.warnings))])


def _drift(text: _Text, status: Status) -> None:
    drift = [({"camera": each.camera}, each) for each in status.drift]
    for name, field, words in (
        ("drift_brightness", "brightness", "Mean brightness of the pictures, lately."),
        ("drift_sharpness", "sharpness", "Sharpness of the pictures, lately."),
        ("drift_probability_ratio", "mean_probability", "Mean probability of the answers, lately."),
        ("drift_unknown_ratio", "unknown_share", "Share of unknown answers, lately."),
    ):
        text.add(name, "gauge", words, [(label, getattr(each, field)) for label, each in drift])
    warnings = [(label, float(len(each.warnings))) for label, each in drift]
    text.add("drift_warnings", "gauge", "Warnings about what the camera shows.", warnings)


def _bytes(megabytes: float | None) -> float | None:
    return None if megabytes is None else megabytes * _MB


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
