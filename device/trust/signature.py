"""The signature file beside a bundle: TUF metadata, the chain of roots and one listing of targets."""

from __future__ import annotations

from pathlib import Path

import msgspec

from device.contract import Contract
from device.releases.durable import write_file
from device.releases.refusals import Unsigned, Untrusted

SIGNATURE_LIMIT_BYTES = 1024 * 1024
_SCHEMA = 1


class Signature(Contract, frozen=True):
    """Metadata as text, each byte as it was signed: ``roots`` from version 1 on, ``targets`` with the bundle."""

    schema: int
    roots: tuple[str, ...]
    targets: str


def signature_path(bundle: Path) -> Path:
    """Where a bundle's signature lies."""
    return bundle.with_name(bundle.name + ".sig")


def write_signature(path: Path, signature: Signature) -> None:
    """Write it as JSON."""
    write_file(path, msgspec.json.format(msgspec.json.encode(signature), indent=1))


def read_signature(path: Path) -> Signature:
    """Read what is hostile until it was verified.

    Raises:
        Unsigned: there is none.
        Untrusted: it is not one.
    """
    try:
        with path.open("rb") as file:
            data = file.read(SIGNATURE_LIMIT_BYTES + 1)
    except FileNotFoundError as err:
        bundle = path.name.removesuffix(".sig")
        raise Unsigned(
            f"{bundle}: there is no signature beside it ({path.name}); sign it with 'edgegraft keys sign {bundle} "
            "--keys KEYS', or pass --allow-unsigned"
        ) from err
    if len(data) > SIGNATURE_LIMIT_BYTES:
        raise Untrusted(f"{path.name}: more than {SIGNATURE_LIMIT_BYTES} bytes; that is no signature")
    try:
        signature = msgspec.json.decode(data, type=Signature)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise Untrusted(f"{path.name}: not a signature ({err}); copy it again or sign the bundle again") from err
    if signature.schema != _SCHEMA:
        raise Untrusted(f"{path.name} has schema {signature.schema}, this edgegraft reads {_SCHEMA}; update edgegraft")
    return signature
