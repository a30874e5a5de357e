"""Draw a training set: one folder of photos per class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from device.errors import DeviceError
from device.scene.signs import CLASSES
from device.scene.world import render, sample_view

# The picture has been through a JPEG already, as a camera's has; the file shall not add to that.
_FILE_QUALITY = 95


def draw_dataset(
    folder: Path,
    photos_per_class: int,
    seed: int,
    size: tuple[int, int] = (240, 320),
    on_photo: Callable[[], None] = lambda: None,
) -> None:
    """Draw photos of every class to ``folder/<class>/<class>_0001.jpg`` and on.

    A photo depends on the seed, its class and its number only: more of them leave the first ones as they are.

    Args:
        folder: is created; may exist if it is empty.
        photos_per_class: at least 1.
        seed: 0 or more; equal seeds give equal photos.
        size: (height, width) in pixels.
        on_photo: called after each, for a progress bar.

    Raises:
        DeviceError: the folder is not empty, is a file, or cannot be written to; or no photos were asked for.
    """
    if photos_per_class < 1:
        raise DeviceError(f"{photos_per_class} photos per class were asked for; expected 1 or more")
    try:
        _require_empty(folder)
        for number, name in enumerate(CLASSES):
            (folder / name).mkdir(parents=True)
            for photo in range(1, photos_per_class + 1):
                # 7 keeps these numbers apart from those of a film with the same seed.
                rng = np.random.default_rng([seed, 7, number, photo])
                picture = render(sample_view(name, rng), size)
                _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _FILE_QUALITY])
                (folder / name / f"{name}_{photo:04d}.jpg").write_bytes(data.tobytes())
                on_photo()
    except OSError as err:
        raise DeviceError(f"{folder}: photos cannot be drawn there: {err.strerror}; name another folder") from err


def _require_empty(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise DeviceError(f"{folder} is not empty; name a new folder, or remove what is in it")
