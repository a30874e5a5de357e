"""How somebody else's model wants its pixels: words of the command line to numbers, and the numbers applied in numpy.

The numpy form is the reference that the surgery on the file is proved against; it shares no code with it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from export.adopt.errors import AdoptError
from export.adopt.interface import Layout, ModelInput
from pipeline.backbones.base import Normalisation


def _grey(mean: float, scale: float) -> Normalisation:
    return Normalisation((mean,) * 3, (scale,) * 3)


RAW = _grey(0.0, 1.0)
PRESETS = {
    "raw": RAW,
    "0..1": _grey(0.0, 255.0),
    "-1..1": _grey(127.5, 127.5),
    # torchvision.transforms.Normalize of its ImageNet models, times 255
    "imagenet": Normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    # keras.applications.imagenet_utils, mode "caffe": blue first, the data set's mean taken off
    "caffe": Normalisation((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), bgr=True),
}
# Keras' names of the same two.
_ALIASES = {"tf": "-1..1", "torch": "imagenet"}
_BGR = "bgr"
_LIMIT = 1e6


def parse_preprocess(text: str) -> Normalisation:
    """Read ``imagenet``, ``0..1,bgr`` or ``mean=123.7,116.3,103.5,scale=58`` (pixels 0..255, in the network's order).

    Raises:
        AdoptError: not understood; the message shows what is.
    """
    tokens = [token.strip() for token in text.split(",")]
    bgr = _BGR in tokens
    tokens = [token for token in tokens if token != _BGR]
    name = _ALIASES.get(tokens[0], tokens[0]) if tokens else "raw"
    if name in PRESETS and len(tokens) <= 1:
        preset = PRESETS[name]
        return Normalisation(preset.mean, preset.scale, preset.bgr or bgr)
    numbers = _numbers(tokens, text)
    mean, scale = numbers.get("mean", (0.0,)), numbers.get("scale", (1.0,))
    if min(scale) <= 0:
        raise AdoptError(f"--preprocess '{text}': a scale is divided by and must be above 0")
    return Normalisation(_three(mean, text), _three(scale, text), bgr)


def name_of(normalisation: Normalisation) -> str:
    """The words that ``parse_preprocess`` reads as this."""
    for name, preset in PRESETS.items():
        if preset == normalisation:
            return name
        if Normalisation(preset.mean, preset.scale, bgr=True) == normalisation:
            return f"{name},{_BGR}"
    mean, scale = (_short(values) for values in (normalisation.mean, normalisation.scale))
    return f"mean={mean},scale={scale}{',' + _BGR if normalisation.bgr else ''}"


def resolve(normalisation: Normalisation, model: ModelInput) -> Normalisation:
    """What a normalisation means for this very input.

    ``raw`` means the bytes as they are: into a quantised input too, whatever numbers these bytes stand for there. Nor
    is anything else to be done where bytes stand for the wanted numbers already.
    """
    quantisation = model.quantisation
    raw = normalisation.mean == RAW.mean and normalisation.scale == RAW.scale
    if quantisation is None or not (raw or takes_bytes(normalisation, model)):
        return normalisation
    of_bytes = _grey(float(model.byte_zero_point), 1.0 / quantisation.scale)
    return Normalisation(of_bytes.mean, of_bytes.scale, normalisation.bgr)


def takes_bytes(normalisation: Normalisation, model: ModelInput) -> bool:
    """Whether a quantised input reads a pixel's byte as the number that the normalisation makes of it.

    It may differ by half a quantisation step: -1..1 puts 127.5 in the middle, a zero point is whole.
    """
    if model.quantisation is None:
        return False
    step = model.quantisation.scale
    for mean, scale in zip(normalisation.mean, normalisation.scale, strict=True):
        for byte in (0, 255):
            wanted, read = (byte - mean) / scale, step * (byte - model.byte_zero_point)
            if abs(wanted - read) > 0.51 * step:
                return False
    return True


def network_input(pixels: NDArray[np.uint8], normalisation: Normalisation, model: ModelInput) -> NDArray[np.generic]:
    """What the original file is to be fed.

    Args:
        pixels: (height, width, 3) uint8 RGB.
        normalisation: already through ``resolve``.
        model: decides layout, dtype and quantisation.

    Returns:
        (1, height, width, 3) or (1, 3, height, width) of the model's dtype.
    """
    picture = pixels[..., ::-1] if normalisation.bgr else pixels
    numbers = (picture.astype(np.float64) - normalisation.mean) / normalisation.scale
    if model.quantisation is not None:
        limits = np.iinfo(model.dtype)
        steps = np.rint(numbers / model.quantisation.scale) + model.quantisation.zero_point
        numbers = np.clip(steps, limits.min, limits.max)
    if model.layout is Layout.NCHW:
        numbers = numbers.transpose(2, 0, 1)
    return np.ascontiguousarray(numbers[np.newaxis].astype(model.dtype))


def _numbers(tokens: list[str], text: str) -> dict[str, tuple[float, ...]]:
    found: dict[str, list[float]] = {}
    key = ""
    for token in tokens:
        name, equals, value = token.partition("=")
        key = name.strip() if equals else key
        try:
            if key not in ("mean", "scale") or (equals and key in found):
                raise ValueError(token)
            number = float(value if equals else token)
            if not abs(number) < _LIMIT:
                raise ValueError(token)
        except ValueError as err:
            raise AdoptError(
                f"--preprocess '{text}': expected {', '.join(PRESETS)}, or mean=...,scale=... with one or three "
                f"numbers each for pixels of 0..255, such as mean=127,scale=128; ',bgr' behind either for blue first"
            ) from err
        found.setdefault(key, []).append(number)
    return {name: tuple(values) for name, values in found.items()}


def _three(values: tuple[float, ...], text: str) -> tuple[float, float, float]:
    if len(values) == 1:
        return (values[0],) * 3
    if len(values) == 3:
        return (values[0], values[1], values[2])
    raise AdoptError(f"--preprocess '{text}': {len(values)} numbers came; give one for all colours, or three")


def _short(values: tuple[float, ...]) -> str:
    shown = [f"{value:.6g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else ",".join(shown)
