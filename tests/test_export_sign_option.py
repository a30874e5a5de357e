"""``--sign KEYS``: B.egb and B.egb.sig in one go."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from device.trust.root import enroll
from device.trust.tuf_verifier import TufVerifier
from export.keys.folder import Passphrases, create_keys, root_chain
from tests.bundles import CLASSES, SIDE, onnx_model, plain_picture
from tests.signatures import SECRETS, make_keys, verified

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file with the passphrase of the keys in ``tmp_path / "keys"``, which are made too."""
    make_keys(tmp_path / "keys")
    path = tmp_path / "secret"
    path.write_text(SECRETS.online + "\n")
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    import cv2

    folder = tmp_path / "photos"
    for colour in CLASSES:
        (folder / colour).mkdir(parents=True)
        for number in range(4):
            cv2.imwrite(str(folder / colour / f"{number}.png"), plain_picture(colour, SIDE + number, SIDE))
    (tmp_path / "labels.txt").write_text("\n".join(CLASSES))
    (tmp_path / "theirs.onnx").write_bytes(onnx_model())
    return folder


def require_signed(bundle: Path, keys: Path, trust: Path) -> None:
    enroll(trust, root_chain(keys)[0])
    assert verified(TufVerifier(trust), bundle).signed


def test_a_run_is_exported_and_signed(edgegraft: Run, run_folder: Path, secret: Path, tmp_path: Path) -> None:
    options = ("--max-drop", "30", "--max-class-drop", "90", "--recipes", "float32", "--version", "1.2.0")
    sign = ("--sign", tmp_path / "keys", "--passphrase-file", secret)
    done = edgegraft("export", run_folder, "--out", "b.egb", *options, *sign, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["signature"] == "b.egb.sig"
    require_signed(tmp_path / "b.egb", tmp_path / "keys", tmp_path / "trust")
    assert SECRETS.online not in done.stdout + done.stderr


def test_somebody_elses_model_is_bundled_and_signed(edgegraft: Run, photos: Path, secret: Path, tmp_path: Path) -> None:
    words = (
        "bundle",
        "theirs.onnx",
        "--labels",
        "labels.txt",
        "--data",
        photos,
        "--preprocess",
        "raw",
        "--out",
        "b.egb",
    )
    shell = f'EDGEGRAFT_PASSPHRASE="$(cat {secret})" "$@"'
    done = edgegraft(*words, "--sign", tmp_path / "keys", "--days", "7", shell=shell)
    assert done.returncode == 0, done.stderr
    assert "signed: b.egb.sig" in done.stdout
    require_signed(tmp_path / "b.egb", tmp_path / "keys", tmp_path / "trust")
    plain = edgegraft(*words[:-1], "plain.egb", "--json")
    assert json.loads(plain.stdout)["signature"] is None
    assert not (tmp_path / "plain.egb.sig").exists()


@pytest.mark.parametrize("command", ["export", "bundle"])
@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--sign", "keys", "--passphrase-file", "wrong"), 1, "the passphrase is wrong or missing"),
        (("--sign", "keys"), 2, "--passphrase-file FILE, $EDGEGRAFT_PASSPHRASE, or a terminal"),
        (("--sign", "no-keys", "--passphrase-file", "secret"), 1, "'edgegraft keys create no-keys' makes keys"),
        (("--sign", "keys", "--passphrase-file", "secret", "--days", "0"), 2, "--days 0: expected 1 to 3650"),
        (("--passphrase-file", "secret"), 2, "name them too: --sign KEYS"),
        (("--sign", "keys", "--passphrase-file", "secret"), 1, "absent"),  # all is well with the keys
    ],
)
def test_what_is_wrong_with_the_keys_is_told_before_anything_is_made(
    edgegraft: Run,
    secret: Path,
    tmp_path: Path,
    command: str,
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    (tmp_path / "wrong").write_text("not the passphrase\n")
    made_of = ("absent",) if command == "export" else ("absent.onnx", "--data", "photos")
    done = edgegraft(command, *made_of, "--out", "b.egb", *options, shell='env -u EDGEGRAFT_PASSPHRASE "$@" </dev/null')
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert message in line
    assert "absent" not in line or message == "absent"
    assert not (tmp_path / "b.egb").exists()


def test_keys_without_a_passphrase_need_none(edgegraft: Run, photos: Path, tmp_path: Path) -> None:
    create_keys(tmp_path / "open", Passphrases("root secret", ""))
    words = (
        "bundle",
        "theirs.onnx",
        "--labels",
        "labels.txt",
        "--data",
        photos,
        "--preprocess",
        "raw",
        "--out",
        "b.egb",
    )
    done = edgegraft(*words, "--sign", tmp_path / "open", shell='EDGEGRAFT_PASSPHRASE= "$@"')
    assert done.returncode == 0, done.stderr
    require_signed(tmp_path / "b.egb", tmp_path / "open", tmp_path / "trust")
