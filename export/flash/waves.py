"""Many boards in waves: how large they are, and when the next one does not start. Who does it is ``engine.py``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from device.bundle import open_bundle
from device.errors import UsageError
from device.inventory import Board, require_distinct
from device.releases.refusals import Unsigned
from export.flash.engine import Engine, Task
from export.flash.over_ssh import Flashed, SshConfig

# Each wave costs the time of one board, and up to here a tenth would be a second or a third canary.
_FEW_BOARDS = 20
_FEW, _MANY = "1,100%", "1,10%,50%,100%"
_SHARE = re.compile(r"(\d{1,6})(%?)")
_DEFAULT_PERCENT = 10


@dataclass(frozen=True, slots=True)
class Share:
    """So many boards, or so many percent of them."""

    amount: int
    percent: bool

    def of(self, total: int) -> int:
        """In boards, rounded down."""
        return self.amount * total // 100 if self.percent else self.amount


@dataclass(frozen=True, slots=True)
class Policy:
    """How boards are gone through.

    Attributes:
        waves: how many boards have been begun when each wave is over; () is a canary and then the others.
        max_failed: more failures than this, of the boards begun so far, and the next wave does not start; None: one
            board, or a tenth of them where that is more.
        at_once: boards that are flashed beside one another.
        timeout_s: for one board.
    """

    waves: tuple[Share, ...] = ()
    max_failed: Share | None = None
    at_once: int = 50
    timeout_s: int = 1800

    def bears(self, failed: int, begun: int) -> bool:
        """Whether the next wave may start."""
        if self.max_failed is None:
            return failed <= max(1, begun * _DEFAULT_PERCENT // 100)
        return failed <= self.max_failed.of(begun)

    def sizes(self, total: int) -> list[int]:
        """Boards of each wave."""
        waves = self.waves or parse_waves(_FEW if total <= _FEW_BOARDS else _MANY)
        ends = [min(total, math.ceil(share.amount * total / 100) if share.percent else share.amount) for share in waves]
        sizes = [end - start for start, end in pairwise([0, *ends])]
        return [size for size in sizes if size > 0]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of all boards, in their order, and how many each wave was planned to have."""

    boards: tuple[Flashed, ...]
    waves: tuple[int, ...]
    not_begun: tuple[str, ...] = ()

    @property
    def failed(self) -> list[str]:
        """Destinations of boards on which it did not work."""
        return [one.board for one in self.boards if one.exit_code]


def parse_waves(text: str) -> tuple[Share, ...]:
    """E.g. ``1,10%,50%,100%``.

    Raises:
        UsageError: something else, or waves that do not grow or do not end with all boards.
    """
    shares = tuple(parse_share("--waves", part) for part in text.split(","))
    if (shares[-1].amount, shares[-1].percent) != (100, True):
        raise UsageError(f"--waves {text}: the last wave must be 100%, all boards, e.g. {_MANY}")
    for before, after in pairwise(shares):
        if before.amount < 1 or (before.percent == after.percent and before.amount >= after.amount):
            raise UsageError(f"--waves {text}: each must be more than the one before, e.g. {_MANY}")
    return shares


def parse_share(option: str, text: str) -> Share:
    """``3`` or ``10%``.

    Raises:
        UsageError: something else.
    """
    found = _SHARE.fullmatch(text.strip())
    if found is None or (found[2] and int(found[1]) > 100):
        raise UsageError(f"{option} '{text}': expected a number of boards or 0% to 100%, e.g. 1 or 10%")
    return Share(int(found[1]), bool(found[2]))


def flash_boards(config: SshConfig, boards: Sequence[Board], policy: Policy, say: Callable[[str], None]) -> Outcome:
    """Wave after wave; a board that fails or is slow holds up none of its wave.

    A wave in which no board did well is followed by none. Boards that are not reached say nothing of the bundle: as
    long as no more failed than are borne, the next ones take their place in such a wave.

    Raises:
        Unsigned, BundleError, ContractError: before any board is asked.
        UsageError: a board is there twice.
        OSError: a file that boards are to get cannot be read.
        EngineError: the engine ended before its time.
    """
    require_distinct(boards)
    config = _read_bundle(config)
    for path in {config.trust, *(board.rules for board in boards)} - {None}:
        assert path is not None
        path.open("rb").close()
    sizes = [len(boards)] if config.dry_run else policy.sizes(len(boards))
    done: list[Flashed] = []
    stopped = False

    def tell(one: Flashed) -> None:
        if len(boards) > 1:
            say(one.line)

    with Engine(Task(config, policy.at_once, policy.timeout_s), say, tell) as engine:
        for number, size in enumerate(sizes, 1):
            wave: list[Flashed] = []
            while not stopped and not _well(wave) and (rest := boards[len(done) : len(done) + size]):
                if len(sizes) > 1:
                    say(f"wave {number} of {len(sizes)}: {len(rest)} boards")
                now = [replace(one, wave=number) for one in engine.flash(rest)]
                wave += now
                done += now
                stopped = _stops(policy, done, wave)
    return Outcome(tuple(done), tuple(sizes), tuple(board.destination for board in boards[len(done) :]))


def _stops(policy: Policy, done: Sequence[Flashed], wave: Sequence[Flashed]) -> bool:
    """Whether no more boards may be begun, in this wave or the next."""
    failed = sum(one.exit_code != 0 for one in done)
    return not policy.bears(failed, len(done)) or (not _well(wave) and any(one.reached for one in wave))


def _well(wave: Sequence[Flashed]) -> bool:
    return any(one.exit_code == 0 for one in wave)


def _read_bundle(config: SshConfig) -> SshConfig:
    """The same with what is read of the bundle.

    Raises:
        Unsigned: no board would take the bundle.
        BundleError, ContractError: it is not intact.
    """
    signature = config.bundle.with_name(f"{config.bundle.name}.sig")
    if not signature.exists() and not config.allow_unsigned:
        raise Unsigned(
            f"{config.bundle}: no {signature.name} beside it; 'edgegraft keys sign' makes one, or pass --allow-unsigned"
        )
    with open_bundle(config.bundle) as bundle:
        return replace(config, release=f"{bundle.manifest.name} {bundle.manifest.version}")
