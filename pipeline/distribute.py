"""More than one device, and more than one machine: which strategy a training runs under. Imports TensorFlow.

Several devices of one machine: ``tf.distribute.MirroredStrategy``. Several machines:
``tf.distribute.MultiWorkerMirroredStrategy``, told by ``--worker`` and ``--workers`` or by ``TF_CONFIG`` as Slurm and
Kubernetes set it. Every process does the same steps on its own share of the photos and the gradients are averaged.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context

from pipeline.config import Workers
from pipeline.errors import PipelineError
from pipeline.workers import wait_seconds

# A worker that is not heard of for so long is lost; loaded machines are late with their heartbeats.
_HEARTBEAT_TIMEOUT_S = 20
# Network file systems show a new file to other machines after a while.
_FILE_SHOWS_WITHIN_S = 20.0
_DIGEST_BYTES = 16
# What TensorFlow raises in the others when a worker was killed, stopped answering or came back as a new process.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)


@lru_cache(maxsize=1)
def make_strategy(workers: Workers) -> Any:
    """The strategy for this process; with several machines it waits until all are there.

    A process can join the others once: called again, it gives the same.

    Args:
        workers: from ``pipeline.workers.read_workers``.

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


def is_lost_worker(error: BaseException) -> bool:
    """Whether an error of TensorFlow says that another worker is gone; joining again helps then."""
    return isinstance(error, _LOST)


def sum_over_workers(strategy: Any, array: NDArray[Any]) -> NDArray[Any]:
    """Sum of every worker's array, the same in all of them; each waits here for the others.

    Args:
        strategy: with one device in each worker.
        array: of the same shape and float type everywhere.
    """
    values = strategy.run(lambda: tf.identity(array))
    result: NDArray[Any] = strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None).numpy()
    return result


def wait_for_all(workers: Workers) -> None:
    """Return when every worker has come here."""
    sum_over_workers(make_strategy(workers), np.zeros(1, np.float32))


def require_same(strategy: Any, workers: Workers, value: str, message: str) -> None:
    """Compare a value with the other workers'; all of them take part, and all raise.

    Args:
        strategy: of this process.
        workers: which process this is.
        value: of any length; its hash is sent.
        message: what differs and what to do; ``{others}`` stands for the workers that differ from worker 0.

    Raises:
        PipelineError: not all are the same.
    """
    digests = np.zeros((workers.count, _DIGEST_BYTES), np.float32)
    digest = hashlib.blake2b(value.encode(errors="surrogateescape"), digest_size=_DIGEST_BYTES).digest()
    digests[workers.index] = np.frombuffer(digest, np.uint8)
    everyone = sum_over_workers(strategy, digests)
    others = [str(index) for index in range(workers.count) if (everyone[index] != everyone[0]).any()]
    if others:
        raise PipelineError(message.format(others=", ".join(others)))


def require_shared_folder(strategy: Any, workers: Workers, folder: Path) -> None:
    """See that a folder is the same one for all workers: they go on from the backup in it.

    Raises:
        PipelineError: a worker does not see what worker 0 writes there.
    """
    # A new name every time: a network file system may remember that an old one was not there.
    nonce = np.frombuffer(os.urandom(8), np.uint8).astype(np.float32)
    nonce = sum_over_workers(strategy, nonce if workers.is_chief else np.zeros(8, np.float32))
    token = folder / f"shared-{bytes(nonce.astype(np.uint8)).hex()}"
    if workers.is_chief:
        folder.mkdir(parents=True, exist_ok=True)
        token.touch()
    wait_for_all(workers)
    seen = _appears(token)
    message = (
        f"--out {folder.parent}: worker {{others}} has another folder there than worker 0; give all workers one "
        "shared folder: from the backup in it they go on after a failure"
    )
    try:
        require_same(strategy, workers, str(seen), message)
    finally:
        if workers.is_chief:
            token.unlink(missing_ok=True)


def _appears(path: Path) -> bool:
    deadline = time.monotonic() + _FILE_SHOWS_WITHIN_S
    while not path.exists():
        # Whoever has no such folder at all need not wait for a file in it.
        if time.monotonic() > deadline or not path.parent.is_dir():
            return False
        time.sleep(0.5)
    return True


def _several_machines(workers: Workers) -> Any:
    if workers.devices > 1:
        raise PipelineError(
            f"--devices {workers.devices} with --workers: give every device a worker of its own, or use one machine"
        )
    cluster = {"cluster": {"worker": list(workers.addresses)}, "task": {"type": "worker", "index": workers.index}}
    os.environ["TF_CONFIG"] = json.dumps(cluster)
    # One device per worker; CUDA_VISIBLE_DEVICES, which Slurm sets, says which.
    tf.config.set_visible_devices(tf.config.list_physical_devices("GPU")[:1], "GPU")
    _configure_heartbeats(workers)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.UnknownError as err:
        raise PipelineError(
            f"worker {workers.index}: cannot listen at {workers.addresses[workers.index]} ({err.message}); is another "
            "process at this port? Name a free one in --workers, the same list for all"
        ) from err


def _configure_heartbeats(workers: Workers) -> None:
    """TensorFlow has these settings, but no public way to them; without, it waits an hour for the others to come."""
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        heartbeat_timeout_in_ms=_HEARTBEAT_TIMEOUT_S * 1000,
        # The supervisor's patience ends before.
        cluster_register_timeout_in_ms=int(2000 * wait_seconds()),
        coordinated_jobs=[coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=workers.count)],
    )


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
