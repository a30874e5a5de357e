"""Installing, refusing, rolling back: what a board keeps and what it says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from device.errors import DeviceError
from device.releases.base import FakeService
from device.releases.installer import Asked, Installer
from device.releases.records import BadList, load
from device.releases.refusals import (
    Busy,
    Damaged,
    KnownBad,
    NoWayBack,
    Older,
    TrialFailed,
    Unhealthy,
    Unsigned,
    Untrusted,
)
from device.releases.store import Store
from device.releases.trial import FakeTrial
from device.trust.base import AllowUnsigned, FakeVerifier, Verified
from device.trust.choose import verifier_for
from tests.releases import BROKEN, WINDOW, installer, require_good, version_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def bundles(colour_bundle: Path, tmp_path: Path) -> dict[str, Path]:
    versions = ("1.0.0", "2.0.0", "3.0.0", "4.0.0")
    return {version: version_of(colour_bundle, version, tmp_path / f"{version}.egb") for version in versions}


def asked(bundle: Path, downgrade_to: str | None = None, again: bool = False) -> Asked:
    return Asked(bundle, downgrade_to, again, WINDOW)


def test_current_and_previous_are_kept_older_ones_go(root: Path, bundles: dict[str, Path]) -> None:
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        assert installer(root).install(asked(bundles[version])).changed
        require_good(Store(root), version)
    previous = Store(root).previous()
    assert previous is not None
    assert previous.record.version == "2.0.0"
    assert {path.name for path in (root / "releases").iterdir()} == {"colours-2.0.0", "colours-3.0.0"}


def test_36_the_same_again_changes_nothing(root: Path, bundles: dict[str, Path]) -> None:
    installer(root).install(asked(bundles["1.0.0"]))
    before = {path: path.stat().st_mtime_ns for path in (root / "releases").rglob("*")}
    service = FakeService()
    done = installer(root, service=service).install(asked(bundles["1.0.0"]))
    assert not done.changed
    assert service.restarts == 0
    assert {path: path.stat().st_mtime_ns for path in (root / "releases").rglob("*")} == before


def test_what_does_not_get_healthy_is_left_and_refused_from_then_on(root: Path, bundles: dict[str, Path]) -> None:
    installer(root).install(asked(bundles["1.0.0"]))
    with pytest.raises(Unhealthy, match=r"no answer came; colours-1\.0\.0 is at work again"):
        installer(root, BROKEN).install(asked(bundles["2.0.0"]))
    assert require_good(Store(root), "1.0.0")
    with pytest.raises(KnownBad, match="--again"):
        installer(root).install(asked(bundles["2.0.0"]))
    assert installer(root).install(asked(bundles["2.0.0"], again=True)).version == "2.0.0"


def test_34_where_the_one_before_is_bad_too_it_stays_there(root: Path, bundles: dict[str, Path]) -> None:
    installer(root).install(asked(bundles["1.0.0"]))
    service = FakeService((BROKEN, BROKEN))
    with pytest.raises(NoWayBack, match="it is left at work"):
        installer(root, service=service).install(asked(bundles["2.0.0"]))
    assert not service.stopped
    assert service.restarts == 2
    require_good(Store(root), "1.0.0")


def test_the_first_release_that_does_not_work_is_stopped(root: Path, bundles: dict[str, Path]) -> None:
    service = FakeService((BROKEN,))
    with pytest.raises(NoWayBack, match="first release"):
        installer(root, service=service).install(asked(bundles["1.0.0"]))
    assert service.stopped
    assert Store(root).current() is None


def test_12_an_older_version_only_by_its_name(root: Path, bundles: dict[str, Path]) -> None:
    installer(root).install(asked(bundles["3.0.0"]))
    with pytest.raises(Older, match=r"--downgrade-to 1\.0\.0"):
        installer(root).install(asked(bundles["1.0.0"]))
    with pytest.raises(Older):
        installer(root).install(asked(bundles["1.0.0"], downgrade_to="2.0.0"))
    assert installer(root).install(asked(bundles["1.0.0"], downgrade_to="1.0.0")).version == "1.0.0"
    with pytest.raises(Older):  # the mark stays where it was
        installer(root).install(asked(bundles["2.0.0"]))


@pytest.mark.parametrize("lost", [("high_water.json",), ("marks/high_water.json",), ("high_water.json", "bad.json")])
def test_13_a_mark_that_was_zeroed_lets_nothing_older_in(
    root: Path, bundles: dict[str, Path], lost: tuple[str, ...]
) -> None:
    for version in ("1.0.0", "3.0.0"):
        installer(root).install(asked(bundles[version]))
    for name in lost:
        (root / name).write_bytes(b"\0" * 64)
    with pytest.raises(Older):
        installer(root).install(asked(bundles["2.0.0"]))


def test_rolling_back_by_hand_stays_until_it_is_asked_for_again(root: Path, bundles: dict[str, Path]) -> None:
    for version in ("1.0.0", "2.0.0"):
        installer(root).install(asked(bundles[version]))
    assert installer(root).rollback(WINDOW).version == "1.0.0"
    require_good(Store(root), "1.0.0")
    with pytest.raises(KnownBad, match="rolled back by hand"):
        installer(root).install(asked(bundles["2.0.0"]))
    with pytest.raises(NoWayBack, match="no release before"):
        installer(root).rollback(WINDOW)


def test_rolling_back_to_a_bad_one_returns(root: Path, bundles: dict[str, Path]) -> None:
    for version in ("1.0.0", "2.0.0"):
        installer(root).install(asked(bundles[version]))
    with pytest.raises(Unhealthy):
        installer(root, BROKEN).rollback(WINDOW)
    require_good(Store(root), "2.0.0")


def test_35_two_at_once(root: Path, bundles: dict[str, Path]) -> None:
    with Store(root).locked(), pytest.raises(Busy, match="another installation"):
        installer(root).install(asked(bundles["1.0.0"]))


def test_19_what_was_checked_is_what_is_installed(root: Path, bundles: dict[str, Path]) -> None:
    original = bundles["1.0.0"].read_bytes()

    class Swapped:
        def verify(self, bundle: Path, sha256: str, size_bytes: int) -> Verified:
            os.replace(bundles["2.0.0"], bundles["1.0.0"])  # noqa: PTH105
            return Verified(signed=False)

    Installer(Store(root), FakeService(), Swapped(), FakeTrial()).install(asked(bundles["1.0.0"]))
    current = Store(root).current()
    assert current is not None
    assert current.bundle.read_bytes() == original
    assert current.record.version == "1.0.0"


@pytest.mark.parametrize("change", ["truncated", "flipped", "empty"])
def test_04_06_what_is_damaged_is_refused(root: Path, bundles: dict[str, Path], change: str) -> None:
    installer(root).install(asked(bundles["1.0.0"]))
    data = bytearray(bundles["2.0.0"].read_bytes())
    data[len(data) // 2] ^= 1
    damaged = {"truncated": data[: len(data) // 2], "flipped": data, "empty": b""}[change]
    bundles["2.0.0"].write_bytes(damaged)
    with pytest.raises(Damaged, match=r"2\.0\.0\.egb"):
        installer(root).install(asked(bundles["2.0.0"]))
    require_good(Store(root), "1.0.0")


def test_11_unsigned_and_of_another_name(root: Path, bundles: dict[str, Path]) -> None:
    nobody = installer(root, verifier=verifier_for(root / "trust", allow_unsigned=False))
    with pytest.raises(Unsigned, match="--allow-unsigned") as caught:
        nobody.install(asked(bundles["1.0.0"]))
    assert caught.value.exit_code == 11

    class Everything:
        def verify(self, bundle: Path, sha256: str, size_bytes: int) -> Verified:
            return Verified(True, "colours", "9.0.0")

    with pytest.raises(Untrusted, match=r"signed as colours 9\.0\.0"):
        installer(root, verifier=AllowUnsigned(Everything())).install(asked(bundles["1.0.0"]))
    with pytest.raises(Unsigned):
        installer(root, verifier=FakeVerifier({})).install(asked(bundles["1.0.0"]))
    assert Store(root).current() is None


def test_what_fails_its_trial_is_never_switched_to(root: Path, bundles: dict[str, Path]) -> None:
    service = FakeService()
    refusing = Installer(Store(root), service, AllowUnsigned(), FakeTrial(("1.0.0",)))
    with pytest.raises(TrialFailed):
        refusing.install(asked(bundles["1.0.0"]))
    assert service.restarts == 0
    assert not (root / "staging").exists()


def test_an_unsigned_bundle_may_come_again_with_the_same_version(
    root: Path, colour_bundle: Path, bundles: dict[str, Path], tmp_path: Path
) -> None:
    installer(root).install(asked(bundles["1.0.0"]))
    other = version_of(colour_bundle, "1.0.0", tmp_path / "other.egb", created="2026-11-24T00:00:00+00:00")
    assert installer(root).install(asked(other)).changed
    require_good(Store(root), "1.0.0")
    installer(root).install(asked(bundles["1.0.0"]))
    require_good(Store(root), "1.0.0")


def test_a_switch_that_is_cut_short_too_often_counts_as_bad(root: Path, bundles: dict[str, Path]) -> None:
    installer(root).install(asked(bundles["1.0.0"]))

    class Cut(Exception):  # noqa: N818
        pass

    def cut() -> None:
        raise Cut

    for _ in range(3):
        with pytest.raises(Cut):
            installer(root, service=FakeService(on_restart=cut)).install(asked(bundles["2.0.0"]))
    with pytest.raises(KnownBad, match="cut short 3 times"):
        installer(root).install(asked(bundles["2.0.0"]))
    require_good(Store(root), "1.0.0")


def test_a_damaged_current_falls_back_to_the_previous(root: Path, bundles: dict[str, Path]) -> None:
    for version in ("1.0.0", "2.0.0"):
        installer(root).install(asked(bundles[version]))
    (root / "current" / "release.json").write_bytes(b"\0" * 200)
    installer(root).install(asked(bundles["3.0.0"]))
    assert require_good(Store(root), "3.0.0")
    previous = Store(root).previous()
    assert previous is not None
    assert previous.record.version == "1.0.0"


def test_records_that_are_not_whole_are_none(tmp_path: Path) -> None:
    for data in (b"", b"{", b"[]", b'{"sha256": "0", "content": {}}', b"\xff" * 10):
        (tmp_path / "bad.json").write_bytes(data)
        assert load(tmp_path / "bad.json", BadList) is None


def test_a_file_that_is_not_there(root: Path) -> None:
    with pytest.raises(DeviceError, match="no such file"):
        installer(root).install(asked(root / "none.egb"))
