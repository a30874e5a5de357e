"""Row 19: a bundle that is swapped between check and use. What was checked is what is installed, or nothing is."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from device.bundle import Bundle
from device.releases.refusals import Damaged
from device.releases.trial import FakeTrial, golden_trial
from device.trust.base import Verified
from device.trust.root import enroll
from device.trust.tuf_verifier import TufVerifier
from export.keys.folder import root_chain
from tests.fault_board import FaultBoard
from tests.releases import require_good, version_of
from tests.signatures import make_keys, sign

# Puts one file or the other in the place of the first, without a pause.
_SWAP = """
import itertools, os, shutil, sys
place, *others = sys.argv[1:]
for other in itertools.cycle(others):
    shutil.copyfile(other, place + ".new")
    os.replace(place + ".new", place)
    print(flush=True)
"""


@pytest.fixture
def forged(fault_board: FaultBoard, tmp_path: Path) -> Path:
    """Well formed, of a higher version, and signed by nobody."""
    return version_of(fault_board.good, "9.0.0", tmp_path / "forged.egb")


def renamed(forged: Path, place: Path) -> None:
    shutil.copyfile(forged, place.with_name("new"))
    place.with_name("new").replace(place)


def overwritten(forged: Path, place: Path) -> None:
    """The same file, other content: whoever holds it open reads that."""
    shutil.copyfile(forged, place)


@pytest.mark.parametrize("swap", [renamed, overwritten])
@pytest.mark.parametrize("moment", ["after the signature", "while it is tried"])
def test_what_was_signed_is_what_is_installed(
    fault_board: FaultBoard, forged: Path, tmp_path: Path, swap: Callable[[Path, Path], None], moment: str
) -> None:
    keys = make_keys(tmp_path / "keys")
    enroll(tmp_path / "trust", root_chain(keys)[0])
    place = tmp_path / "b.egb"
    place.write_bytes(fault_board.good.read_bytes())
    sign(place, keys)
    checked = hashlib.sha256(place.read_bytes()).hexdigest()

    class Verifier(TufVerifier):
        def verify(self, bundle: Path, sha256: str, size_bytes: int) -> Verified:
            found = super().verify(bundle, sha256, size_bytes)
            if moment == "after the signature":
                swap(forged, place)
            return found

    def trial(bundle: Bundle, folder: Path, tell: Callable[[str], None]) -> None:
        if moment == "while it is tried":
            swap(forged, place)
        golden_trial(bundle, folder, tell)

    assert fault_board.install(place, trial, Verifier(tmp_path / "trust")).signed
    assert place.read_bytes() == forged.read_bytes()
    release = fault_board.store.current()
    assert release is not None
    assert hashlib.sha256(release.bundle.read_bytes()).hexdigest() == checked
    require_good(fault_board.store, "3.0.0")


def test_a_signature_of_the_one_beside_the_other_is_refused(
    fault_board: FaultBoard, forged: Path, tmp_path: Path
) -> None:
    keys = make_keys(tmp_path / "keys")
    enroll(tmp_path / "trust", root_chain(keys)[0])
    place = tmp_path / "b.egb"
    place.write_bytes(fault_board.good.read_bytes())
    sign(place, keys)
    overwritten(forged, place)
    message = fault_board.refused(place, 12, verifier=TufVerifier(tmp_path / "trust"))
    assert message.startswith("b.egb: ")
    assert "other content" in message or "signed were" in message


def test_swapped_all_the_time_by_somebody_else(fault_board: FaultBoard, tmp_path: Path) -> None:
    place, trash = tmp_path / "b.egb", tmp_path / "trash"
    trash.write_bytes(fault_board.good.read_bytes()[:-1000] + b"x" * 1000)
    others = [
        version_of(fault_board.good, "4.0.0", tmp_path / f"{day}.egb", created=f"2025-01-0{day}T00:00:00Z")
        for day in (1, 2)
    ]
    whole = {hashlib.sha256(other.read_bytes()).hexdigest() for other in others}
    command = [sys.executable, "-c", _SWAP, place, *others, trash]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as swapper:
        assert swapper.stdout is not None
        swapper.stdout.readline()
        drain = subprocess.Popen(["cat"], stdin=swapper.stdout, stdout=subprocess.DEVNULL)
        try:
            for _ in range(12):
                with suppress(Damaged):
                    fault_board.install(place, trial=FakeTrial())
                release = fault_board.store.current()
                assert release is not None
                require_good(fault_board.store, "1.0.0", "4.0.0")
                if release.record.version != "1.0.0":
                    assert release.record.sha256 in whole
        finally:
            swapper.kill()
            drain.wait()
