"""Keys as a publisher makes them, and bundles signed with them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from device.trust.root import enroll
from device.trust.tuf_verifier import TufVerifier
from export.channel.keys import KeyFolder
from export.keys.folder import KeyKind, KeyRole, KeysError, Passphrases, create_keys, root_chain, rotate_keys, show_keys
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
