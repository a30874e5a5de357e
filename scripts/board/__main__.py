"""``python -m board``: the whole proof; see ``scripts/virtual_board``."""

from __future__ import annotations

import argparse
import json
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from board import events
from board.board import Board
from board.events import Event, Story
from board.image import debian_image
from board.machine import BoardError, Machine
from board.workstation import Workstation

_SIZE = 96


def main() -> int:
    """Make the image, prepare the card, boot it, do everything to it, print the table."""
    parser = argparse.ArgumentParser(
        prog="virtual_board", description="a board in a file: flash it, cut its power, ..."
    )
    parser.add_argument("--short", action="store_true", help="first boot, one switch, the roll-backs, two power cuts")
    parser.add_argument("--cuts", type=int, metavar="N", help="power cuts (20; 2 with --short)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which the power goes (0)")
    parser.add_argument("--again", action="store_true", help="make the image anew")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="for everything that is made; by default it is removed"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    folder = args.keep or Path(tempfile.mkdtemp(prefix="edgegraft-board-"))
    folder.mkdir(parents=True, exist_ok=True)
    happened: list[Event] = []
    try:
        good = prove(folder.resolve(), args, happened)
    finally:
        if args.keep is None:
            shutil.rmtree(folder)
    if args.json:
        print(json.dumps({"good": good, "events": [asdict(each) for each in happened]}))
    else:
        print(table(happened))
    return 0 if good else 1


def prove(folder: Path, args: argparse.Namespace, happened: list[Event]) -> bool:
    """Everything; whether all of it went well."""
    cuts = args.cuts if args.cuts is not None else 2 if args.short else 20
    workstation = Workstation(folder, say)
    begin = time.monotonic()
    image = debian_image(say, args.again)
    happened.append(
        Event("an arm64 Debian with cloud-init, made or from the cache", time.monotonic() - begin, image.name)
    )
    disk = folder / "card.img"
    subprocess.run(["cp", "--sparse=always", image, disk], check=True)
    begin = time.monotonic()
    workstation.make_keys()
    workstation.train(_SIZE)
    happened.append(Event("photos to a signed bundle on the workstation", time.monotonic() - begin, "signs 1.0.0"))
    seconds = events.flash_card(workstation, disk)
    happened.append(Event("flash --image", seconds, "the card is ready"))
    machine = Machine(folder, disk)
    story = Story(Board(machine, workstation), say, happened)
    try:
        events.first_boot(story)
        events.switch(story)
        events.roll_back(story)
        events.by_hand(story)
        events.power_cuts(story, cuts, random.Random(args.seed))
        if not args.short:
            events.full_disk(story)
            events.read_only_root(story)
    except (BoardError, RuntimeError):
        return False
    finally:
        machine.close()
    return True


def table(happened: list[Event]) -> str:
    """Markdown."""
    lines = [f"{platform.processor() or platform.machine()}, QEMU's Cortex-A72 x 2, {time.strftime('%Y-%m-%d')}", ""]
    lines += ["| event | seconds | verdict |", "|---|---|---|"]
    lines += [f"| {each.what} | {each.seconds:.0f} | {each.verdict} |" for each in happened]
    return "\n".join(lines)


def say(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
