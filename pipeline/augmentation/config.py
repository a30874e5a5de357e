"""What may change in a photo, and how much: distributions and presets. Imports no TensorFlow."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from enum import Enum

from pipeline.errors import TrainingError

_LIMITS = {  # smallest and largest value that makes sense
    "rotation_degrees": (0.0, 180.0),
    "zoom": (1.0, 4.0),
    "aspect": (1.0, 4.0),
    "crop_area": (0.01, 1.0),
    "crop_aspect": (1.0, 4.0),
    "hue_degrees": (0.0, 180.0),
    "blur_sigma": (0.0, 0.1),
    "noise_sigma": (0.0, 255.0),
    "randaugment_operations": (0, 14),
    "randaugment_magnitude": (0.0, 30.0),
    "mixup_alpha": (0.0, math.inf),
    "cutmix_alpha": (0.0, math.inf),
}


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """Distributions of the random changes; each photo draws each value on its own. The defaults change nothing.

    Lengths are fractions of the picture's side, so that a config means the same at every input size.

    Attributes:
        flip: mirrored left to right with probability 0.5.
        rotation_degrees: r; angle uniform in [-r, r].
        zoom: z; scale log-uniform in [1/z, z].
        aspect: a; width against height stretched by a factor log-uniform in [1/a, a].
        crop_area: c; random resized crop (Szegedy et al. 2015, "Going deeper with convolutions"): its share of the
            picture's area is uniform in [c, 1], its place uniform. 1: no crop.
        crop_aspect: a; the crop's width against height, relative to the picture's, log-uniform in [1/a, a]; a crop
            that would be wider or higher than the picture is cut to it. Of effect with ``crop_area`` only.
        translation: t; moved along each axis by a fraction of the side uniform in [-t, t].
        brightness: b; gain uniform in [1 - b, 1 + b].
        contrast: c; distance from the photo's mean colour scaled by a factor uniform in [1 - c, 1 + c].
        saturation: s; distance from grey of the same luma scaled by a factor uniform in [1 - s, 1 + s].
        hue_degrees: h; the chroma plane of YIQ turned by an angle uniform in [-h, h]; luma stays.
        channel_gain: g; the colour of the light: red, green and blue each get a gain uniform in [1 - g, 1 + g].
        blur_sigma: s; Gaussian blur of a sigma uniform in [0, s], as a fraction of the shorter side
            (0.01: up to 2.2 pixels of 224).
        blur_probability: that a photo is blurred.
        noise_sigma: s; Gaussian noise of a sigma uniform in [0, s], in steps of 0..255, drawn for every value.
        noise_probability: that a photo gets noise.
        cutout_side: side of one grey square as a fraction of the shorter side; its centre is uniform in the
            picture, so that it may stick out (DeVries & Taylor 2017, arXiv:1708.04552).
        cutout_probability: that a photo gets one.
        randaugment_operations: n; RandAugment (Cubuk et al. 2019, arXiv:1909.13719): so many of its fourteen
            operations, drawn uniformly with replacement, each in a random direction. 0: none.
        randaugment_magnitude: strength of each, 0..30.
        mixup_alpha: a; the shares of two photos Beta(a, a), the larger one the photo's own (Zhang et al. 2017,
            arXiv:1710.09412). 0: no mixup.
        cutmix_alpha: a; share of the photo's own area Beta(a, a) before the box is cut to the picture
            (Yun et al. 2019, arXiv:1905.04899). 0: no cutmix. With both, each batch draws one of the two.

    Raises:
        TrainingError: a value outside its range.
    """

    flip: bool = False
    rotation_degrees: float = 0.0
    zoom: float = 1.0
    aspect: float = 1.0
    crop_area: float = 1.0
    crop_aspect: float = 1.0
    translation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue_degrees: float = 0.0
    channel_gain: float = 0.0
    blur_sigma: float = 0.0
    blur_probability: float = 0.0
    noise_sigma: float = 0.0
    noise_probability: float = 0.0
    cutout_side: float = 0.0
    cutout_probability: float = 0.0
    randaugment_operations: int = 0
    randaugment_magnitude: float = 9.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value, (low, high) = getattr(self, item.name), _LIMITS.get(item.name, (0.0, 1.0))
            if not low <= value <= high:
                raise TrainingError(f"augmentation: {item.name} is {value}; expected {low:g} to {high:g}")

    def without_flip(self) -> AugmentConfig:
        """The same without mirror images."""
        return replace(self, flip=False)

    @property
    def moves(self) -> bool:
        """Whether pixels change place."""
        ranges = (self.zoom - 1, self.aspect - 1, self.rotation_degrees, self.translation, 1 - self.crop_area)
        return self.flip or self.randaugment_operations > 0 or any(ranges)

    @property
    def recolours(self) -> bool:
        """Whether colours change."""
        ranges = (self.brightness, self.contrast, self.saturation, self.hue_degrees, self.channel_gain)
        return self.randaugment_operations > 0 or any(ranges)

    @property
    def mixes(self) -> bool:
        """Whether photos are mixed with each other."""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0


class Preset(Enum):
    """How far views may be from the photos: the choices of ``--augment``."""

    NONE = "none"
    LIGHT = "light"
    STANDARD = "standard"
    STRONG = "strong"


_PRESETS = {
    Preset.NONE: AugmentConfig(),
    Preset.LIGHT: AugmentConfig(flip=True, crop_area=0.8, crop_aspect=1.1, translation=0.04),
    # Measured good for fine-tuning a pretrained backbone on a few hundred photos.
    Preset.STANDARD: AugmentConfig(
        flip=True,
        rotation_degrees=15.0,
        zoom=1.25,
        aspect=1.1,
        translation=0.08,
        brightness=0.2,
        contrast=0.2,
        saturation=0.3,
        channel_gain=0.06,
        mixup_alpha=0.2,
    ),
    # For training from scratch, or for so many epochs that the standard views are learnt by heart.
    Preset.STRONG: AugmentConfig(
        flip=True,
        rotation_degrees=10.0,
        crop_area=0.35,
        crop_aspect=4 / 3,
        brightness=0.25,
        contrast=0.25,
        saturation=0.4,
        hue_degrees=8.0,
        channel_gain=0.08,
        blur_sigma=0.01,
        blur_probability=0.1,
        noise_sigma=16.0,
        noise_probability=0.1,
        cutout_side=0.4,
        cutout_probability=0.25,
        randaugment_operations=1,
        mixup_alpha=0.2,
        cutmix_alpha=1.0,
    ),
}


def preset(choice: Preset) -> AugmentConfig:
    """The distributions of a preset."""
    return _PRESETS[choice]
