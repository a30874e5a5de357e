"""Mixed precision to a budget: which layers int8 costs most, and the fewest of them that must stay in float."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from export.errors import ConversionError


@dataclass(frozen=True, slots=True)
class LayerError:
    """What 8 bits cost in one layer.

    Attributes:
        layer: as the quantiser names it.
        noise: mean squared difference between quantised and float activations over the mean square of the float ones:
            0 is exact, at 1 the noise is as loud as the signal. The errors of the layers before it are in it.
        added: noise beyond that of the layer's noisiest input.
    """

    layer: str
    noise: float
    added: float


class LayerQuantizer(Protocol):
    """A float model that can be quantised with some of its layers left out."""

    def errors(self) -> list[LayerError]:
        """Of every layer that can be quantised, where all are."""

    def quantise(self, in_float: frozenset[str]) -> bytes:
        """The model's file with all in 8 bits but these layers."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """What a search found.

    Attributes:
        model: the file.
        in_float: layers that stay in float, the costliest first.
        errors: of all layers.
        tries: files that were made and proved.
    """

    model: bytes
    in_float: tuple[str, ...]
    errors: tuple[LayerError, ...]
    tries: int


def added_noise(
    noise: Mapping[str, float], operators: Iterable[tuple[str, Sequence[str], Sequence[str]]]
) -> list[LayerError]:
    """Noise of tensors to errors of layers.

    Args:
        noise: by name of the tensor, of those that were compared.
        operators: (name, names of the inputs, names of the outputs) each.
    """
    errors = []
    for name, inputs, outputs in operators:
        known = [noise[tensor] for tensor in outputs if tensor in noise]
        if known:
            before = max((noise[tensor] for tensor in inputs if tensor in noise), default=0.0)
            errors.append(LayerError(name, max(known), max(0.0, max(known) - before)))
    return errors


def search_mixed(quantizer: LayerQuantizer, passes: Callable[[bytes], bool]) -> Mixed:
    """The fewest of the costliest layers in float with which the model passes.

    Layers are taken by the noise that they add. Their number is doubled until the model passes and then halved back to
    the least one, for every try costs a conversion and a proof; that more float never hurts is taken for granted.

    Args:
        quantizer: of the model.
        passes: whether a file holds its budget.

    Raises:
        ConversionError: it does not pass even with every layer in float.
    """
    errors = sorted(quantizer.errors(), key=lambda error: error.added, reverse=True)
    names = [error.layer for error in errors]
    tried: dict[int, bytes] = {}

    def passes_with(count: int) -> bool:
        tried[count] = quantizer.quantise(frozenset(names[:count]))
        return passes(tried[count])

    failed, count = 0, 1
    while not passes_with(min(count, len(names))):
        if count >= len(names):
            raise ConversionError(f"misses its budget with all {len(names)} layers in float: int8 is not the reason")
        failed, count = count, 2 * count
    passed = min(count, len(names))
    while passed - failed > 1:
        middle = (failed + passed) // 2
        if passes_with(middle):
            passed = middle
        else:
            failed = middle
    return Mixed(tried[passed], tuple(names[:passed]), tuple(errors), len(tried))
