"""Compressed forms of a run, kept in it as ``compressed/<name>/``. Imports no TensorFlow."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from device.contract import Contract, Fraction, require_schema
from device.errors import ContractError
from pipeline.compression.config import Plan
from pipeline.errors import RunError
from pipeline.run import COMPRESSED, Run, write_atomically

COMPRESSED_SCHEMA = 1
_RECORD, WEIGHTS = "record.json", "weights.safetensors"


class KernelRecord(Contract, frozen=True):
    """Of one compressed kernel: its weights, the share of them that are zero, and how many different values."""

    weights: int
    sparsity: Fraction
    values: int


class StepRecord(Contract, frozen=True):
    """One training; ``validation_before`` is measured with the structure imposed but nothing trained."""

    name: str
    epochs: int
    best_epoch: int
    seconds: float
    learning_rate: float
    validation_before: Fraction
    validation_accuracy: Fraction


class CompressedRecord(Contract, frozen=True):
    """What ``record.json`` holds.

    ``run_created`` says of which training this is; ``seconds`` leave out what ``builds_on`` had taken before;
    ``peak_rss_mb`` is the most memory that the process held, in 10^6 bytes; ``float_accuracy`` is the run's own on the
    same validation photos.
    """

    schema: Annotated[int, Meta(ge=1)]
    edgegraft_version: str
    created: str
    name: str
    run_created: str
    builds_on: str | None
    settings: dict[str, float | int | str]
    steps: tuple[StepRecord, ...]
    seconds: float
    peak_rss_mb: float
    float_accuracy: Fraction
    validation_accuracy: Fraction
    kernels: dict[str, KernelRecord]

    @property
    def sparsity(self) -> float:
        """Share of zeros among all compressed weights."""
        total = sum(kernel.weights for kernel in self.kernels.values())
        return sum(kernel.weights * kernel.sparsity for kernel in self.kernels.values()) / max(1, total)


@dataclass(frozen=True, slots=True)
class Compressed:
    """A compressed form of a run.

    Attributes:
        plan: what was done.
        folder: where it lies.
        record: how it went.
    """

    plan: Plan
    folder: Path
    record: CompressedRecord

    @property
    def weights(self) -> Path:
        """In the order of ``Model.get_weights`` of the (quantised) classifier."""
        return self.folder / WEIGHTS


def find_kept(run: Run, plan: Plan) -> Compressed | None:
    """What an earlier call has kept; None where there is none, or one of another training or version.

    Args:
        run: as it is now.
        plan: which form.
    """
    folder = run.folder / COMPRESSED / plan.name
    try:
        data = (folder / _RECORD).read_bytes()
        require_schema(data, COMPRESSED_SCHEMA, str(folder / _RECORD), "compress again")
        record = msgspec.json.decode(data, type=CompressedRecord)
    except (OSError, ContractError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Compressed(plan, folder, record) if record.run_created == run.record.created else None


@contextmanager
def keeping(run: Run, plan: Plan) -> Iterator[Path]:
    """A new folder to write weights into; with ``finish`` it becomes the kept form, without it goes.

    Raises:
        RunError: the run cannot be written to.
    """
    parent = run.folder / COMPRESSED
    try:
        parent.mkdir(exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{plan.name}.", dir=parent))
    except OSError as err:
        raise RunError(
            f"{parent}: {err.strerror}; compressed forms are kept in the run, so it has to be writable"
        ) from err
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def finish(run: Run, plan: Plan, scratch: Path, record: CompressedRecord) -> Compressed:
    """Make a folder from ``keeping`` the kept form, in one step: a kill leaves the whole of it or nothing."""
    write_atomically(scratch / _RECORD, msgspec.json.format(msgspec.json.encode(record), indent=1))
    folder = run.folder / COMPRESSED / plan.name
    shutil.rmtree(folder, ignore_errors=True)
    scratch.replace(folder)
    folder.chmod(0o755)
    return Compressed(plan, folder, record)
