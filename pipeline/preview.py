"""``train --preview``: what the network will see, before it is trained. Calling it imports TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from device.quiet import native_stderr_dropped
from pipeline.backbones.registry import resolve
from pipeline.cache import PixelCache, cache_root
from pipeline.config import TrainConfig
from pipeline.dataset import list_folder
from pipeline.errors import PipelineError
from pipeline.ingest import ingest
from pipeline.job import preprocess_spec, search_names


def preview(config: TrainConfig, path: Path) -> None:
    """Write a PNG of some photos and random views of them.

    Args:
        config: of the training that is meant.
        path: of the PNG.

    Raises:
        DatasetError: the folder holds no photos.
        PipelineError: the file cannot be written.
    """
    if not path.parent.is_dir():
        raise PipelineError(f"{path}: there is no folder {path.parent}; make it, or name another file")
    spec = preprocess_spec(config, resolve(search_names(config)[0], config.weights))
    cache = PixelCache(cache_root(), spec)
    dataset = ingest(list_folder(config.data), cache, spec)
    pixels = cache.pixels()[[photo.row for photo in dataset.photos]]
    labels = np.array([photo.label for photo in dataset.photos], np.int64)
    with native_stderr_dropped():
        from pipeline.augmentation.preview import write_preview

        write_preview(path, pixels, labels, dataset.classes, config.augmentation, config.seed)
