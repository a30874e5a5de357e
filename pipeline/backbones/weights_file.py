"""A user's own Keras weights file, read into a backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.errors import WeightsError

_HDF5_START = b"\x89HDF\r\n\x1a\n"


def load_keras_file(model: Any, path: Path, backbone: str) -> None:
    """Fill a backbone from an HDF5 weights file as Keras writes it.

    Args:
        model: a tf_keras.Model; its weights are replaced, or left as they were when this fails.
        path: ``.h5`` without top: weights of the same architecture, in its order of layers.
        backbone: its name, for messages.

    Raises:
        WeightsError: missing, not HDF5, cut short, or of another architecture.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; give a Keras .h5 file or 'imagenet'")
    with path.open("rb") as stream:
        if stream.read(len(_HDF5_START)) != _HDF5_START:
            raise WeightsError(f"{path}: not a Keras .h5 weights file; save one with model.save_weights('x.h5')")
    before = model.get_weights()
    try:
        model.load_weights(str(path))
    except OSError as err:
        model.set_weights(before)
        raise WeightsError(f"{path}: the file is cut short or damaged; copy it again") from err
    except (ValueError, KeyError, IndexError) as err:
        # Keras finds out about a shape only when it has replaced the weights before it.
        model.set_weights(before)
        raise WeightsError(
            f"{path}: weights of another architecture than {backbone} without top; "
            f"name the backbone that they belong to with --backbone"
        ) from err
