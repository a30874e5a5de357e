"""More than one device, and more than one machine: which strategy a training runs under. Imports TensorFlow.

Several devices of one machine: ``tf.distribute.MirroredStrategy``. Several machines:
``tf.distribute.MultiWorkerMirroredStrategy``, told by ``--worker`` and ``--workers`` or by ``TF_CONFIG`` as Slurm and
Kubernetes set it. Every process does the same steps on its own share of the photos and the gradients are averaged.
"""

from __future__ import annotations

import json
import os
from typing import Any

import tensorflow as tf

from pipeline.config import Workers
from pipeline.errors import PipelineError


def make_strategy(workers: Workers) -> Any:
    """The strategy for this process; with several machines it waits until all are there.

    Args:
        workers: from the command line or from ``workers_from_environment``.

    Raises:
        PipelineError: there are fewer devices than asked for, or this process's address cannot be used.
    """
    if workers.count > 1:
        return _several_machines(workers)
    if workers.devices > 1:
        return tf.distribute.MirroredStrategy(_devices(workers.devices))
    return tf.distribute.get_strategy()


def has_gpu() -> bool:
    """Whether TensorFlow sees a GPU here."""
    return bool(tf.config.list_physical_devices("GPU"))


def use_mixed_precision() -> None:
    """Compute in 16 bits where the GPU has units for it; weights stay float32."""
    import tf_keras

    tf_keras.mixed_precision.set_global_policy("mixed_float16")


def _several_machines(workers: Workers) -> Any:
    if workers.devices > 1:
        raise PipelineError(
            f"--devices {workers.devices} with --workers: give every device a worker of its own, or use one machine"
        )
    cluster = {"cluster": {"worker": list(workers.addresses)}, "task": {"type": "worker", "index": workers.index}}
    os.environ["TF_CONFIG"] = json.dumps(cluster)
    options = tf.distribute.experimental.CommunicationOptions()
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except (tf.errors.OpError, RuntimeError, ValueError) as err:
        first = str(err).strip().splitlines()[0]
        raise PipelineError(
            f"worker {workers.index} at {workers.addresses[workers.index]} could not join the others: {first}"
        ) from err


def _devices(count: int) -> list[str]:
    kind = "GPU" if has_gpu() else "CPU"
    if kind == "CPU":
        physical = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
        tf.config.set_logical_device_configuration(physical, parts)
    found = len(tf.config.list_logical_devices(kind))
    if found < count:
        raise PipelineError(f"--devices {count}: this machine has {found} {kind}(s); ask for at most {found}")
    return [f"{kind}:{index}" for index in range(count)]
