"""Magnitude pruning by tfmot: small weights become zero while the others learn to do without. Imports TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import tf_keras

from pipeline.compression.config import Pattern, Pruning
from pipeline.compression.kernels import compressible

# Steps between two looks at which weights are smallest.
_FREQUENCY = 4
# Share of the steps over which the sparsity rises; the rest is at the target.
_RISE = 0.75


def prunable(model: tf_keras.Model, pruning: Pruning, steps: int) -> tf_keras.Model:
    """A model of the same layers that prunes itself in training, with ``pruning_callback``.

    It shares its variables with ``model``, which is pruned when the training is over: there is nothing to strip.

    Args:
        model: flat, from ``build_classifier``.
        pruning: how much; the 2-of-4 pattern is imposed in the first step.
        steps: of the training. Sparsity rises with the cube of the steps to go (Zhu and Gupta 2017).
    """
    import tensorflow_model_optimization as tfmot

    shapes = {name: model.get_layer(name).kernel.shape for name in compressible(model)}
    shares = densities({name: tuple(shape) for name, shape in shapes.items()}, 1.0 - pruning.percent / 100)
    rise = max(_FREQUENCY, round(_RISE * steps) // _FREQUENCY * _FREQUENCY)
    pattern = {"sparsity_m_by_n": (2, 4)} if pruning.pattern is Pattern.TWO_OF_FOUR else {}

    def wrap(layer: Any) -> Any:
        if layer.name not in shares:
            return layer
        schedule = tfmot.sparsity.keras.PolynomialDecay(
            initial_sparsity=0.0,
            final_sparsity=1.0 - shares[layer.name],
            begin_step=0,
            end_step=rise,
            frequency=_FREQUENCY,
        )
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule, **pattern)

    return tf_keras.models.clone_model(model, clone_function=wrap)


def pruning_callback() -> tf_keras.callbacks.Callback:
    """Counts the steps and zeroes the weights after each."""
    import tensorflow_model_optimization as tfmot

    return tfmot.sparsity.keras.UpdatePruningStep()


def densities(shapes: Mapping[str, tuple[int, ...]], overall: float) -> dict[str, float]:
    """The share of its weights that each kernel keeps: small ones keep more (Erdos-Renyi-Kernel, Evci et al. 2020).

    With the same share everywhere the few weights of a narrow layer are missed long before the many of a wide one.

    Args:
        shapes: of the kernels, by name.
        overall: share of all weights together that is kept.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    raw = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}
    whole: set[str] = set()
    while True:
        rest = [name for name in shapes if name not in whole]
        kept = overall * sum(sizes.values()) - sum(sizes[name] for name in whole)
        factor = kept / max(1e-9, sum(raw[name] * sizes[name] for name in rest))
        full = {name for name in rest if factor * raw[name] >= 1.0}
        if not full:
            return {name: 1.0 if name in whole else factor * raw[name] for name in shapes}
        whole |= full
