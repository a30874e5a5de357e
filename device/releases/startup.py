"""``python -m device.releases.startup STORE``: what a service does before each start; see ``recover``."""

from __future__ import annotations

import sys
from pathlib import Path

from device.releases.recover import Recovered, recover
from device.releases.refusals import Busy, Refusal
from device.releases.store import Store


def main(root: str) -> None:
    """Put the releases in order, unless an installation is at work: that one started the service and watches it."""
    store = Store(Path(root))
    try:
        with store.locked():
            outcome = recover(store)
    except Busy:
        return
    except Refusal as err:
        # A disk that takes no writes: what ``current`` leads to is started all the same.
        print(f"edgegraft: {err}", file=sys.stderr)
        return
    if outcome is not Recovered.NOTHING:
        print(f"edgegraft: {outcome.value}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1])
