"""What a file says about itself, whatever its format."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec

from device.contract import ClassName, Decision, PreprocessSpec
from export.metadata.errors import MetadataError


@dataclass(frozen=True, slots=True)
class Description:
    """All that is needed to use a variant without its bundle.

    Attributes:
        name: of the bundle.
        version: of the bundle.
        backbone: what was trained, e.g. ``mobilenetv2-1.0``.
        recipe: what its numbers are, e.g. ``static_int8``.
        classes: in the order of the output.
        preprocess: how a picture becomes the input.
        decision: how the output becomes an answer.
        edgegraft_version: what wrote the file.
        author: who may be asked.
        licence: under which the file may be used.
    """

    name: str
    version: str
    backbone: str
    recipe: str
    classes: tuple[ClassName, ...]
    preprocess: PreprocessSpec
    decision: Decision
    edgegraft_version: str
    author: str = ""
    licence: str = ""

    def summary(self) -> str:
        """The same for a person, in a few sentences."""
        spec, decision = self.preprocess, self.decision
        return (
            f"Tells {len(self.classes)} classes apart ({self.backbone}, {self.recipe}). "
            f"Takes {spec.width} x {spec.height} {spec.colour_order.value.upper()} pixels from 0 to 255 as they are: "
            f"normalisation is in the graph. A picture is made to fit by {spec.fit.value} with "
            f"{spec.interpolation.value} interpolation. The probabilities want temperature {decision.temperature:.4g}; "
            f"then an answer under {decision.unknown_threshold:.4g} means unknown. "
            f"Made by edgegraft {self.edgegraft_version}."
        )


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What is to be done with a pixel before it goes in: ``(x - mean) / std``, x from 0 to 255.

    Attributes:
        mean: one value, or one for each channel.
        std: the same.

    Raises:
        MetadataError: another number of values, not finite, or a division by zero.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        counts_right = all(len(values) in (1, 3) for values in (self.mean, self.std))
        if not counts_right or not all(map(math.isfinite, self.mean + self.std)) or 0.0 in self.std:
            raise MetadataError(
                f"normalisation with mean {list(self.mean)[:4]} and std {list(self.std)[:4]}; expected one or three "
                f"finite values each and no std of zero. Say what the model takes with --preprocess"
            )


# The graph normalises: pixels go in as they are.
RAW_PIXELS = Normalisation((0.0,), (1.0,))


@dataclass(frozen=True, slots=True)
class FileMetadata:
    """What was found in a file, our own or somebody else's; empty where it says nothing.

    Attributes:
        name, version, author, licence: of the model.
        labels: in the order of the output. For people: a line break in a class name is a space here.
        normalisation: of the input, outside the graph.
        description: in files that edgegraft has written, everything.
    """

    name: str = ""
    version: str = ""
    author: str = ""
    licence: str = ""
    labels: tuple[str, ...] = ()
    normalisation: Normalisation | None = None
    description: Description | None = None


def description_bytes(description: Description) -> bytes:
    """As JSON.

    Raises:
        MetadataError: a text that is no Unicode, from a file name in another encoding.
    """
    try:
        return msgspec.json.encode(description)
    except UnicodeEncodeError as err:
        raise MetadataError(f"a name cannot be written into the model file ({err.reason}): {err.object!r}") from err


def parse_description(data: bytes | str) -> Description:
    """Read such JSON.

    Raises:
        MetadataError: it is none.
    """
    try:
        return msgspec.json.decode(data, type=Description)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as err:
        raise MetadataError(
            f"the description by edgegraft in the model file is damaged: {err}; export it again"
        ) from err


def require_classes(description: Description, outputs: int) -> None:
    """Compare the number of classes with the model's output.

    Raises:
        MetadataError: another number.
    """
    if len(description.classes) != outputs:
        raise MetadataError(
            f"{len(description.classes)} classes for a model with {outputs} outputs: the labels belong to another model"
        )
