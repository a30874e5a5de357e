"""What happens to the board, event after event; each has seconds and a verdict, and the first bad one ends it."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from board.board import Board, host_keys
from board.machine import BoardError, Machine
from board.workstation import HOST, USER, Workstation
from device.releases.recover import Recovered

# Long enough for some answers of a processor that is emulated.
WATCH_S = 16
_FIRST_BOOT_LIMIT_S = 2400.0
_GAP_BAR_S = 2.0
_NEXT_FLUSH_S = 15.0


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the table."""

    what: str
    seconds: float
    verdict: str
    good: bool = True


@dataclass(slots=True)
class Story:
    """The board, the workstation, and what has happened so far."""

    board: Board
    say: Callable[[str], None]
    events: list[Event] = field(default_factory=list)
    update_s: float = 0.0
    version: str = "1.0.0"

    @property
    def machine(self) -> Machine:
        """The board's hardware."""
        return self.board.machine

    @property
    def workstation(self) -> Workstation:
        """Where commands are typed."""
        return self.board.workstation

    @contextmanager
    def event(self, what: str) -> Iterator[list[str]]:
        """One that is going on; what is put into the list becomes its verdict."""
        self.say(f"-- {what}")
        words: list[str] = []
        begin = time.monotonic()
        try:
            yield words
        except (BoardError, RuntimeError) as err:
            self.events.append(Event(what, time.monotonic() - begin, f"FAILED: {str(err).splitlines()[0]}", False))
            self.say(str(err))
            raise
        self.events.append(Event(what, time.monotonic() - begin, "; ".join(words)))
        self.say(f"   {self.events[-1].seconds:.0f} s: {self.events[-1].verdict}")


def flash_card(workstation: Workstation, disk: Path) -> float:
    """The card, as a person prepares it; the seconds it took."""
    options = [
        "--camera",
        "0",
        "--sink",
        "jsonl:answers.jsonl",
        "--sink",
        "snapshots:kept",
        "--trust",
        "keys/1.root.json",
    ]
    person = ["--hostname", HOST, "--user-name", USER, "--ssh-key", "login.pub"]
    return workstation.must("flash", "signs.egb", "--image", disk, *options, *person).seconds


def first_boot(story: Story) -> None:
    """Without a network, into the running service."""
    with story.event("first boot, without a network, into the running service") as words:
        story.machine.switch_on(cable=False)
        story.machine.wait_for("done: edgegraft is at work", _FIRST_BOOT_LIMIT_S)
        story.machine.wait_for("-----END SSH HOST KEY KEYS-----", _FIRST_BOOT_LIMIT_S)
        words.append("the console says that it is at work")
    with story.event("the cable is plugged in; status over SSH") as words:
        time.sleep(20)  # for answers that can only have come without it
        story.workstation.know(story.machine.port, host_keys(story.machine.console()))
        before = time.time()
        story.machine.plug_in()
        story.board.reachable()
        alone = [each for each in story.board.answer_times() if each < before]
        if not alone:
            raise BoardError("no answer was given before there was a network")
        state = story.board.working("1.0.0")
        words.append(f"1.0.0, signed, {state.text}; {len(alone)} answers from before there was a network")
        # It has done its work, and takes a minute of an emulated processor at every boot.
        story.board.sudo("touch /etc/cloud/cloud-init.disabled; sync")


def switch(story: Story, version: str = "2.0.0") -> None:
    """A new version over SSH, and once more the same."""
    story.workstation.export_version(version)
    slow = story.board.slowness()
    with story.event(f"flash over SSH: {version}") as words:
        begin = story.board.clock()
        done = _flash(story, version)
        story.update_s = done
        story.board.working(version)
        gap = story.board.longest_gap(begin)
        words.append(
            f"at work; longest gap between answers {gap:.1f} s on the board's clock, {gap / slow:.1f} s at this "
            f"machine's speed ({slow:.0f} times the board's)"
        )
        if gap / slow > _GAP_BAR_S:
            words.append(f"(the bar of {_GAP_BAR_S:g} s is missed)")
    story.version = version
    with story.event("the same once more") as words:
        before = _started_at(story)
        done_again = story.workstation.must("flash", story.workstation.bundle(version), "--ssh", HOST)
        if "unchanged" not in done_again.output or _started_at(story) != before:
            raise BoardError(f"something changed: {done_again.output}")
        words.append("unchanged, the service was not started again")


def roll_back(story: Story, version: str = "3.0.0") -> None:
    """A version that is right in every test and fails at work."""
    story.workstation.broken_version(version)
    with story.event(f"flash over SSH: {version}, which answers NaN before a camera") as words:
        begin = story.board.clock()
        done = story.workstation.type(
            "flash", story.workstation.bundle(version), "--ssh", HOST, "--watch", str(WATCH_S)
        )
        if done.code != 21:
            raise BoardError(f"exit code {done.code}, expected 21: {done.output}{done.said}")
        state = story.board.working(story.version)
        if version not in state.bad:
            raise BoardError(f"{version} is not marked as bad: {state}")
        words.append(
            f"rolled back by the board, exit code 21, {version} is known as bad, {story.version} is at work; gap "
            f"{story.board.longest_gap(begin):.1f} s"
        )
    with story.event(f"{version} again") as words:
        done = story.workstation.type("flash", story.workstation.bundle(version), "--ssh", HOST)
        if done.code != 20:
            raise BoardError(f"exit code {done.code}, expected 20: {done.output}{done.said}")
        story.board.working(story.version)
        words.append("refused, exit code 20")


def by_hand(story: Story, before: str = "1.0.0") -> None:
    """The release before is put back to work, and what the board has kept comes back to be labelled."""
    with story.event("rolled back by hand") as words:
        done = story.workstation.must("rollback", "--ssh", HOST)
        state = story.board.working(before)
        if story.version not in state.bad:
            raise BoardError(f"{story.version} would be taken again: {state}")
        story.version = before
        words.append(done.last.partition(": ")[2])
    with story.event("its photos come back") as words:
        (found,) = story.workstation.must("collect", "--ssh", HOST, "--out", "photos/_inbox", "--json").json()["boards"]
        photos = list((story.workstation.folder / "photos/_inbox").rglob("*.jpg"))
        if not photos or found["fetched"] != len(photos):
            raise BoardError(f"{len(photos)} photos are in _inbox, and it says {found}")
        words.append(f"{len(photos)} in photos/_inbox")


def power_cuts(story: Story, count: int, chance: random.Random) -> None:
    """Updates during which the power goes, spread over the time that an update takes.

    Every second one goes at the first flush from then on, which is not done: of what was written most is lost then.
    """
    parts = chance.sample(range(count), count)
    for number, part in enumerate(parts):
        new = f"2.1.{number}"
        story.workstation.next_version(new)
        moment = story.update_s * (part + chance.random()) / count
        with story.event(f"power cut {number + 1} of {count}, {moment:.0f} s into the update to {new}") as words:
            process = story.workstation.begin(
                "flash", story.workstation.bundle(new), "--ssh", HOST, "--watch", str(WATCH_S)
            )
            time.sleep(moment)
            loss = story.machine.cut_power(_NEXT_FLUSH_S if number % 2 else 0.0)
            os.killpg(process.pid, signal.SIGKILL)
            said = process.communicate()[1].strip().splitlines()
            words.append(f'at "{said[-1].partition(": ")[2] if said else "the beginning"}"')
            when = "in a flush, " if loss.in_a_flush else ""
            words.append(f"{when}{loss.lost_blocks} of {loss.unflushed_blocks} unflushed blocks lost")
            story.machine.switch_on()
            story.board.reachable()
            state = story.board.working(story.version, new)
            if Recovered.UNDONE.value in story.machine.console():
                words.append("a switch was under way, and was undone")
            words.append(f"{state.version} is at work")
            story.version = state.version
    new = f"2.1.{count}"
    story.workstation.next_version(new)
    with story.event(f"after the power cuts: flash over SSH: {new}") as words:
        _flash(story, new)
        story.board.working(new)
        story.version = new
        words.append("at work")


def full_disk(story: Story) -> None:
    """Not a byte is free."""
    new = "2.2.0"
    story.workstation.next_version(new)
    with story.event("the disk is full") as words:
        story.board.sudo(
            "fallocate -l $(df --output=avail -B1 / | tail -1) /filler; cat /dev/zero >>/filler 2>/dev/null; sync; true"
        )
        done = story.workstation.type("flash", story.workstation.bundle(new), "--ssh", HOST)
        if done.code != 17:
            raise BoardError(f"exit code {done.code}, expected 17: {done.output}{done.said}")
        state = story.board.working(story.version, written=False)
        words.append(f"update refused, exit code 17; {story.version} goes on ({state.text})")
    with story.event("power cut while the disk is full") as words:
        story.machine.cut_power()
        story.machine.switch_on()
        story.board.reachable()
        state = story.board.working(story.version, written=False)
        words.append(f"{story.version} is at work ({state.text})")
        story.board.sudo("rm /filler; sync")
        _flash(story, new)
        story.board.working(new)
        story.version = new
        words.append(f"with space again {new} is at work")


def read_only_root(story: Story) -> None:
    """A root file system that takes no writes: while it runs, and from the start."""
    new = "2.3.0"
    story.workstation.next_version(new)
    with story.event("the root file system turns read-only") as words:
        story.board.sudo("echo u >/proc/sysrq-trigger; sleep 2")
        _refused_read_only(story, new)
        state = story.board.working(story.version, written=False)
        words.append(f"update refused, exit code 18; {story.version} goes on ({state.text})")
    with story.event("power cut, and a start with a read-only root file system") as words:
        story.machine.cut_power()
        story.machine.switch_on(read_only=True)
        story.board.reachable()
        state = story.board.working(story.version, written=False)
        _refused_read_only(story, new)
        words.append(f"{story.version} is at work ({state.text}); update refused, exit code 18")
    with story.event("power cut, and a writable start") as words:
        story.machine.cut_power()
        story.machine.switch_on()
        story.board.reachable()
        _flash(story, new)
        story.board.working(new)
        story.version = new
        words.append(f"{new} is at work")


def _refused_read_only(story: Story, version: str) -> None:
    done = story.workstation.type("flash", story.workstation.bundle(version), "--ssh", HOST)
    if done.code != 18:
        raise BoardError(f"exit code {done.code}, expected 18: {done.output}{done.said}")


def _flash(story: Story, version: str) -> float:
    bundle = story.workstation.bundle(version)
    return story.workstation.must("flash", bundle, "--ssh", HOST, "--watch", str(WATCH_S)).seconds


def _started_at(story: Story) -> str:
    return story.workstation.ssh("systemctl show -p ExecMainStartTimestampMonotonic edgegraft").stdout
