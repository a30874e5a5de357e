"""The state of a running classification, as the live view, the metrics, MQTT and the log tell it."""

from __future__ import annotations

from enum import Enum

import msgspec

STATUS_SCHEMA = 1


class State(Enum):
    """STARTING: no answer yet. OK: answers are fresh. DEGRADED: it goes on, but not as it should; reasons are given."""

    STARTING = "starting"
    OK = "ok"
    DEGRADED = "degraded"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything in a status; JSON-ready."""


class CameraStatus(Record, frozen=True, kw_only=True):
    """One camera.

    Attributes:
        name: see ``device.cameras.spec``; never holds a credential.
        reason: why it is degraded, else empty.
        since: seconds since 1970 at which ``state`` began.
        frames: taken from the camera so far; ``classified`` of them were answered, ``dropped`` were passed over for
            newer ones, ``bad`` could not be decoded, ``still`` were left out because nothing moved.
        reopened: how often it was opened again.
        frames_per_second: the camera's, over the last seconds.
        age_ms: how old the newest frame is now; None before the first.
        width, height: of the newest frame, pixels; 0 before the first.
    """

    name: str
    state: State
    reason: str = ""
    since: float
    frames: int = 0
    classified: int = 0
    dropped: int = 0
    bad: int = 0
    still: int = 0
    reopened: int = 0
    frames_per_second: float = 0.0
    age_ms: float | None = None
    width: int = 0
    height: int = 0


class ModelStatus(Record, frozen=True, kw_only=True):
    """The bundle at work. ``infer_ms`` is the median over the last seconds; ``accelerator`` e.g. "cpu", "cuda"."""

    bundle: str
    version: str
    variant: str
    engine: str
    accelerator: str
    threads: int
    classes: tuple[str, ...]
    infer_ms: float | None = None
    classified_per_second: float = 0.0


class SinkStatus(Record, frozen=True, kw_only=True):
    """One sink: ``written`` delivered, ``dropped`` for its queue was full, ``failed`` attempts and the last error."""

    name: str
    queued: int = 0
    written: int = 0
    dropped: int = 0
    failed: int = 0
    error: str = ""


class Health(Record, frozen=True, kw_only=True):
    """The machine. What it does not tell is None.

    Attributes:
        cpu_celsius, gpu_celsius: temperatures.
        under_voltage, throttled: a Raspberry Pi's firmware says so now; ``..._since_boot`` that it did.
        memory_available_mb, memory_total_mb, process_mb: in 1e6 bytes.
        disk_free_mb: where snapshots or else the working folder are, in 1e6 bytes.
        load: runnable processes, mean of the last minute.
        warnings: plain sentences, what is wrong and what to do.
    """

    cpu_celsius: float | None = None
    gpu_celsius: float | None = None
    under_voltage: bool | None = None
    throttled: bool | None = None
    under_voltage_since_boot: bool | None = None
    throttled_since_boot: bool | None = None
    memory_available_mb: float | None = None
    memory_total_mb: float | None = None
    process_mb: float | None = None
    disk_free_mb: float | None = None
    load: float | None = None
    warnings: tuple[str, ...] = ()


class DriftStatus(Record, frozen=True, kw_only=True):
    """What a camera shows against what training saw; ``warnings`` are plain sentences."""

    camera: str
    brightness: float | None = None
    sharpness: float | None = None
    mean_probability: float | None = None
    unknown_share: float | None = None
    warnings: tuple[str, ...] = ()


class Status(Record, frozen=True, kw_only=True):
    """Everything. ``reasons`` says why the state is not OK; times are seconds since 1970.

    ``progressed_at`` is when the loop last dealt with a frame, classified or not; None before the first.
    """

    schema: int = STATUS_SCHEMA
    state: State
    reasons: tuple[str, ...] = ()
    at: float
    started_at: float
    progressed_at: float | None = None
    cameras: tuple[CameraStatus, ...]
    model: ModelStatus
    sinks: tuple[SinkStatus, ...] = ()
    health: Health = Health()
    drift: tuple[DriftStatus, ...] = ()
