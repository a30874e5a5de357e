"""The trust root of a board: enrolled once, then followed along a chain in which each is signed by the one before."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization import DeserializationError

from device.releases.durable import make_folder, refusing, write_file
from device.releases.refusals import Expired, Untrusted

ROOT = "root.json"
ROOT_LIMIT_BYTES = 512 * 1024
# What the parser of hostile JSON may meet.
PARSE_ERRORS = (DeserializationError, RepositoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


def enroll(trust: Path, root: bytes, replace: bool = False) -> Root:
    """Believe this root from now on.

    Args:
        trust: the folder.
        root: metadata as 'edgegraft keys create' writes it.
        replace: also where it does not follow from the one that is there.

    Raises:
        Untrusted: not root metadata, not signed by itself, or not a successor.
    """
    candidate = parse_root(root)
    path = trust / ROOT
    if path.is_file() and not replace:
        known = path.read_bytes()
        if known == root:
            return candidate.signed
        newest = follow(parse_root(known), [root])
        if newest is None:
            raise Untrusted(
                f"{path}: this board has version {parse_root(known).signed.version} of another root or a newer one; "
                "enrol the next version of its chain, or pass --replace if boards are to believe somebody else"
            )
    _write(trust, root)
    return candidate.signed


def keep_newer(trust: Path, verified: bytes) -> None:
    """Keep a root to which a client has followed the chain from this board's own.

    Args:
        trust: the folder.
        verified: by the client, every step of the chain.
    """
    path = trust / ROOT
    if path.is_file() and parse_root(verified).signed.version > parse_root(path.read_bytes()).signed.version:
        _write(trust, verified)


def parse_root(data: bytes) -> Metadata[Root]:
    """Root metadata that is signed by its own keys.

    Raises:
        Untrusted: it is not.
    """
    if len(data) > ROOT_LIMIT_BYTES:
        raise Untrusted(f"root metadata of {len(data)} bytes; at most {ROOT_LIMIT_BYTES} are read")
    try:
        metadata = Metadata[Root].from_bytes(data)
        if metadata.signed.type != Root.type:
            raise ValueError(f"it is of type {metadata.signed.type}")
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except PARSE_ERRORS as err:
        raise Untrusted(f"not valid root metadata ({_short(err)}); take N.root.json from the folder of keys") from err
    return metadata


def follow(known: Metadata[Root], chain: Iterable[bytes]) -> bytes | None:
    """The newest root of a chain that can be reached from the known one; None where that is the known one itself.

    A root that does not follow ends the chain: what comes after it is not believed.

    Raises:
        Untrusted: one of them is not root metadata.
    """
    newest: bytes | None = None
    current = known.signed
    for data in chain:
        candidate = parse_root(data)
        if candidate.signed.version != current.version + 1:
            continue
        try:
            current.verify_delegate(Root.type, candidate.signed_bytes, candidate.signatures)
        except RepositoryError:
            break
        current, newest = candidate.signed, data
    return newest


def trusted_root(trust: Path, chain: Iterable[bytes] = ()) -> Root:
    """What this board believes, after following a chain; the newest is kept, durably.

    Raises:
        Untrusted: it was not enrolled, or what it keeps is damaged.
        Expired: the newest has ended.
    """
    path = trust / ROOT
    try:
        known = parse_root(path.read_bytes())
    except OSError as err:
        raise Untrusted(f"{path}: this board trusts nobody yet; enrol it: edgegraft trust enroll ROOT.json") from err
    newest = follow(known, chain)
    if newest is not None:
        _write(trust, newest)
        known = parse_root(newest)
    require_current(known.signed.expires, "the trust root", trust)
    return known.signed


def require_current(expires: datetime, what: str, trust: Path) -> None:
    """Compare with the clock, which a board without a battery may have lost.

    A clock before this board's own enrolment is wrong, so that the time of that is taken instead.

    Raises:
        Expired: it has ended, or the clock says so.
    """
    now = datetime.now(timezone.utc)
    path = trust / ROOT
    if path.is_file():
        now = max(now, datetime.fromtimestamp(path.stat().st_mtime, timezone.utc))
    if now >= expires:
        raise Expired(
            f"{what} ended on {expires:%Y-%m-%d}, and this board's clock says {now:%Y-%m-%d}; set the clock if it is "
            "wrong, else sign again and publish"
        )


def _write(trust: Path, data: bytes) -> None:
    with refusing(str(trust)):
        make_folder(trust)
        write_file(trust / ROOT, data)


def _short(err: Exception) -> str:
    return " ".join(str(err).split())[:200]
