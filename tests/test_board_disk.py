"""The disk of the board in a file: what it keeps when the power goes, and what it may not."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from board import volatile_disk

BLOCKS = 64
SIZE = volatile_disk.BLOCK_BYTES


@pytest.fixture
def disk(tmp_path: Path) -> volatile_disk.Cached:
    (tmp_path / "disk").write_bytes(bytes(BLOCKS * SIZE))
    for key, value in {"file": "disk", "report": "loss.json", "trap": "trap"}.items():
        volatile_disk.config(key, str(tmp_path / value))
    volatile_disk.config("seed", "1")
    return volatile_disk.open(False)


def test_what_was_flushed_is_kept_and_of_the_rest_a_part(disk: volatile_disk.Cached, tmp_path: Path) -> None:
    volatile_disk.pwrite(disk, bytearray(b"a" * SIZE), 0, 0)
    # Not on a block's border: both neighbours keep what they had.
    volatile_disk.pwrite(disk, bytearray(b"bb"), SIZE - 1, 0)
    volatile_disk.flush(disk, 0)
    volatile_disk.pwrite(disk, bytearray(b"c" * SIZE * (BLOCKS - 2)), 2 * SIZE, 0)
    read = bytearray(BLOCKS * SIZE)
    volatile_disk.pread(disk, read, 0, 0)
    newest = b"a" * (SIZE - 1) + b"bb" + bytes(SIZE - 1) + b"c" * SIZE * (BLOCKS - 2)
    assert bytes(read) == newest
    volatile_disk.close(disk)
    kept = (tmp_path / "disk").read_bytes()
    assert kept[: 2 * SIZE] == newest[: 2 * SIZE]
    blocks = [kept[at : at + SIZE] for at in range(2 * SIZE, len(kept), SIZE)]
    assert set(blocks) == {b"c" * SIZE, bytes(SIZE)}
    said = json.loads((tmp_path / "loss.json").read_text())
    assert said == {"flushes": 1, "unflushed_blocks": BLOCKS - 2, "lost_blocks": blocks.count(bytes(SIZE))}


def test_a_flush_in_the_trap_is_never_done(disk: volatile_disk.Cached, tmp_path: Path) -> None:
    (tmp_path / "trap").touch()
    # It catches nothing that has nothing to lose.
    volatile_disk.flush(disk, 0)
    assert not (tmp_path / "trap.caught").exists()
    volatile_disk.pwrite(disk, bytearray(b"a" * SIZE), 0, 0)
    failed: list[OSError] = []

    def flush() -> None:
        try:
            volatile_disk.flush(disk, 0)
        except OSError as err:
            failed.append(err)

    thread = threading.Thread(target=flush)
    thread.start()
    while not (tmp_path / "trap.caught").exists():
        time.sleep(0.01)
    (tmp_path / "trap").unlink()
    thread.join()
    assert len(failed) == 1
    assert (tmp_path / "disk").read_bytes() == bytes(BLOCKS * SIZE)
