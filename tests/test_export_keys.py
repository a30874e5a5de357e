"""Keys as a publisher makes them, and bundles signed with them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from device.errors import UsageError
from device.releases.refusals import Untrusted
from device.trust.root import enroll
from device.trust.tuf_verifier import TufVerifier
from export.channel.keys import KeyFolder
from export.keys.folder import (
    ONLINE_ROLES,
    KeyKind,
    KeyRole,
    KeysError,
    Passphrases,
    RootKeys,
    _load,
    _publish,
    create_keys,
    root_chain,
    rotate_keys,
    show_keys,
)
from export.keys.sign import sign_bundle
from tests.signatures import verified

SECRETS = Passphrases("root secret", "online secret")


@pytest.mark.parametrize("kind", KeyKind)
def test_keys_sign_what_a_board_verifies(kind: KeyKind, tmp_path: Path, colour_bundle: Path) -> None:
    create_keys(tmp_path / "keys", SECRETS, kind)
    bundle = tmp_path / "b.egb"
    bundle.write_bytes(colour_bundle.read_bytes())
    sign_bundle(bundle, KeyFolder(tmp_path / "keys", SECRETS.online))
    enroll(tmp_path / "trust", root_chain(tmp_path / "keys")[0])
    found = verified(TufVerifier(tmp_path / "trust"), bundle)
    assert (found.signed, found.name) == (True, "colours")


def test_private_keys_are_locked_and_for_their_owner_only(tmp_path: Path) -> None:
    create_keys(tmp_path / "keys", SECRETS)
    for name in ("root.pem", "online.pem"):
        path = tmp_path / "keys" / name
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    with pytest.raises(Exception, match="passphrase is wrong or missing") as caught:
        KeyFolder(tmp_path / "keys", "wrong secret")
    assert "wrong secret" not in str(caught.value)
    with pytest.raises(KeysError, match="passphrase is wrong"):
        rotate_keys(tmp_path / "keys", KeyRole.ONLINE, Passphrases("wrong", "new"))
    assert show_keys(tmp_path / "keys").root_version == 1


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    create_keys(tmp_path / "keys", SECRETS)
    before = {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()}
    with pytest.raises(KeysError, match="there are keys already"):
        create_keys(tmp_path / "keys", SECRETS)
    assert {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()} == before


def test_without_the_root_key_nothing_is_rotated(tmp_path: Path) -> None:
    create_keys(tmp_path / "keys", SECRETS)
    (tmp_path / "keys" / "root.pem").unlink()
    with pytest.raises(KeysError, match="bring the root key back"):
        rotate_keys(tmp_path / "keys", KeyRole.ONLINE, SECRETS)


def test_the_commands_as_they_are_typed(
    edgegraft: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    colour_bundle: Path,
) -> None:
    home = f'XDG_DATA_HOME="{tmp_path}/home" "$@"'
    keys, bundle = tmp_path / "keys", tmp_path / "b.egb"
    bundle.write_bytes(colour_bundle.read_bytes())
    asked = edgegraft("keys", "create", keys)
    assert asked.returncode == 2
    assert "EDGEGRAFT_ROOT_PASSPHRASE" in asked.stderr
    (tmp_path / "secret").write_text("online secret\n")
    files = ("--passphrase-file", tmp_path / "secret", "--root-passphrase-file", tmp_path / "secret")
    assert edgegraft("keys", "create", keys, *files).returncode == 0
    assert json.loads(edgegraft("keys", "show", keys, "--json").stdout)["root_version"] == 1
    signed = edgegraft("keys", "sign", bundle, "--keys", keys, "--passphrase-file", tmp_path / "secret")
    assert signed.returncode == 0, signed.stderr
    assert (tmp_path / "b.egb.sig").is_file()
    done = edgegraft("trust", "enroll", keys / "1.root.json", "--user", "--json", shell=home)
    assert json.loads(done.stdout)["root_version"] == 1
    assert edgegraft("trust", "enroll", bundle, "--user", shell=home).returncode == 12


def test_two_of_three_root_keys_sign(tmp_path: Path, colour_bundle: Path) -> None:
    """One that is lost stops nothing, one that is stolen does nothing."""
    keys, trust, bundle = tmp_path / "keys", tmp_path / "trust", tmp_path / "b.egb"
    report = create_keys(keys, SECRETS, roots=RootKeys(3, 2))
    assert (report.threshold, len(report.keys["root"])) == (2, 3)
    assert not (keys / "root.pem").exists()
    enroll(trust, root_chain(keys)[0])
    bundle.write_bytes(colour_bundle.read_bytes())
    drawer = tmp_path / "drawer"
    drawer.mkdir()
    for name in ("root-1.pem", "root-3.pem"):
        (keys / name).rename(drawer / name)
    with pytest.raises(KeysError, match=r"1 of the root keys are here, 2 of 3 must sign; bring more"):
        rotate_keys(keys, KeyRole.ONLINE, SECRETS)
    assert show_keys(keys).root_version == 1
    (drawer / "root-3.pem").rename(keys / "root-3.pem")
    for version, role in enumerate((KeyRole.ONLINE, KeyRole.ROOT, KeyRole.ONLINE), start=2):
        assert rotate_keys(keys, role, SECRETS).root_version == version
        sign_bundle(bundle, KeyFolder(keys, SECRETS.online))
        assert verified(TufVerifier(trust), bundle).signed
    assert (show_keys(keys).threshold, len(show_keys(keys).keys["root"])) == (2, 3)
    assert len({(keys / f"root-{one}.pem").read_bytes() for one in (1, 2, 3)}) == 3
    # The one that was left in its drawer is worth nothing now.
    (drawer / "root-1.pem").replace(keys / "root-1.pem")
    (keys / "root-2.pem").unlink()
    with pytest.raises(KeysError, match="1 of the root keys are here"):
        rotate_keys(keys, KeyRole.ONLINE, SECRETS)


def test_a_board_does_not_follow_too_few_signatures(tmp_path: Path, colour_bundle: Path) -> None:
    keys, trust, bundle = tmp_path / "keys", tmp_path / "trust", tmp_path / "b.egb"
    create_keys(keys, SECRETS, roots=RootKeys(3, 2))
    enroll(trust, root_chain(keys)[0])
    # A thief of one key names his own online key and asks for one signature from now on.
    thief = tmp_path / "thief"
    create_keys(thief, SECRETS)
    root = Metadata[Root].from_bytes(root_chain(keys)[0]).signed
    stolen = _load(keys / "root-1.pem", SECRETS.root)
    theirs = Metadata[Root].from_bytes(root_chain(thief)[0]).signed
    for role in ONLINE_ROLES:
        for keyid in theirs.roles[role].keyids:
            root.add_key(theirs.keys[keyid], role)
    root.version, root.roles["root"].threshold = 2, 1
    _publish(keys, root, [stolen])
    (keys / "online.pem").write_bytes((thief / "online.pem").read_bytes())
    bundle.write_bytes(colour_bundle.read_bytes())
    sign_bundle(bundle, KeyFolder(keys, SECRETS.online))
    with pytest.raises(Untrusted):
        verified(TufVerifier(trust), bundle)


@pytest.mark.parametrize("wrong", [(0, 1), (2, 3), (3, 0), (10, 2)])
def test_root_keys_that_cannot_be(wrong: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="--root-keys 3 --threshold 2"):
        RootKeys(*wrong)


def test_several_root_keys_by_the_command(
    edgegraft: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("a secret\n")
    files = ("--passphrase-file", "secret", "--root-passphrase-file", "secret")
    done = edgegraft("keys", "create", "keys", "--root-keys", "3", "--threshold", "2", *files)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "2 of 3 sign" in said
    assert "keys/root-1.pem and keys/root-2.pem and keys/root-3.pem offline, each to a place of its own" in said
    assert edgegraft("keys", "create", "more", "--threshold", "2", *files).returncode == 2
