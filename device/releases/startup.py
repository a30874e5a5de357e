"""``python -m device.releases.startup STORE``: what a service does before each start; see ``recover``, ``renewal``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from device.errors import DeviceError
from device.releases.durable import refusing
from device.releases.recover import Recovered, recover
from device.releases.refusals import Busy
from device.releases.store import Store

# A new start ends this one.
_ENDED_WITHIN_S = 60.0


def main(root: str) -> None:
    """Put the releases in order, unless an installation is at work: that one started the service and watches it."""
    store = Store(Path(root))
    try:
        with store.locked(), refusing(root):
            outcome = recover(store)
            another = store.service_before_file.exists() and _as_before(store)
    except Busy:
        return
    except DeviceError as err:
        # A disk that takes no writes: what ``current`` leads to is started all the same.
        print(f"edgegraft: {err}", file=sys.stderr)
        return
    if outcome is not Recovered.NOTHING:
        print(f"edgegraft: {outcome.value}", file=sys.stderr)
    if another:
        time.sleep(_ENDED_WITHIN_S)


def _as_before(store: Store) -> bool:
    """Whether the service is about to be started as it was before its replacement was cut short."""
    from device.releases.renewal import put_back
    from device.service import Places
    from device.service_manager import Manager

    for places in (Places(store.root.name, system) for system in (True, False)):
        manager = Manager(places.system)
        if places.releases == store.root and put_back(places, manager):
            print("edgegraft: the service was not confirmed as it is, and starts as it was before", file=sys.stderr)
            manager.restart(places.unit)
            return True
    return False


if __name__ == "__main__":
    main(sys.argv[1])
