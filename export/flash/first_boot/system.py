"""Which operating system a boot partition belongs to, told by its files, and whether its card can be prepared.

Sources: pi-gen's stage for cloud-init (Raspberry Pi OS since Trixie of October 2025: ``seedfrom: file:///boot/firmware``),
the README on Ubuntu's boot partition (``fs_label: system-boot``), cloud-init's page on the data source NoCloud.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, replace

from device.releases.refusals import UnsuitableCard
from export.flash.first_boot.card import FOLDER, Card

_SEED = {"user-data", "meta-data"}
_KERNELS_32 = {"kernel.img", "kernel7.img", "kernel7l.img"}
_UBUNTU = {"5.15": ("22.04", "3.10"), "6.8": ("24.04", "3.12"), "6.17": ("25.10", "3.13")}
_DEBIAN = {"6.1": ("12", "3.11"), "6.12": ("13", "3.13")}
# A kernel's version stands in its first megabytes, unpacked.
_MOST_KERNEL = 128 << 20
_PYTHONS = ("3.10", "3.11", "3.12", "3.13")


@dataclass(frozen=True, slots=True)
class System:
    """What was recognised.

    Attributes:
        name: for people.
        python: major and minor version of its ``python3``.
        glibc: of its C library.
        waits_for_links: its boot is held up until a link is up: by links that are said to be optional for two minutes,
            so none is (systemd 252).
    """

    name: str
    python: str
    glibc: tuple[int, int]
    waits_for_links: bool = False


_GLIBC = {"3.10": (2, 35), "3.11": (2, 36), "3.12": (2, 39), "3.13": (2, 41)}


def recognise(card: Card, python: str = "") -> System:
    """Look at the names and a few small files; nothing is written.

    Args:
        card: the boot partition.
        python: asked for by the user, where the card does not tell; empty otherwise.

    Raises:
        UnsuitableCard: it cannot be prepared; the message says what can be done.
    """
    names = set(card.names())
    # A preparation that was cut off may have left a seed's file in its safe place only.
    names |= {name for name in _SEED - names if card.read(f"{FOLDER}/before/{name}") is not None}
    if "APP" in card.partition_names or names & {"extlinux", "nv_tegra_release"} or card.read("etc/nv_tegra_release"):
        raise UnsuitableCard(
            f"{card.where}: a Jetson's system; flash it with NVIDIA's tools, boot it, then: "
            "edgegraft flash B.egb --ssh user@board"
        )
    if "issue.txt" in names or ("start4.elf" in names and card.label != "system-boot" and "vmlinuz" not in names):
        found = _raspberry_pi_os(card, names)
    elif card.label == "system-boot" and "config.txt" in names:
        found = _ubuntu(card, names, python)
    elif card.label.lower() == "cidata" and names >= _SEED:
        found = _debian(card, names, python)
    else:
        raise UnsuitableCard(
            f"{card.where}: no system that can be prepared (label {card.label!r}); expected the boot partition of "
            "Raspberry Pi OS (Trixie or later) or of Ubuntu Server for Raspberry Pi; others: boot it, then "
            "edgegraft flash B.egb --ssh user@board"
        )
    version = python or found.python
    if version not in _PYTHONS:
        raise UnsuitableCard(
            f"{card.where}: {found.name} with Python {version}; edgegraft runs on {', '.join(_PYTHONS)}"
        )
    return replace(found, python=version, glibc=_GLIBC[version])


def _raspberry_pi_os(card: Card, names: set[str]) -> System:
    issue = (card.read("issue.txt") or b"").decode("utf-8", "replace")
    date = re.search(r"Raspberry Pi reference (\d{4}-\d\d-\d\d)", issue)
    name = f"Raspberry Pi OS of {date[1]}" if date else "Raspberry Pi OS"
    if names & _KERNELS_32:
        raise UnsuitableCard(f"{card.where}: {name}, 32-bit; LiteRT exists for 64-bit only: take the 64-bit image")
    if not names >= _SEED:
        raise UnsuitableCard(
            f"{card.where}: {name} without cloud-init; take an image of Trixie (November 2025 or later), or boot it "
            "and use: edgegraft flash B.egb --ssh user@board"
        )
    if "kernel8.img" not in names:
        raise UnsuitableCard(f"{card.where}: {name} without kernel8.img; expected a 64-bit image for a Pi 3 or later")
    return System(name, "3.13", (2, 41))


def _ubuntu(card: Card, names: set[str], python: str) -> System:
    if not names >= _SEED:
        raise UnsuitableCard(f"{card.where}: no user-data and meta-data; expected Ubuntu Server's preinstalled image")
    kernel = card.read("vmlinuz") or card.read("current/vmlinuz") or b""
    if kernel[36:40] == b"\x18\x28\x6f\x01":
        raise UnsuitableCard(f"{card.where}: Ubuntu, 32-bit; LiteRT exists for 64-bit only: take the arm64 image")
    release, version = _UBUNTU.get(_linux_version(kernel), ("", python))
    if not version:
        raise UnsuitableCard(
            f"{card.where}: Ubuntu, but its kernel does not tell the release; expected "
            f"{', '.join(each for each, _ in _UBUNTU.values())}; say its Python with --python 3.12"
        )
    return System(f"Ubuntu {release}".strip(), version, _GLIBC.get(version, (2, 35)))


def _debian(card: Card, names: set[str], python: str) -> System:
    if any(re.fullmatch(r"vmlinuz-.*-(armmp|armmp-lpae|rpi|686|i386|armhf)", name) for name in names):
        raise UnsuitableCard(f"{card.where}: Debian, 32-bit; LiteRT exists for 64-bit only: take an arm64 image")
    kernels = [found[1] for name in sorted(names) if (found := re.fullmatch(r"vmlinuz-(\d+\.\d+)\..*arm64.*", name))]
    release, version = _DEBIAN.get(kernels[-1] if kernels else "", ("", python))
    if not version:
        raise UnsuitableCard(
            f"{card.where}: a card with a cloud-init seed, but no vmlinuz-6.1.*-arm64 (Debian 12) or "
            "vmlinuz-6.12.*-arm64 (13) on it; say its Python with --python 3.11"
        )
    return System(
        f"Debian {release} with cloud-init" if release else "a system with cloud-init", version, (2, 36), True
    )


def _linux_version(kernel: bytes) -> str:
    if kernel.startswith(b"\x1f\x8b"):
        try:
            kernel = zlib.decompressobj(31).decompress(kernel, _MOST_KERNEL)
        except zlib.error:
            return ""
    found = re.search(rb"Linux version (\d+\.\d+)", kernel)
    return found[1].decode() if found else ""
