"""One file per epoch from which an interrupted training goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras
from numpy.typing import NDArray

from device.console import say
from pipeline.callbacks.state import State, Stateful, numbered, unnumbered
from pipeline.callbacks.storage import read_tensors, write_tensors


class Backup(tf_keras.callbacks.Callback):
    """Writes, after every epoch, everything that the next one depends on, as one file that is always whole.

    That is: the weights, the optimizer's variables (moments, step, loss scale), the random state of dropout layers made
    with ``rng_type="stateful"``, and the state of other callbacks. If the order of the data is a function of seed and
    epoch, a resumed training ends where the uninterrupted one does. Use::

        backup = Backup(path, stage, [averaging, best, early_stopping], fingerprint)
        start = backup.resume(model, epochs)          # the model is compiled
        model.fit(..., initial_epoch=start, epochs=epochs, callbacks=[averaging, ..., backup])

    Args:
        path: of the file. One per stage, so that a later stage does not make an earlier one start again.
        stage: its name.
        stateful: the callbacks whose state is kept, in the same order every time.
        fingerprint: of everything that makes this training another one: data, config, version.
    """

    def __init__(self, path: Path, stage: str, stateful: Sequence[Stateful], fingerprint: str) -> None:
        super().__init__()
        self._path, self._stage, self._stateful, self._fingerprint = path, stage, tuple(stateful), fingerprint

    def resume(self, model: tf_keras.Model, epochs: int) -> int:
        """Put model, optimizer and callbacks into the state of the last whole epoch. Call it before ``fit``.

        Args:
            model: compiled; its optimizer is built here if it is not yet.
            epochs: as ``fit`` will get it.

        Returns:
            ``initial_epoch`` for ``fit``: 0 without a backup, with one of another training, or a damaged one, which is
            said; ``epochs`` where the training had already come to its end, so that ``fit`` only puts the best weights
            back.
        """
        try:
            tensors, about = read_tensors(self._path)
        except FileNotFoundError:
            return 0
        except ValueError as err:
            say(f"{self._path}: damaged ({err}); stage '{self._stage}' begins anew")
            return 0
        if (about.get("fingerprint"), about.get("stage")) != (self._fingerprint, self._stage):
            return 0
        variables = _variables(model)
        if not _fit_together(variables, tensors):
            say(f"{self._path}: of another model; stage '{self._stage}' begins anew")
            return 0
        for variable, value in zip(variables, unnumbered(tensors, "variable"), strict=True):
            variable.assign(value)
        for index, callback in enumerate(self._stateful):
            callback.restore(_part(tensors, f"callback{index}/"))
        return epochs if about["finished"] == "yes" else int(about["epoch"])

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the file.

        Raises:
            TrainingError: it cannot be written; the one of the epoch before stays.
        """
        if not np.isfinite((logs or {}).get("loss", 0.0)):
            return  # nothing to go on from; the epoch before is better
        tensors = numbered([variable.numpy() for variable in _variables(self.model)], "variable")
        for index, callback in enumerate(self._stateful):
            tensors |= {f"callback{index}/{name}": array for name, array in callback.state().items()}
        about = {
            "stage": self._stage,
            "epoch": str(epoch + 1),
            "finished": "yes" if self.model.stop_training else "no",
            "fingerprint": self._fingerprint,
        }
        write_tensors(self._path, tensors, about)


def _variables(model: tf_keras.Model) -> list[Any]:
    optimizer = model.optimizer
    with model.distribute_strategy.scope():
        optimizer.build(model.trainable_variables)
    loss_scale: Any = getattr(optimizer, "_loss_scale", None)  # mixed precision; no public way to set it
    scaling = [loss_scale.current_loss_scale, loss_scale.counter] if hasattr(loss_scale, "counter") else []
    # Keras hides the random state of its layers from their weights.
    hidden = [getattr(getattr(layer, "_random_generator", None), "_generator", None) for layer in model.submodules]
    random = [generator.state for generator in hidden if generator is not None]
    return [*model.weights, *optimizer.variables, *scaling, *random]


def _fit_together(variables: list[Any], tensors: Mapping[str, NDArray[Any]]) -> bool:
    saved = [array.shape for array in unnumbered(tensors, "variable")]
    return saved == [tuple(variable.shape) for variable in variables]


def _part(tensors: Mapping[str, NDArray[Any]], prefix: str) -> State:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
