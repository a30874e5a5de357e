"""Faults 11 to 15: unsigned, forged, revoked, older, expired, and clocks that are wrong."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from device.releases.installer import Asked
from device.releases.refusals import Expired, Older, Refusal, Unsigned, Untrusted
from device.releases.store import Store
from device.trust import root as root_module
from device.trust.choose import verifier_for
from device.trust.root import enroll, parse_root, trusted_root
from device.trust.tuf_verifier import TufVerifier
from export.keys.folder import KeyRole, root_chain, rotate_keys
from tests.releases import WINDOW, installer, version_of
from tests.signatures import SECRETS, make_keys, sign, verified


@pytest.fixture(scope="module")
def keys_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("keys") / "keys")


@pytest.fixture
def keys(keys_made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(keys_made, tmp_path / "keys")


@pytest.fixture
def trust(keys: Path, tmp_path: Path) -> Path:
    enroll(tmp_path / "store" / "trust", root_chain(keys)[0])
    return tmp_path / "store" / "trust"


@pytest.fixture
def bundle(colour_bundle: Path, tmp_path: Path) -> Path:
    return version_of(colour_bundle, "2.0.0", tmp_path / "b.egb")


def test_11_unsigned(bundle: Path, trust: Path) -> None:
    with pytest.raises(Unsigned, match="edgegraft keys sign"):
        verified(TufVerifier(trust), bundle)
    assert not verified(verifier_for(trust, allow_unsigned=True), bundle).signed


def test_11_a_wrong_key_also_where_unsigned_is_allowed(bundle: Path, trust: Path, tmp_path: Path) -> None:
    sign(bundle, make_keys(tmp_path / "others"))
    for allow_unsigned in (False, True):
        with pytest.raises(Untrusted, match="does not trust") as caught:
            verified(verifier_for(trust, allow_unsigned), bundle)
        assert caught.value.exit_code == 12


def test_11_a_revoked_key_once_the_board_has_heard_of_it(
    bundle: Path, trust: Path, keys: Path, colour_bundle: Path, tmp_path: Path
) -> None:
    sign(bundle, keys)
    verified(TufVerifier(trust), bundle)
    rotate_keys(keys, KeyRole.ONLINE, SECRETS)
    newer = version_of(colour_bundle, "3.0.0", tmp_path / "newer.egb")
    sign(newer, keys)
    assert verified(TufVerifier(trust), newer).version == "3.0.0"
    with pytest.raises(Untrusted, match="not any more"):
        verified(TufVerifier(trust), bundle)


def test_roots_are_followed_over_several_rotations_and_never_back(bundle: Path, trust: Path, keys: Path) -> None:
    for role in (KeyRole.ROOT, KeyRole.ONLINE, KeyRole.ROOT):
        rotate_keys(keys, role, SECRETS)
    sign(bundle, keys)
    verified(TufVerifier(trust), bundle)
    assert trusted_root(trust).version == 4
    with pytest.raises(Untrusted, match="--replace"):
        enroll(trust, root_chain(keys)[0])
    assert trusted_root(trust).version == 4


def test_a_stranger_cannot_continue_the_chain(bundle: Path, trust: Path, keys: Path, tmp_path: Path) -> None:
    others = make_keys(tmp_path / "others")
    rotate_keys(others, KeyRole.ROOT, SECRETS)
    (keys / "2.root.json").write_bytes((others / "2.root.json").read_bytes())
    (keys / "online.pem").write_bytes((others / "online.pem").read_bytes())
    sign(bundle, keys)
    with pytest.raises(Untrusted):
        verified(TufVerifier(trust), bundle)
    assert trusted_root(trust).version == 1


def test_12_13_an_older_signed_version_stays_out_also_with_the_trust_state_gone(
    trust: Path, keys: Path, colour_bundle: Path, tmp_path: Path
) -> None:
    store = Store(trust.parent)
    at_work = installer(store.root, verifier=TufVerifier(trust))
    for version in ("1.0.0", "2.0.0"):
        path = version_of(colour_bundle, version, tmp_path / f"{version}.egb")
        sign(path, keys)
        if version == "2.0.0":
            at_work.install(Asked(path, window=WINDOW))
    with pytest.raises(Older):
        at_work.install(Asked(tmp_path / "1.0.0.egb", window=WINDOW))
    (trust / "root.json").write_bytes(b"\0" * 100)
    with pytest.raises(Untrusted):
        at_work.install(Asked(tmp_path / "1.0.0.egb", window=WINDOW))
    shutil.rmtree(trust)
    enroll(trust, root_chain(keys)[0])
    with pytest.raises(Older):
        at_work.install(Asked(tmp_path / "1.0.0.egb", window=WINDOW))
    current = store.current()
    assert current is not None
    assert (current.record.version, current.record.signed) == ("2.0.0", True)


def test_14_an_expired_signature_installs_nothing_and_stops_nothing(
    bundle: Path, trust: Path, keys: Path, colour_bundle: Path, tmp_path: Path
) -> None:
    sign(bundle, keys)
    at_work = installer(trust.parent, verifier=TufVerifier(trust))
    at_work.install(Asked(bundle, window=WINDOW))
    late = version_of(colour_bundle, "3.0.0", tmp_path / "late.egb")
    sign(late, keys, days=-1)
    with pytest.raises(Expired, match="ended on") as caught:
        at_work.install(Asked(late, window=WINDOW))
    assert caught.value.exit_code == 14
    current = Store(trust.parent).current()
    assert current is not None
    assert current.record.version == "2.0.0"


def test_15_a_clock_at_2099_says_what_to_look_at(
    bundle: Path, trust: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(bundle, keys)

    class Later(root_module.datetime):
        @classmethod
        def now(cls, tz: object = None) -> root_module.datetime:
            return cls(2099, 1, 1, tzinfo=root_module.timezone.utc)

    monkeypatch.setattr(root_module, "datetime", Later)
    with pytest.raises(Expired, match=r"clock says 2099-01-01; set the clock"):
        verified(TufVerifier(trust), bundle)


def test_15_a_clock_at_1970_does_not_make_the_expired_valid(
    bundle: Path, trust: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(bundle, keys, days=-1)

    class Earlier(root_module.datetime):
        @classmethod
        def now(cls, tz: object = None) -> root_module.datetime:
            return cls(1970, 1, 1, tzinfo=root_module.timezone.utc)

    monkeypatch.setattr(root_module, "datetime", Earlier)
    os.utime(trust / "root.json", (time.time(), time.time()))  # enrolled today
    with pytest.raises(Expired):
        verified(TufVerifier(trust), bundle)


@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps({"schema": 1, "roots": [], "targets": ""}).encode(),
        json.dumps({"schema": 1, "roots": ["{}"], "targets": "{}"}).encode(),
        json.dumps({"schema": 9, "roots": [], "targets": ""}).encode(),
        b" " * 2_000_000,
    ],
    ids=["empty", "object", "list", "no text", "deep", "nothing in it", "no metadata", "newer schema", "too long"],
)
def test_what_is_no_signature(forged: bytes, bundle: Path, trust: Path) -> None:
    bundle.with_name("b.egb.sig").write_bytes(forged)
    with pytest.raises(Refusal):
        verified(TufVerifier(trust), bundle)


def test_a_signature_of_another_bundle(bundle: Path, trust: Path, keys: Path, colour_bundle: Path) -> None:
    other = version_of(colour_bundle, "5.0.0", bundle.with_name("other.egb"))
    sign(other, keys).rename(bundle.with_name("b.egb.sig"))
    with pytest.raises(Untrusted, match="other content"):
        verified(TufVerifier(trust), bundle)


def test_what_is_no_root(tmp_path: Path) -> None:
    for data in (b"", b"{}", b"[" * 100_000, b"x" * 600_000, b'{"signed": {"_type": "root"}, "signatures": []}'):
        with pytest.raises(Untrusted):
            parse_root(data)
        with pytest.raises(Untrusted):
            enroll(tmp_path / "trust", data)
    assert not (tmp_path / "trust" / "root.json").exists()
