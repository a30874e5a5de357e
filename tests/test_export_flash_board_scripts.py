"""The scripts that run on a board, by this machine's shell in a folder that stands for its file system."""

from __future__ import annotations

import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from export.flash.board_places import HOME, RUNTIMES
from export.flash.board_scripts import NEVER, NOT_STORED, NOT_WHOLE, PREPARE, STORE
from export.flash.board_state import parse_state
from export.flash.parcels import Parcel, Parcels

KEY, OLD = "0123456789abcdef", "fedcba9876543210"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / HOME.removeprefix("/")
    home.mkdir(parents=True)
    return home


def run(root: Path, script: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    for place in (HOME, RUNTIMES, "/usr/local/bin", "/etc/systemd"):
        script = script.replace(place, f"{root}{place}")
    return subprocess.run(["sh", "-c", script, "sh", *arguments], input=stdin, capture_output=True, check=False)


def parcel(path: Path, name: str, data: bytes) -> Parcel:
    path.write_bytes(data)
    return Parcel(path, name, sha256(data).hexdigest())


def words(*parcels: tuple[Parcel, int]) -> list[str]:
    return [word for each, size in parcels for word in (each.name, each.part, each.sha256, str(size))]


def test_an_empty_board_has_nothing(tmp_path: Path) -> None:
    state = parse_state(run(tmp_path, PREPARE, KEY, "asked-", "edgegraft", "signed").stdout.decode())
    assert state == parse_state(f"was \nasked {NEVER}\n")
    assert (state.runtime, state.complete, state.hashes, state.parts, state.asked) == ("", False, {}, {}, None)


def test_several_files_in_one_go_and_what_is_then_there(tmp_path: Path, home: Path) -> None:
    bundle = parcel(tmp_path / "a", "bundle.egb", bytes(range(256)) * 300)
    wheel = parcel(tmp_path / "b", "wheels/x-1.whl", b"wheel" * 10_000)
    empty = parcel(tmp_path / "c", "bundle.egb.sig", b"")
    (home / "wheels").mkdir()
    (home / wheel.part).write_bytes(b"wheel" * 4_000)
    # Of an older bundle that was cut off: never taken for this one's beginning.
    (home / f"bundle.egb.{'0' * 16}.part").write_bytes(b"another")
    state = parse_state(run(tmp_path, PREPARE, KEY, "asked-", "edgegraft", "signed").stdout.decode())
    assert state.parts == {wheel.part: 20_000, f"bundle.egb.{'0' * 16}.part": 7}
    sent = bundle.path.read_bytes() + wheel.path.read_bytes()[20_000:]
    done = run(tmp_path, STORE, *words((bundle, 76_800), (wheel, 30_000), (empty, 0)), stdin=sent)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in home.rglob("*") if path.is_file()} == {"bundle.egb", "x-1.whl", "bundle.egb.sig"}
    (home / "asked-").write_text('{"service": ["--camera=0"]}')
    state = parse_state(run(tmp_path, PREPARE, KEY, "asked-", "edgegraft", "signed").stdout.decode())
    assert state.hashes == {each.name: each.sha256 for each in (bundle, wheel, empty)}
    assert (state.parts, state.asked) == ({}, {"service": ["--camera=0"]})
    # What makes the runtime is not hashed again once it is there; an unsigned bundle has no other's signature.
    made = tmp_path / RUNTIMES.removeprefix("/") / KEY
    made.mkdir(parents=True)
    (made / ".complete").touch()
    links = tmp_path / "usr/local/bin"
    links.mkdir(parents=True)
    (links / "edgegraft").symlink_to(f"{RUNTIMES}/{OLD}/bin/edgegraft")
    state = parse_state(
        run(tmp_path, PREPARE, KEY, "asked-", "edgegraft", "unsigned").stdout.decode().replace(str(tmp_path), "")
    )
    assert (state.runtime, state.complete, state.hashes) == (OLD, True, {"bundle.egb": bundle.sha256})


def test_cut_off_it_goes_on_and_spoilt_it_begins_anew(tmp_path: Path, home: Path) -> None:
    data = bytes(range(256)) * 1000
    bundle = parcel(tmp_path / "a", "bundle.egb", data)
    cut = run(tmp_path, STORE, *words((bundle, len(data))), stdin=data[:100_000])
    assert cut.returncode == NOT_WHOLE
    assert (home / bundle.part).read_bytes() == data[:100_000]
    # As a power cut leaves it: the right size, and nothing in it.
    (home / bundle.part).write_bytes(bytes(100_000))
    spoilt = run(tmp_path, STORE, *words((bundle, len(data) - 100_000)), stdin=data[100_000:])
    assert spoilt.returncode == NOT_WHOLE
    assert list(home.iterdir()) == []
    assert run(tmp_path, STORE, *words((bundle, len(data))), stdin=data).returncode == 0
    assert (home / "bundle.egb").read_bytes() == data


def test_no_room_has_a_code_of_its_own(tmp_path: Path, home: Path) -> None:
    bundle = parcel(tmp_path / "a", "bundle.egb", b"data")
    (home / bundle.part).symlink_to("/dev/full")
    done = run(tmp_path, STORE, *words((bundle, 4)), stdin=b"data")
    assert done.returncode == NOT_STORED
    assert b"No space left" in done.stderr


def test_what_a_board_says_is_read_with_care() -> None:
    state = parse_state("Welcome!\nwas ../../x\nhash \npart x y\npart 5\nasked [1]\n")
    assert (state.runtime, state.parts, state.asked) == ("", {"": 5}, {})


def test_boards_that_lack_the_same_get_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    (tmp_path / "b").write_bytes(b"abc")
    with Parcels() as parcels:
        whole = parcels.joined([(tmp_path / "a", 0), (tmp_path / "b", 0)])
        rest = parcels.joined([(tmp_path / "a", 4), (tmp_path / "b", 3)])
        assert (whole.read_bytes(), rest.read_bytes()) == (b"0123456789abc", b"456789")
        assert parcels.joined([(tmp_path / "a", 0), (tmp_path / "b", 0)]) == whole
    assert not whole.exists()
