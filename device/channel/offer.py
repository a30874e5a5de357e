"""What a channel says of each of its files, in the signed metadata, and which of them is for this board."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from tuf.api.metadata import TargetFile

from device.channel.errors import ChannelError
from device.contract import BundleName, Contract, FileName, SemanticVersion, Sha256

OFFER_SCHEMA = 1

# Whole: canonical JSON, which is what is signed, has no fractions.
Percent = Annotated[int, Meta(ge=0, le=100)]


class Offer(Contract, frozen=True):
    """The ``custom`` field of a target.

    Attributes:
        schema: of this.
        name, version: of the bundle.
        sha256, size_bytes: of the bundle, unpacked.
        rollout_percent: of the boards, the part that may have it already.
        variant: of a slim bundle, the only one in it; None of a whole bundle.
        packing: how the target holds the bundle: as it is, or compressed.
    """

    schema: int
    name: BundleName
    version: SemanticVersion
    sha256: Sha256
    size_bytes: Annotated[int, Meta(ge=1)]
    rollout_percent: Percent = 100
    variant: FileName | None = None
    packing: Literal["none", "xz"] = "none"


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of a channel."""

    offer: Offer
    target: TargetFile


def parse_offer(target: TargetFile) -> Offer:
    """A target's ``custom`` field.

    Raises:
        ChannelError: it is not one of ours, or of another schema.
    """
    custom: Any = target.custom
    schema = custom.get("schema") if isinstance(custom, Mapping) else None
    if schema != OFFER_SCHEMA:
        raise ChannelError(
            f"{target.path}: the channel describes it by schema {schema!r}, this edgegraft reads {OFFER_SCHEMA}; "
            "update edgegraft on this board, or publish again"
        )
    try:
        return msgspec.convert(custom, Offer)
    except msgspec.ValidationError as err:
        raise ChannelError(f"{target.path}: its description in the channel is not valid ({err})") from err


def included(board: str, offer: Offer) -> bool:
    """Whether a board is among the ``rollout_percent`` of boards. A growing percentage never loses one.

    Another release draws other boards: not always the same ones go first.

    Args:
        board: its id.
    """
    text = "\n".join((board, offer.name, offer.version))
    share = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    return share * 100.0 < offer.rollout_percent


def version_key(version: str) -> tuple[int, ...]:
    """Versions in their order."""
    return tuple(int(part) for part in version.split("."))


def release_for(board: str, listed: Sequence[Listed], name: str | None) -> list[Listed]:
    """The files of the newest release that this board may have; empty where there is none.

    Args:
        board: its id.
        listed: all of the channel.
        name: of the bundle; None where the board has none yet.

    Raises:
        ChannelError: the channel has no such bundle, or several and the board has none yet.
    """
    names = sorted({one.offer.name for one in listed})
    if name is None:
        if len(names) > 1:
            raise ChannelError(f"the channel holds {', '.join(names)}; say which with --bundle NAME")
        name = names[0] if names else ""
    if listed and name not in names:
        raise ChannelError(
            f"the channel holds {', '.join(names)}, but '{name}' is installed here; is it the right one?"
        )
    mine = [one for one in listed if one.offer.name == name and included(board, one.offer)]
    newest = max((version_key(one.offer.version) for one in mine), default=())
    return [one for one in mine if version_key(one.offer.version) == newest]


def file_for(release: Iterable[Listed], variant: str | None) -> Listed:
    """The slim bundle of the variant that this board has chosen before; the whole one for all others.

    Args:
        release: its files, one of them whole.
        variant: by name; None asks for the whole bundle.

    Raises:
        ChannelError: there is no whole one.
    """
    by_variant = {one.offer.variant: one for one in release}
    found = by_variant.get(variant, by_variant.get(None))
    if found is None:
        raise ChannelError("the channel lacks the whole bundle of its newest release; publish it again")
    return found
