"""A runtime in a process of its own, which a bad file may crash or hang without harm."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from device.errors import EngineError


def be_the_first_to_go() -> None:
    """Where memory runs out, the kernel ends this process, not the service that is at work beside it."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def run_child(module: str, arguments: Sequence[str], time_limit_s: float) -> None:
    """Run a module of ours with this Python and wait for it.

    Raises:
        EngineError: it crashed, ended with another code than 0, or was ended at the time limit.
    """
    command = [sys.executable, "-m", module, *arguments]
    try:
        child = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=time_limit_s, check=False
        )
    except subprocess.TimeoutExpired as err:
        raise EngineError(f"in a process of its own the model gave no answer within {time_limit_s:.0f} s") from err
    except OSError as err:
        raise EngineError(f"no process of its own can be started for the model ({err})") from err
    if child.returncode:
        raise EngineError(_death(child.returncode, child.stderr.decode(errors="replace")))


def _death(code: int, said: str) -> str:
    if code < 0:
        return f"the runtime crashed on the model in a process of its own ({signal.Signals(-code).name})"
    last = (said.strip().splitlines() or ["it said nothing"])[-1]
    return f"the model failed in a process of its own (exit code {code}): {last}"
