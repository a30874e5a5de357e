"""A backbone converted once to float TFLite and kept, with its weights: a head needs no TensorFlow then.

One folder per backbone, weights and size under ``backbones/`` in the cache: ``model.tflite`` (raw pixels to features)
and ``weights.safetensors`` (the Keras weights in order, and the digest of the other file; written last).
Imports TensorFlow only where the cache holds nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline.backbones import Backbone
from pipeline.backbones.base import IMAGENET
from pipeline.callbacks.state import numbered, unnumbered
from pipeline.callbacks.storage import read_tensors, write_tensors
from pipeline.errors import PipelineError

# Raised whenever what is converted changes.
_VERSION = 1
_MODEL, _WEIGHTS = "model.tflite", "weights.safetensors"
FEATURES, MAPS = 0, 1


@dataclass(frozen=True, slots=True)
class FrozenBackbone:
    """A backbone that is not trained.

    Attributes:
        model: TFLite; (1, size, size, 3) uint8 RGB -> output ``FEATURES``: (1, features) float32, pooled; where the
            network ends in maps also output ``MAPS``: (1, h, w, features) float32.
        weights: as ``Model.get_weights`` of the backbone gives them.
        has_maps: whether there is the second output.
    """

    model: bytes
    weights: list[NDArray[Any]]
    has_maps: bool


def frozen_backbone(backbone: Backbone, weights: str, size: int, cache: Path) -> FrozenBackbone:
    """Convert a backbone, or take it from the cache.

    Args:
        backbone: from the registry.
        weights: see ``Backbone.load_weights``; never ``none``.
        size: side of the input in pixels.
        cache: see ``pipeline.cache.cache_root``.

    Raises:
        WeightsError: see ``Backbone.load_weights``.
        PipelineError: the cache cannot be written.
    """
    folder = cache / "backbones" / f"{backbone.name}-{size}-{_key(backbone, weights, size)}"
    return _read(folder) or _make(backbone, weights, size, folder)


def _key(backbone: Backbone, weights: str, size: int) -> str:
    # Weights that a library brings are another's with another version of it.
    origin = f"tf-keras {version('tf-keras')}" if weights == IMAGENET else _digest(Path(weights).read_bytes())
    return _digest(f"{_VERSION} {backbone.name} {size} {origin}".encode())[:16]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(folder: Path) -> FrozenBackbone | None:
    """None where the cache holds nothing, or half of it, or something damaged: it is made anew then."""
    try:
        tensors, about = read_tensors(folder / _WEIGHTS)
        model = (folder / _MODEL).read_bytes()
    except (OSError, ValueError):
        return None
    if about.get("model") != _digest(model):
        return None
    return FrozenBackbone(model, unnumbered(tensors, "weight"), about.get("maps") == "yes")


def _make(backbone: Backbone, weights: str, size: int, folder: Path) -> FrozenBackbone:
    import tensorflow as tf

    from pipeline.frozen import convert_frozen
    from pipeline.model import normalise

    base = backbone.build((size, size, 3))
    backbone.load_weights(base, weights)
    has_maps = len(base.output_shape) == 4

    def features(pixels: Any) -> tuple[Any, ...]:
        output = base(normalise(pixels, backbone.normalisation), training=False)
        return (tf.reduce_mean(output, (1, 2)), output) if has_maps else (output,)

    made = FrozenBackbone(convert_frozen(features, (1, size, size, 3), tf.uint8), base.get_weights(), has_maps)
    _write(made, folder)
    return made


def _write(made: FrozenBackbone, folder: Path) -> None:
    partial = folder / f"{_MODEL}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(made.model)
        partial.replace(folder / _MODEL)
    except OSError as err:
        raise PipelineError(f"{folder}: {err.strerror}; name another folder with EDGEGRAFT_CACHE") from err
    about = {"model": _digest(made.model), "maps": "yes" if made.has_maps else "no"}
    write_tensors(folder / _WEIGHTS, numbered(made.weights, "weight"), about)
