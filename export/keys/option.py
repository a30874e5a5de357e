"""``--sign KEYS``: a bundle is signed in the same go as it is made."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from device.errors import UsageError


def add_sign_options(parser: argparse.ArgumentParser) -> None:
    """What says with which keys, and for how long."""
    parser.add_argument("--sign", type=Path, metavar="KEYS", help="write B.egb.sig too, with this folder of keys")
    parser.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="of the keys; else $EDGEGRAFT_PASSPHRASE, or asked"
    )
    parser.add_argument("--days", type=int, default=365, help="with --sign: for which boards install it (365)")


def signer_for(args: argparse.Namespace) -> Callable[[Path], Path | None]:
    """What signs a bundle and says where its signature is; without ``--sign`` it does nothing.

    The keys are opened here and now: a wrong passphrase is told before the minutes that a bundle takes.

    Raises:
        UsageError: the options do not go together, or nobody is there to be asked.
        PublishError: there are no keys, or the passphrase is wrong.
    """
    if args.sign is None:
        if args.passphrase_file is not None:
            raise UsageError("--passphrase-file is of the keys to sign with; name them too: --sign KEYS")
        return lambda bundle: None
    if not 1 <= args.days <= 3650:
        raise UsageError(f"--days {args.days}: expected 1 to 3650")

    from export.channel.keys import KeyFolder
    from export.keys.passphrase import online_passphrase
    from export.keys.sign import sign_bundle

    keys = KeyFolder(args.sign, online_passphrase(args.passphrase_file))
    return lambda bundle: sign_bundle(bundle, keys, args.days)
