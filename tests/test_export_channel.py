"""Publishing: what stands in the folder, in which order it gets there, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from channels import Publisher
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from export.channel.agents import MENDER_MODULE, RAUC_HANDLER, RaucConfig, write_mender, write_rauc
from export.channel.errors import PublishError
from export.channel.keys import KeyFolder
from export.channel.publish import renew

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def publisher(tmp_path: Path, colour_models: dict[str, bytes]) -> Publisher:
    return Publisher(tmp_path / "channel", colour_models)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_again_changes_only_the_timestamp(publisher: Publisher) -> None:
    assert publisher.publish("1.0.0").changed
    before = tree(publisher.folder)
    assert not publisher.publish("1.0.0").changed
    after = tree(publisher.folder)
    assert [name for name in after if before.get(name) != after[name]] == ["timestamp.json"]
    assert set(before) == set(after)
    renew(publisher.repository)
    assert json.loads((publisher.folder / "timestamp.json").read_bytes())["signed"]["version"] == 3


def test_versions_only_go_up_and_one_version_has_one_content(publisher: Publisher) -> None:
    publisher.publish("1.1.0")
    before = tree(publisher.folder)
    with pytest.raises(PublishError, match="do not go back"):
        publisher.publish("1.0.0")
    path = publisher.bundle("1.1.0")
    path.write_bytes(publisher.bundle("1.1.0", "colours", 4).read_bytes())
    path.unlink()
    publisher.bundle("1.1.0", variants=2)
    with pytest.raises(PublishError, match="other content"):
        publisher.publish("1.1.0")
    assert tree(publisher.folder) == before


def test_what_a_board_may_be_fetching_stays_and_what_is_older_goes(publisher: Publisher) -> None:
    for number in range(6):
        publisher.publish(f"1.{number}.0")
    names = set(tree(publisher.folder))
    assert "1.root.json" in names
    assert {name for name in names if name.endswith("targets.json")} == {f"{n}.targets.json" for n in (4, 5, 6)}
    held = {name.partition("colours-")[2][:5] for name in names if name.startswith("bundles/")}
    assert held == {"1.3.0", "1.4.0", "1.5.0"}


def test_a_board_outside_a_rollout_still_finds_the_release_before(publisher: Publisher) -> None:
    publisher.publish("1.0.0")
    publisher.publish("1.1.0", 10)
    publisher.publish("1.2.0", 10)
    state = publisher.repository.state()
    versions = {target.custom["version"] for target in (state.listed or {}).values()}
    assert versions == {"1.0.0", "1.1.0", "1.2.0"}
    assert publisher.publish("1.2.0").rollout_percent == 10, "without --rollout it stays what it was"
    publisher.publish("1.2.0", 100)
    versions = {target.custom["version"] for target in (publisher.repository.state().listed or {}).values()}
    assert versions == {"1.2.0"}


def test_two_bundles_share_a_channel(publisher: Publisher) -> None:
    publisher.publish("1.0.0")
    publisher.publish("3.0.0", name="shapes")
    publisher.publish("1.1.0")
    listed = publisher.repository.state().listed or {}
    assert {(one.custom["name"], one.custom["version"]) for one in listed.values()} == {
        ("colours", "1.1.0"),
        ("shapes", "3.0.0"),
    }


def test_a_channel_of_other_keys_is_not_continued(publisher: Publisher, colour_models: dict[str, bytes]) -> None:
    publisher.publish("1.0.0")
    with pytest.raises(PublishError, match="other keys"):
        Publisher(publisher.folder, colour_models).publish("1.1.0")


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace")
def test_a_board_never_sees_half_of_it(publisher: Publisher, tmp_path: Path) -> None:
    """Traced from outside: bundles first, the timestamp last, each synced before it gets its name."""
    keys = key_folder(tmp_path / "keys")
    trace = tmp_path / "trace"
    command = [sys.executable, "-m", "device.cli", "publish", publisher.bundle("1.0.0"), "--channel", tmp_path / "web"]
    command = ["strace", "-f", "-e", "trace=rename,renameat,renameat2,fsync", "-o", trace, *command, "--keys", keys]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "EDGEGRAFT_PASSPHRASE": "open sesame"}
    code = "import sys, device.cli, export.commands.publish as c; sys.exit(device.cli._run('publish', c, sys.argv[1:]))"
    at = command.index("-m")
    command[at : at + 3] = ["-c", code]
    done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    calls = [line for line in trace.read_text().splitlines() if "web/" in line or "fsync(" in line]
    renames = [number for number, line in enumerate(calls) if "rename" in line]
    names = [calls[number].rpartition("web/")[2].partition('"')[0] for number in renames]
    assert names[:5] == [name for name in names if name.startswith("bundles/")]
    assert names[5:] == ["1.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json"]
    assert all("fsync(" in calls[number - 1] for number in renames)


def key_folder(folder: Path, passphrase: bytes = b"open sesame") -> Path:
    """Keys as files: one for root, kept elsewhere, one for everything else."""
    folder.mkdir()
    offline, online = CryptoSigner.generate_ed25519(), Ed25519PrivateKey.generate()
    root = Root(expires=datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=9), consistent_snapshot=True)
    root.add_key(offline.public_key, "root")
    for role in ("timestamp", "snapshot", "targets"):
        root.add_key(CryptoSigner(online).public_key, role)
    signed = Metadata(root)
    signed.sign(offline)
    (folder / "1.root.json").write_bytes(signed.to_bytes())
    encryption = serialization.BestAvailableEncryption(passphrase)
    pem = online.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    (folder / "online.pem").write_bytes(pem)
    return folder


def test_keys_need_their_passphrase(tmp_path: Path) -> None:
    folder = key_folder(tmp_path / "keys")
    assert len(KeyFolder(folder, "open sesame").roots) == 1
    for wrong in ("", "close sesame"):
        with pytest.raises(PublishError, match="passphrase"):
            KeyFolder(folder, wrong)


@pytest.mark.skipif(not shutil.which("mender-artifact"), reason="no mender-artifact")
def test_mender_reads_and_validates_the_artifact(publisher: Publisher, tmp_path: Path) -> None:
    bundle = publisher.bundle("1.0.0")
    bundle.with_name(bundle.name + ".sig").write_text("{}")
    write_mender(bundle, tmp_path / "a.mender", ["raspberrypi4", "raspberrypi5"])
    subprocess.run(["mender-artifact", "validate", tmp_path / "a.mender"], check=True, capture_output=True)
    told = subprocess.run(
        ["mender-artifact", "read", tmp_path / "a.mender"], check=True, capture_output=True, text=True
    )
    for part in ("colours-1.0.0", "raspberrypi4", "raspberrypi5", "edgegraft", "bundle.egb.sig"):
        assert part in told.stdout


@pytest.mark.parametrize(("fails", "rolled_back"), [("", True), ("install", False)])
def test_the_mender_module_runs_through_its_states(tmp_path: Path, fails: str, rolled_back: bool) -> None:
    """As Mender's client calls it: an installation that fails has gone back by itself and is not rolled back twice."""
    files = tmp_path / "payload"
    (files / "files").mkdir(parents=True)
    (files / "files" / "bundle.egb").write_bytes(b"bundle")
    log = tmp_path / "calls"
    (tmp_path / "edgegraft").write_text(f'#!/bin/sh\necho "$@" >>{log}\n[ "$1" != "{fails}" ]\n')
    (tmp_path / "edgegraft").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def state(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [MENDER_MODULE, name, files], env=environment, capture_output=True, text=True, check=False
        )

    assert state("SupportsRollback").stdout == "Yes\n"
    assert state("NeedsArtifactReboot").stdout == "No\n"
    assert (state("ArtifactInstall").returncode == 0) == rolled_back
    assert (state("ArtifactCommit").returncode == 0) == rolled_back
    assert state("ArtifactRollback").returncode == 0
    assert state("Cleanup").returncode == 0
    calls = log.read_text().splitlines()
    assert calls[0].startswith(f"install {files}/files/bundle.egb")
    assert ("rollback" in " ".join(calls)) == rolled_back


@pytest.mark.skipif(not (shutil.which("rauc") and shutil.which("unsquashfs")), reason="no rauc")
def test_rauc_verifies_the_bundle_and_its_handler_installs(publisher: Publisher, tmp_path: Path) -> None:
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=rauc", "-days", "2"]
    subprocess.run([*make, "-keyout", tmp_path / "k", "-out", tmp_path / "c"], check=True, capture_output=True)
    out = tmp_path / "a.raucb"
    write_rauc(publisher.bundle("1.0.0"), out, RaucConfig(str(tmp_path / "c"), str(tmp_path / "k"), "gateway"))
    told = subprocess.run(
        ["rauc", "info", f"--keyring={tmp_path / 'c'}", out], check=True, capture_output=True, text=True
    ).stdout
    assert "gateway" in told
    assert "1.0.0" in told
    subprocess.run(["unsquashfs", "-q", "-n", "-d", tmp_path / "in", out], check=True, capture_output=True)
    assert (tmp_path / "in" / "bundle.egb").read_bytes() == publisher.bundle("1.0.0").read_bytes()
    assert (tmp_path / "in" / "handler").read_bytes() == RAUC_HANDLER.read_bytes()
    (tmp_path / "edgegraft").write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/calls\n')
    (tmp_path / "edgegraft").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RAUC_BUNDLE_MOUNT_POINT": str(tmp_path / "in")}
    subprocess.run([tmp_path / "in" / "handler"], env=environment, check=True)
    assert (tmp_path / "calls").read_text() == f"install {tmp_path}/in/bundle.egb\n"
