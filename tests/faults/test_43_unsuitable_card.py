"""Fault 43: wrong disk, card too small, image of an unsupported system: refused before a byte is written."""

from __future__ import annotations

import gzip
from hashlib import sha256
from pathlib import Path

import pytest

from device.bundle import write_bundle
from device.releases.refusals import UnsuitableCard
from export.flash.first_boot.card import MountedCard, _used_by
from export.flash.first_boot.prepare import CardConfig, prepare_card
from tests.bundles import colour_manifest, colour_models
from tests.cards import DEBIAN, PI_CMDLINE, PI_OS, UBUNTU, put, tiny_wheelhouse, write_folder, write_image


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> CardConfig:
    folder = tmp_path_factory.mktemp("given")
    write_bundle(folder / "colours.egb", *colour_manifest(colour_models()))
    return CardConfig(folder / "colours.egb", allow_unsigned=True, wheelhouse=tiny_wheelhouse(folder / "wheels"))


def refused(config: CardConfig, image: Path, why: str) -> None:
    from dataclasses import replace

    before = sha256(image.read_bytes()).hexdigest()
    with pytest.raises(UnsuitableCard, match=why) as caught:
        prepare_card(replace(config, image=image))
    assert caught.value.exit_code == 26
    assert sha256(image.read_bytes()).hexdigest() == before


def without(files: dict[str, bytes], *names: str) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name not in names}


@pytest.mark.parametrize(
    ("files", "label", "why"),
    [
        (without(PI_OS, "user-data", "meta-data", "network-config"), "bootfs", "without cloud-init.*Trixie"),
        ({**PI_OS, "kernel7.img": b"x", "kernel7l.img": b"x"}, "bootfs", "32-bit"),
        (without(PI_OS, "kernel8.img"), "bootfs", "kernel8"),
        (without(UBUNTU, "user-data", "meta-data"), "system-boot", "no user-data"),
        ({**UBUNTU, "vmlinuz": b"\0" * 36 + b"\x18\x28\x6f\x01" + b"\0" * 99}, "system-boot", "32-bit"),
        ({**UBUNTU, "vmlinuz": gzip.compress(b"Linux version 7.9.0-1-raspi")}, "system-boot", "--python"),
        ({**UBUNTU, "vmlinuz": UBUNTU["vmlinuz"][:40]}, "system-boot", "--python"),
        ({**without(DEBIAN, "vmlinuz-6.1.0-41-arm64"), "vmlinuz-6.1.0-41-armmp": b"x"}, "CIDATA", "32-bit"),
        (without(DEBIAN, "vmlinuz-6.1.0-41-arm64"), "CIDATA", "--python"),
        ({"EFI/BOOTAA64.EFI": b"x"}, "esp", "no system that can be prepared"),
        ({**PI_OS, "user-data": b"#!/bin/sh\nrm -rf /\n"}, "bootfs", "--replace"),
        ({**PI_OS, "user-data": b"#cloud-config\n- a\n"}, "bootfs", "holds a list"),
        ({**PI_OS, "user-data": b"#cloud-config\na: [\n"}, "bootfs", "no YAML"),
        ({**PI_OS, "cmdline.txt": PI_CMDLINE.rstrip() + b" ds=nocloud;s=http://10.0.0.2/\n"}, "bootfs", "elsewhere"),
    ],
)
def test_a_system_that_cannot_be_prepared(
    tmp_path: Path, config: CardConfig, files: dict[str, bytes], label: str, why: str
) -> None:
    refused(config, write_image(tmp_path / "card.img", files, label, 24), why)


def test_a_jetson(tmp_path: Path, config: CardConfig) -> None:
    image = write_image(tmp_path / "card.img", {"EFI/BOOTAA64.EFI": b"x"}, "esp", 24, "gpt", "APP")
    refused(config, image, "Jetson.*NVIDIA.*--ssh")


def test_too_little_space(tmp_path: Path, config: CardConfig) -> None:
    image = write_image(tmp_path / "card.img", PI_OS, megabytes=24)
    put(image, "filling", b"x" * (21 << 20))
    refused(config, image, "MB free on the boot partition")


def test_a_summary_sector_that_lies_does_not_help(tmp_path: Path, config: CardConfig) -> None:
    image = write_image(tmp_path / "card.img", PI_OS)
    put(image, "filling", b"x" * (45 << 20))
    data = bytearray(image.read_bytes())
    at = 8192 * 512 + 512 + 488  # FSInfo's count of free clusters
    data[at : at + 4] = (90000).to_bytes(4, "little")
    image.write_bytes(bytes(data))
    refused(config, image, "MB free on the boot partition")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no partition table"),
        (b"hello" * 1000, "no partition table"),
        (b"\xfd7zXZ\0" + b"x" * 2000, "xz -d"),
        (b"\x1f\x8b" + b"x" * 2000, "gunzip"),
        (b"PK\x03\x04" + b"x" * 2000, "unzip"),
        (b"\0" * 510 + b"\x55\xaa" + b"\0" * 4096, "no FAT boot partition"),
        (b"\0" * 446 + bytes.fromhex("000000000c000000ffffffffffffffff") + b"\0" * 48 + b"\x55\xaa", "no FAT"),
    ],
)
def test_no_disk_image(tmp_path: Path, config: CardConfig, content: bytes, why: str) -> None:
    image = tmp_path / "card.img"
    image.write_bytes(content)
    refused(config, image, why)


def test_any_byte_of_the_tables_may_be_wrong(tmp_path: Path, config: CardConfig) -> None:
    import random

    from device.errors import EdgegraftError
    from export.flash.first_boot.partitions import partitions, room

    good = write_image(tmp_path / "card.img", DEBIAN, "CIDATA", 24, "gpt").read_bytes()
    chance = random.Random(5)
    image = tmp_path / "bad.img"
    for _ in range(300):
        data = bytearray(good)
        for _ in range(4):
            data[chance.choice((chance.randrange(2048), 8192 * 512 + chance.randrange(64)))] = chance.randrange(256)
        image.write_bytes(bytes(data))
        with image.open("rb") as disk:
            try:
                found = partitions(disk, image)
            except EdgegraftError:
                continue
            for part in found:
                room(disk, part)


def test_a_disk_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/mounts").write_text("/dev/sda2 / ext4 rw 0 0\n/dev/mmcblk0p1 /media/ada/bootfs vfat rw 0 0\n")
    (tmp_path / "proc/swaps").write_text("Filename Type Size\n/dev/nvme0n1p3 partition 1\n")

    def used(image: str, disk: bool = True) -> str:
        return _used_by(Path(image), disk, tmp_path / "proc", tmp_path / "block")

    assert used("/dev/sda") == "/"
    assert used("/dev/mmcblk0") == "/media/ada/bootfs"
    assert used("/dev/nvme0n1") == "swap"
    assert used("/dev/sdb") == ""
    assert used("/dev/nvme0n11") == ""
    backing = tmp_path / "block/loop7/loop/backing_file"
    backing.parent.mkdir(parents=True)
    backing.write_text("/home/ada/card.img\n")
    assert used("/home/ada/card.img", False) == "/dev/loop7"


def test_the_folder_of_this_machine_and_a_folder_that_is_none(tmp_path: Path, config: CardConfig) -> None:
    from dataclasses import replace

    folder = write_folder(tmp_path / "bootfs", PI_OS)
    with pytest.raises(UnsuitableCard, match="own system"):
        MountedCard(folder, (str(folder),))
    with pytest.raises(UnsuitableCard, match="own system"):
        prepare_card(replace(config, boot=Path("/")))
    for wrong in (tmp_path / "nothing", folder / "config.txt"):
        with pytest.raises(UnsuitableCard, match="no such folder"):
            prepare_card(replace(config, boot=wrong))
    with pytest.raises(UnsuitableCard, match="no system that can be prepared"):
        prepare_card(replace(config, boot=tmp_path))
    for wrong in (folder, Path("/dev/null"), tmp_path / "nothing.img"):
        with pytest.raises(UnsuitableCard):
            prepare_card(replace(config, image=wrong))
