"""Which process of a training on several machines this is: from the command line, or from ``TF_CONFIG``."""

from __future__ import annotations

import json
import os
import re

from pipeline.config import Workers
from pipeline.errors import PipelineError

WAIT_VARIABLE = "EDGEGRAFT_WORKERS_WAIT_S"
_WAIT_S = 1800.0
_ADDRESS = re.compile(r"[A-Za-z0-9._\-\[\]:]+:\d{1,5}")


def read_workers(addresses: str | None, index: int | None, devices: int) -> Workers:
    """The part of this process.

    Args:
        addresses: ``host:port,host:port``, the same in every process; None: ``TF_CONFIG`` says it, or it is alone.
        index: of this process; None as above.
        devices: of this machine.

    Raises:
        PipelineError: only one of the two is given, an address is none, or ``TF_CONFIG`` cannot be read.
    """
    if addresses is None and index is None:
        named, number = _from_environment()
        return Workers(named, number, devices)
    if addresses is None or index is None:
        raise PipelineError("--worker K and --workers HOST:PORT,... belong together; give both")
    return Workers(_checked(addresses.split(","), "--workers"), index, devices)


def wait_seconds() -> float:
    """How long a worker waits for all others to be there, each time; then it gives up.

    Half an hour, or what the environment variable ``EDGEGRAFT_WORKERS_WAIT_S`` says: machines may be long in a queue.

    Raises:
        PipelineError: the variable holds no number above 0.
    """
    text = os.environ.get(WAIT_VARIABLE, "")
    try:
        seconds = float(text) if text else _WAIT_S
    except ValueError:
        seconds = 0.0
    # Python and TensorFlow count such times in 32 bits of milliseconds.
    if not 0 < seconds <= 1e6:
        raise PipelineError(f"{WAIT_VARIABLE}={text}: expected a number of seconds above 0, at most 1000000")
    return seconds


def _from_environment() -> tuple[tuple[str, ...], int]:
    """Slurm and Kubernetes operators set ``TF_CONFIG`` as TensorFlow documents it."""
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return (), 0
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        named = [*cluster.get("chief", []), *cluster["worker"]]
        # A chief, where there is one, comes before worker 0.
        offset = len(cluster.get("chief", [])) if task["type"] == "worker" else 0
        return _checked(named, "TF_CONFIG"), offset + int(task["index"])
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise PipelineError(
            f"TF_CONFIG cannot be read ({err}); expected "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        ) from err


def _checked(addresses: list[str], source: str) -> tuple[str, ...]:
    wrong = [address for address in addresses if not _ADDRESS.fullmatch(address)]
    if wrong or len(set(addresses)) != len(addresses):
        what = f"'{wrong[0]}' is no host:port" if wrong else "an address comes twice"
        raise PipelineError(f"{source}: {what}; expected host:port,host:port, each once")
    return tuple(addresses) if len(addresses) > 1 else ()
