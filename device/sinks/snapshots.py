"""Pictures worth a look: of events, of doubt, and a few by chance, each with what was said about it.

The folder is flat, and ``edgegraft train`` passes over what lies there loose: whoever moves a picture into a folder
named after its class, beside the others, has labelled it, and has taken it out of the ring as well.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import deque
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import msgspec

from device.collection import Look, bgr, is_same, jpeg, look_of
from device.errors import DeviceError, SinkError
from device.prediction import Prediction
from device.sinks.base import Result, Want
from device.sinks.options import flag, number, read_options, whole
from device.sinks.ring import Limits, Ring, stem_name
from device.status import Status

SNAPSHOT_SCHEMA = 1
_QUALITY = 90
# An empty belt may puzzle the model all night: one picture of it is enough.
_RECENT_DOUBTS = 32
_DOUBT_EVERY_S = 1.0

_OPTIONS = {
    "events": flag(),
    "uncertain": number(0, 1),
    "sample": number(0, 1),
    "most_mb": number(1, 1e6),
    "most": whole(1, 100_000),
    "seed": whole(0, 2**63),
}


class Reason(Enum):
    """Why a picture was kept; a part of its name."""

    EVENT = "event"
    UNCERTAIN = "uncertain"
    SAMPLE = "sample"


@dataclass(frozen=True, slots=True)
class SnapshotConfig:
    """Which pictures are kept.

    Attributes:
        events: those at which a settled answer came, went or changed.
        uncertain: those with a lower probability, or unknown; at most one a second of each camera and region, and
            none that looks like one of the last. 0 keeps none.
        sample: share of all frames that is kept by chance.
        most_mb: of JPEG and JSON together, in 1e6 bytes.
        most: pictures.
        seed: of the chance; None draws one.
    """

    events: bool = True
    uncertain: float = 0.6
    sample: float = 0.001
    most_mb: float = 500.0
    most: int = 5000
    seed: int | None = None


class SnapshotSink:
    """Implements ``Sink``: ``<time>-<reason>-<6 hex digits>.jpg`` with a ``.json`` beside it.

    Args:
        folder: made when it is missing; shared with other files without harm.
        config: see there.

    Raises:
        SinkError: the folder cannot be written.
    """

    def __init__(self, folder: Path, config: SnapshotConfig) -> None:
        self._config = config
        self._seed = secrets.randbits(63) if config.seed is None else config.seed
        limits = Limits(int(config.most_mb * 1e6), config.most)
        self._ring = Ring(folder, [reason.value for reason in Reason], (".json", ".jpg"), limits)
        self._doubted_at: dict[tuple[str, str], float] = {}
        self._doubts: dict[str, deque[Look]] = {}
        self._encoder = msgspec.json.Encoder()

    def wants(self, prediction: Prediction) -> Want:
        """See ``Sink.wants``."""
        reason = self._reason(prediction)
        if reason is Reason.UNCERTAIN and not self._in_time(prediction):
            reason = Reason.SAMPLE if self._drawn(prediction) else None
        return Want.NOTHING if reason is None else Want.FRAME

    def write(self, result: Result) -> None:
        """See ``Sink.write``."""
        prediction, frame = result.prediction, result.frame
        reason = self._reason(prediction)
        if frame is None or reason is None:
            return
        pixels = bgr(frame)
        if reason is Reason.UNCERTAIN and self._seen_lately(prediction.camera, look_of(pixels)):
            return
        try:
            picture = jpeg(pixels, _QUALITY)
        except DeviceError as err:
            raise SinkError(str(err)) from err
        height, width = pixels.shape[:2]
        about = {"snapshot": SNAPSHOT_SCHEMA, "reason": reason, "width": width, "height": height}
        record = self._encoder.encode({**about, "prediction": prediction})
        digits = self._digest(prediction)[-3:].hex()
        self._ring.add(stem_name(prediction.captured_at, reason.value, digits), (record + b"\n", picture))

    def report(self, status: Status) -> None:
        """See ``Sink.report``; of no concern here."""

    def close(self) -> None:
        """See ``Sink.close``; every picture was written at once."""

    def _reason(self, prediction: Prediction) -> Reason | None:
        of = self._config
        if of.events and prediction.event is not None:
            return Reason.EVENT
        if of.uncertain and (prediction.unknown or prediction.probability < of.uncertain):
            return Reason.UNCERTAIN
        return Reason.SAMPLE if self._drawn(prediction) else None

    def _in_time(self, prediction: Prediction) -> bool:
        key = prediction.camera, prediction.region
        last = self._doubted_at.get(key)
        # A clock that was set back must not end it.
        if last is not None and 0 <= prediction.captured_at - last < _DOUBT_EVERY_S:
            return False
        self._doubted_at[key] = prediction.captured_at
        return True

    def _drawn(self, prediction: Prediction) -> bool:
        # Drawn by hash, so that both threads come to the same answer without talking.
        if not self._config.sample:
            return False
        return int.from_bytes(self._digest(prediction), "big") < self._config.sample * 2**64

    def _digest(self, prediction: Prediction) -> bytes:
        of = f"{self._seed}/{prediction.camera}/{prediction.region}/{prediction.frame}"
        return hashlib.blake2b(of.encode("utf-8", "replace"), digest_size=8).digest()

    def _seen_lately(self, camera: str, look: Look) -> bool:
        recent = self._doubts.setdefault(camera, deque(maxlen=_RECENT_DOUBTS))
        if any(is_same(look, past) for past in recent):
            return True
        recent.append(look)
        return False


def open_snapshots(uri: str) -> SnapshotSink:
    """``snapshots:DIR?events=1&uncertain=0.6&sample=0.001&most_mb=500&most=5000&seed=7``; all options may be left out.

    Raises:
        SinkError: not understood, or the folder cannot be written.
    """
    target, values = read_options(uri, _OPTIONS)
    return SnapshotSink(Path(target), SnapshotConfig(**values))
