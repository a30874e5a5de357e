"""``python -m tests.fault_program install|again|rollback STORE [BUNDLE]``: an installer in a process of its own.

It ends as ``edgegraft install`` does: exit code, and one line that says why. Its service is one that is always healthy.
"""

from __future__ import annotations

import sys
from pathlib import Path

from device.errors import EdgegraftError
from device.releases.base import FakeService
from device.releases.installer import Asked, Installed, Installer
from device.releases.store import Store
from device.releases.trial import FakeTrial, Trial, golden_trial
from device.trust.base import AllowUnsigned
from tests.releases import WINDOW


def main(action: str, root: str, bundle: str = "", trial: str = "") -> int:
    """Do it; the exit code."""
    tried: Trial = FakeTrial() if trial == "quick" else golden_trial
    service = FakeService()
    at_work = Installer(Store(Path(root)), service, AllowUnsigned(), tried, tell=lambda line: print(line, flush=True))
    try:
        done: Installed = (
            at_work.rollback(WINDOW) if action == "rollback" else at_work.install(Asked(Path(bundle), window=WINDOW))
        )
    except EdgegraftError as err:
        print(f"edgegraft {action}: {err}", file=sys.stderr)
        return err.exit_code
    print(f"{done.version} {'changed' if done.changed else 'unchanged'}, {service.restarts} starts")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
