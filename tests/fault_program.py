"""``python -m tests.fault_program install|rollback STORE [BUNDLE [quick [MARKER]]]``: an installer in its own process.

It ends as ``edgegraft install`` does: exit code, and one line that says why. Its service is always healthy.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from device.errors import EdgegraftError
from device.releases.base import FakeService
from device.releases.installer import Asked, Installer
from device.releases.store import Store
from device.releases.trial import FakeTrial, golden_trial
from device.trust.base import AllowUnsigned
from tests.releases import WINDOW


def main(action: str, root: str, bundle: str = "", trial: str = "", marker: str = "") -> int:
    """Do it; the exit code.

    Args:
        action: see above.
        root: of the store.
        bundle: to install.
        trial: "quick", or the real one.
        marker: a folder that is made when the imports are over.
    """
    service = FakeService()
    tried = FakeTrial() if trial == "quick" else golden_trial
    at_work = Installer(Store(Path(root)), service, AllowUnsigned(), tried, say)
    if marker:
        Path(marker).mkdir()
    try:
        done = at_work.rollback(WINDOW) if action == "rollback" else at_work.install(Asked(Path(bundle), window=WINDOW))
    except EdgegraftError as err:
        say(f"edgegraft {action}: {err}", sys.stderr.fileno())
        return err.exit_code
    say(f"{done.version} {'changed' if done.changed else 'unchanged'}, {service.restarts} starts")
    return 0


def say(line: str, to: int = 1) -> None:
    """Also where writing is made to fail."""
    with suppress(OSError):
        os.write(to, f"{line}\n".encode())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
