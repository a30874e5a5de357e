"""Tensors in one safetensors file that is always whole: the old one or the new one. Imports no TensorFlow."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pipeline.errors import TrainingError

_CHECKSUM = "crc32"


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Replace a safetensors file as a whole, also when the power fails or the process is killed.

    The metadata is stored with a checksum over all tensors, which the format itself lacks.

    Raises:
        TrainingError: it cannot be written, for example because the disk is full; a file that was there before stays.
    """
    # safetensors writes the memory as it lies there: a transposed view would come back scrambled.
    whole = {name: np.ascontiguousarray(tensor).reshape(np.shape(tensor)) for name, tensor in tensors.items()}
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(whole, partial, {**metadata, _CHECKSUM: _checksum(whole)})
        _flush_to_disk(partial)
        partial.replace(path)
        _flush_to_disk(path.parent)
    except (OSError, SafetensorError) as err:
        _remove(partial)
        raise TrainingError(_cannot_write(path, sum(array.nbytes for array in whole.values()), err)) from err


def read_tensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Tensors and metadata that ``write_tensors`` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged, or of other origin.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError) as err:
        raise ValueError(str(err)) from err
    if metadata.pop(_CHECKSUM, "") != _checksum(tensors):
        raise ValueError("its checksum does not match its content")
    return tensors, metadata


def cannot_write(path: Path, err: OSError) -> TrainingError:
    """The error for a file that is appended to."""
    return TrainingError(_cannot_write(path, 0, err))


def _cannot_write(path: Path, size: int, err: Exception) -> str:
    # safetensors wraps the system's error in a text of its own.
    full = getattr(err, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "os error 28" in str(err)
    reason = "the disk is full" if full else f"cannot be written ({err})"
    need = f"; {size / 1e6:.0f} MB are needed" if size else ""
    remedy = "free some space" if full else "see that the folder can be written to"
    return f"{path}: {reason}{need}; {remedy} and train again: what was saved before is still there"


def _checksum(tensors: Mapping[str, NDArray[Any]]) -> str:
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(np.ascontiguousarray(tensors[name]).data, zlib.crc32(name.encode(), value))
    return f"{value:08x}"


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # the first error is the one to tell
        return
