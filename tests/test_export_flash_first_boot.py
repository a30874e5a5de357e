"""Cards before their first boot: real images, real mtools, cloud-init's own check, and the board's part run here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from device.releases.refusals import Unsigned, UnsuitableCard, Untrusted
from export.flash.first_boot.board_script import Board
from export.flash.first_boot.prepare import CardConfig, prepare_card
from export.flash.first_boot.seed import Person, wifi
from tests.bundles import colour_manifest, colour_models
from tests.cards import (
    DEBIAN,
    IMAGER_CMDLINE,
    IMAGER_USER_DATA,
    PI_OS,
    UBUNTU,
    check_fat,
    get,
    put,
    tiny_wheelhouse,
    write_folder,
    write_image,
)
from tests.signatures import make_keys, sign

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh ada@desk"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from device.bundle import write_bundle

    path = tmp_path_factory.mktemp("bundle") / "colours.egb"
    write_bundle(path, *colour_manifest(colour_models()))
    return path


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_wheelhouse(tmp_path_factory.mktemp("wheels") / "wheelhouse")


@pytest.fixture
def config(bundle: Path, wheels: Path) -> CardConfig:
    return CardConfig(bundle, service=("--camera=csi:0",), allow_unsigned=True, wheelhouse=wheels)


def changed(config: CardConfig, **fields: object) -> CardConfig:
    from dataclasses import replace

    return replace(config, **fields)  # type: ignore[arg-type]


def check_schema(folder: Path, user_data: bytes) -> dict[str, object]:
    path = folder / "checked"
    path.write_bytes(user_data)
    done = subprocess.run(
        ["cloud-init", "schema", "--config-file", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = yaml.safe_load(user_data)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("files", "label", "table", "megabytes", "system", "python"),
    [
        (PI_OS, "bootfs", "dos", 48, "Raspberry Pi OS of 2025-12-04", "3.13"),
        (UBUNTU, "system-boot", "dos", 48, "Ubuntu 24.04", "3.12"),
        (UBUNTU, "system-boot", "gpt", 48, "Ubuntu 24.04", "3.12"),
        (DEBIAN, "CIDATA", "gpt", 24, "Debian 12 with cloud-init", "3.11"),
    ],
)
def test_an_image_gets_all_that_the_board_needs(
    tmp_path: Path,
    config: CardConfig,
    files: dict[str, bytes],
    label: str,
    table: str,
    megabytes: int,
    system: str,
    python: str,
) -> None:
    image = write_image(tmp_path / "card.img", files, label, megabytes, table)
    person = Person("greenhouse", "ada", (KEY,))
    done = prepare_card(changed(config, image=image, person=person))
    assert (done.system, done.python, done.written) == (system, python, True)
    found = check_schema(tmp_path, get(image, "user-data"))
    assert found["hostname"] == "greenhouse"
    assert "edgegraft/first_boot.py" in str(found["bootcmd"])
    meta = yaml.safe_load(get(image, "meta-data"))
    assert meta == {"dsmode": "local", "instance-id": done.instance}
    assert get(image, "edgegraft/bundle.egb") == config.bundle.read_bytes()
    options = json.loads(get(image, "edgegraft/options.json"))
    assert (options["service"], options["allow_unsigned"]) == (["--camera=csi:0"], True)
    assert config.wheelhouse is not None
    for wheel in config.wheelhouse.iterdir():
        assert get(image, f"edgegraft/wheelhouse/{wheel.name}") == wheel.read_bytes()
    for name, data in files.items():
        if name not in ("user-data", "meta-data", "network-config"):
            assert get(image, name) == data
    check_fat(image)


def test_a_mounted_folder_gets_the_same(tmp_path: Path, config: CardConfig) -> None:
    folder = write_folder(tmp_path / "bootfs", PI_OS)
    done = prepare_card(changed(config, boot=folder))
    check_schema(tmp_path, (folder / "user-data").read_bytes())
    assert done.instance in (folder / "meta-data").read_text()
    network = yaml.safe_load((folder / "network-config").read_text())
    assert network["network"]["ethernets"]["eth0"]["optional"] is True
    assert not list(folder.rglob("*.new"))


def test_what_imager_asked_for_is_kept(tmp_path: Path, config: CardConfig) -> None:
    wireless = b"network:\n  version: 2\n  wifis:\n    wlan0:\n      access-points: {home: {password: abcdefgh}}\n"
    seeds = {"user-data": IMAGER_USER_DATA, "cmdline.txt": IMAGER_CMDLINE, "network-config": wireless}
    image = write_image(tmp_path / "card.img", {**PI_OS, **seeds})
    done = prepare_card(changed(config, image=image))
    found = check_schema(tmp_path, get(image, "user-data"))
    before = yaml.safe_load(IMAGER_USER_DATA)
    assert {key: found[key] for key in before} == before
    assert get(image, "network-config") == wireless
    # Imager's instance id on the kernel's command line wins over meta-data: a board that knows it would do nothing.
    line = get(image, "cmdline.txt").decode()
    assert line.count("ds=nocloud") == 1
    assert f"ds=nocloud;i={done.instance}" in line
    assert "root=PARTUUID=9710ec8c-02" in line


def test_twice_is_once_with_a_fresh_instance(tmp_path: Path, config: CardConfig) -> None:
    image = write_image(tmp_path / "card.img", {**PI_OS, "user-data": IMAGER_USER_DATA})
    first = prepare_card(changed(config, image=image))
    text = get(image, "user-data")
    second = prepare_card(changed(config, image=image))
    assert get(image, "user-data") == text
    assert first.instance != second.instance
    assert second.instance.encode() in get(image, "meta-data")
    # What the first time took up counts as free.
    assert abs(first.free_bytes - second.free_bytes) < 1 << 20
    check_fat(image)


@pytest.mark.parametrize("lost", ["user-data", "meta-data", "cmdline.txt"])
def test_after_an_interruption_the_first_content_is_found_again(tmp_path: Path, config: CardConfig, lost: str) -> None:
    folder = write_folder(tmp_path / "bootfs", {**PI_OS, "user-data": IMAGER_USER_DATA, "cmdline.txt": IMAGER_CMDLINE})
    kept = {name: (folder / name).read_bytes() for name in ("user-data", "meta-data", "cmdline.txt")}
    write_folder(folder / "edgegraft/before", kept)
    (folder / lost).unlink()
    done = prepare_card(changed(config, boot=folder))
    found = check_schema(tmp_path, (folder / "user-data").read_bytes())
    assert found["users"] == yaml.safe_load(IMAGER_USER_DATA)["users"]
    assert f"i={done.instance}" in (folder / "cmdline.txt").read_text()
    assert not (folder / "edgegraft/before").exists()


def test_wifi_is_joined_and_its_password_is_not_on_the_card(tmp_path: Path, config: CardConfig) -> None:
    folder = write_folder(tmp_path / "bootfs", PI_OS)
    # IEEE 802.11i, annex H.4.2, the first two test vectors.
    assert wifi("IEEE", "password", "DE").psk == "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"
    assert wifi("ThisIsASSID", "ThisIsAPassword", "DE").psk.startswith("0dc0d6eb90555ed6419756b9a15ec3e3")
    prepare_card(changed(config, boot=folder, wifi=wifi("our: {net}'\"", "correct horse", "DE")))
    network = yaml.safe_load((folder / "network-config").read_text())
    assert list(network["network"]["wifis"]["wlan0"]["access-points"]) == ["our: {net}'\""]
    assert "cfg80211.ieee80211_regdom=DE" in (folder / "cmdline.txt").read_text()
    assert not any(b"correct horse" in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_dry_run_writes_nothing(tmp_path: Path, config: CardConfig) -> None:
    image = write_image(tmp_path / "card.img", PI_OS)
    before = image.read_bytes()
    assert not prepare_card(changed(config, image=image, dry_run=True)).written
    assert image.read_bytes() == before


def test_an_unsigned_bundle_needs_to_be_allowed(tmp_path: Path, config: CardConfig) -> None:
    folder = write_folder(tmp_path / "bootfs", PI_OS)
    with pytest.raises(Unsigned):
        prepare_card(changed(config, boot=folder, allow_unsigned=False))


def test_a_signature_is_checked_before_anything_is_written(tmp_path: Path, config: CardConfig) -> None:
    folder = write_folder(tmp_path / "bootfs", PI_OS)
    bundle = tmp_path / "colours.egb"
    bundle.write_bytes(config.bundle.read_bytes())
    keys, others = make_keys(tmp_path / "keys"), make_keys(tmp_path / "others")
    sign(bundle, keys)
    root, other = (next(each.rglob("1.root.json")) for each in (keys, others))
    signed = changed(config, bundle=bundle, boot=folder, allow_unsigned=False)
    for wrong in (changed(signed, trust=other), signed):
        with pytest.raises(Untrusted):
            prepare_card(wrong)
    assert not (folder / "edgegraft").exists()
    prepare_card(changed(signed, trust=root))
    assert (folder / "edgegraft/root.json").read_bytes() == root.read_bytes()
    assert (folder / "edgegraft/bundle.egb.sig").read_bytes() == (tmp_path / "colours.egb.sig").read_bytes()
    assert json.loads((folder / "edgegraft/options.json").read_text())["service"] == ["--camera=csi:0"]


def board_card(tmp_path: Path, config: CardConfig, monkeypatch: pytest.MonkeyPatch) -> tuple[Board, Path, Path]:
    folder = write_folder(tmp_path / "bootfs", PI_OS)
    root = next(make_keys(tmp_path / "keys").rglob("1.root.json"))
    prepare_card(changed(config, boot=folder, trust=root, service=('--camera=it\'s $(x) "q" %i; `y`',), unit="a"))
    calls = tmp_path / "calls"
    monkeypatch.setenv("CALLS", str(calls))
    board = Board(tmp_path / "board")
    board.home.mkdir(parents=True)
    (board.home / "card").write_text(str(folder / "edgegraft"))
    return board, folder, calls


def venv_of(board: Board, folder: Path) -> Path:
    options = json.loads((folder / "edgegraft/options.json").read_text())
    return board.runtimes / str(options["runtime"])


def test_the_boards_part_makes_the_runtime_and_hands_every_option_on(
    tmp_path: Path, config: CardConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    board, folder, calls = board_card(tmp_path, config, monkeypatch)
    # Cut off in the middle of an earlier try.
    (venv_of(board, folder) / "bin").mkdir(parents=True)
    (venv_of(board, folder) / "bin/python").write_text("half")
    venv = venv_of(board, folder)
    board.work()
    made = [json.loads(line) for line in calls.read_text().splitlines()]
    assert made == [
        ["trust", "enroll", "--name=a", str(board.home / "root.json")],
        ["service", "install", "--camera=it's $(x) \"q\" %i; `y`", "--name=a", "--allow-unsigned",
         "--again",
         str(board.home / "bundle.egb")],
    ]  # fmt: skip
    # What a workstation looks for that comes over SSH later.
    asked = json.loads((board.flashed / "asked-a").read_text())
    assert asked == {"runtime": venv.name, "service": ['--camera=it\'s $(x) "q" %i; `y`'], "rules": ""}
    assert board.command.resolve() == venv.resolve() / "bin/edgegraft"
    assert (board.home / "done").exists()
    assert (board.home / "bundle.egb").read_bytes() == config.bundle.read_bytes()
    assert sorted(path.name for path in (folder / "edgegraft").iterdir()) == [
        "first_boot.log",
        "first_boot.py",
        "prepared.json",
    ]


@pytest.mark.parametrize(("files", "label", "short"), [(PI_OS, "bootfs", False), (DEBIAN, "CIDATA", True)])
def test_no_boot_of_debian_waits_long_for_a_network(
    tmp_path: Path,
    config: CardConfig,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, bytes],
    label: str,
    short: bool,
) -> None:
    folder = write_folder(tmp_path / label, files)
    prepare_card(changed(config, boot=folder))
    network = yaml.safe_load((folder / "network-config").read_text())
    assert ("optional" in network["network"]["ethernets"]["eth0"]) is not short
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "systemctl").write_text('#!/bin/sh\necho "$@" >>"$0.calls"\n')
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    board = Board(tmp_path / "board")
    board.enable(folder / "edgegraft")
    assert "enable edgegraft-first-boot.service" in (programs / "systemctl.calls").read_text()
    waiter = board.units / "systemd-networkd-wait-online.service.d/edgegraft.conf"
    assert waiter.exists() is short
    if short and shutil.which("systemd-analyze"):
        unit = tmp_path / "systemd-networkd-wait-online.service"
        unit.write_text(waiter.read_text().replace("ExecStart=\n", ""))
        done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
        assert "not executable" in done.stderr or done.returncode == 0, done.stderr


def test_a_refusal_on_the_board_is_told_on_the_card_and_tried_again(
    tmp_path: Path, config: CardConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    board, folder, _ = board_card(tmp_path, config, monkeypatch)
    monkeypatch.setenv("CODE", "21")
    with pytest.raises(RuntimeError):
        board.work()
    assert "failed: edgegraft trust" in (folder / "edgegraft/first_boot.log").read_text()
    assert not (board.home / "done").exists()
    monkeypatch.setenv("CODE", "0")
    (venv,) = board.runtimes.iterdir()
    made = (venv / "pyvenv.cfg").stat().st_mtime_ns
    board.work()
    assert (board.home / "done").exists()
    assert (venv / "pyvenv.cfg").stat().st_mtime_ns == made


def test_a_wheel_that_the_card_lost_is_named(
    tmp_path: Path, config: CardConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    board, folder, _ = board_card(tmp_path, config, monkeypatch)
    (folder / "edgegraft/wheelhouse/edgegraft-0.1.0-py3-none-any.whl").write_bytes(b"\0")
    with pytest.raises(RuntimeError, match=r"edgegraft-0\.1\.0-py3-none-any\.whl on the card is damaged"):
        board.work()


def test_the_command_prepares_and_tells(tmp_path: Path, config: CardConfig) -> None:
    image = write_image(tmp_path / "card.img", {**PI_OS, "user-data": IMAGER_USER_DATA})
    code = "import sys; from device.cli import _run; import export.commands.flash as c; "
    code += "sys.exit(_run('flash', c, sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(config.bundle), "--image", str(image), "--camera", "csi:0", "--json"]
    command += ["--allow-unsigned", "--wheelhouse", str(config.wheelhouse)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["system"] == "Raspberry Pi OS of 2025-12-04"
    put(image, "kernel7.img", b"x")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == UnsuitableCard.exit_code
    assert "32-bit" in done.stderr
