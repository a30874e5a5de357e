"""A Debian for arm64 as a disk image: what a person would download, made here once and kept in the user's cache.

Two partitions as on a card: FAT with kernel and an empty cloud-init seed (label CIDATA), ext4 with the system. There is
no trace of edgegraft in it; ``edgegraft flash --image`` has to do everything.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

CACHE = Path.home() / ".cache" / "edgegraft-tests"
PACKAGES = (
    *("linux-image-arm64", "initramfs-tools", "systemd-sysv", "systemd-timesyncd", "dbus", "udev", "kmod"),
    *("libpam-systemd", "procps", "iproute2", "netplan.io", "cloud-init", "openssh-server", "sudo", "python3"),
    "ca-certificates",
)
_DEFAULT_SUITE = "bookworm"
_MIB = 1 << 20
_BOOT_START, _BOOT_BYTES = 4 * _MIB, 256 * _MIB
_ROOT_START, _ROOT_BYTES = _BOOT_START + _BOOT_BYTES, 3072 * _MIB
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_REGISTER = """\
mountpoint -q /proc/sys/fs/binfmt_misc || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
grep '^:' /usr/lib/binfmt.d/qemu-aarch64.conf | tr -d '\\n' >/proc/sys/fs/binfmt_misc/register
"""
# Before the kernel's package is configured: an initramfs of what this machine boots from, made in seconds.
_BEFORE = """\
mkdir -p "$1/etc/initramfs-tools/conf.d"
echo 'MODULES=list
COMPRESS=lz4' >"$1/etc/initramfs-tools/conf.d/board"
printf '%s\\n' virtio_pci virtio_blk ext4 >"$1/etc/initramfs-tools/modules"
"""
# The camera is a kernel module: 'vivid' draws a test picture as a V4L2 device does.
_AFTER = """\
printf 'LABEL=root / ext4 errors=remount-ro 0 1\\nLABEL=CIDATA /boot/firmware vfat nofail 0 2\\n' >"$1/etc/fstab"
echo vivid >"$1/etc/modules-load.d/camera.conf"
echo 'options vivid n_devs=1' >"$1/etc/modprobe.d/camera.conf"
cat >"$1/etc/cloud/cloud.cfg.d/90_board.cfg" <<EOT
# No clouds are looked for, and no module that takes minutes of an emulated processor.
datasource_list: [NoCloud, None]
cloud_config_modules: [set-passwords, runcmd]
cloud_final_modules: [scripts-user, ssh-authkey-fingerprints, keys-to-console, final-message]
EOT
echo board >"$1/etc/hostname"
mkdir -p "$1/boot/firmware" "$1/var/log/journal"
rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/apt/apt.conf.d/99mmdebstrap
rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*
: >"$1/etc/machine-id"
"""


def debian_image(say: Callable[[str], None], again: bool = False) -> Path:
    """The image, made where it is missing; some minutes, as root (or with sudo).

    Raises:
        RuntimeError: a program failed; the message has its last words.
    """
    recipe = "\n".join([*PACKAGES, _suite(), _BEFORE, _AFTER, str((_BOOT_BYTES, _ROOT_BYTES))])
    disk = CACHE / f"board-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}.img"
    if again:
        disk.unlink(missing_ok=True)
    if not disk.is_file():
        say(f"making an arm64 Debian ({_suite()}) in {disk}; some minutes, once")
        CACHE.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=CACHE, prefix=".board-"))
        try:
            _register_emulator()
            _unpack(scratch)
            _assemble(scratch).rename(disk)  # whole or not at all
        finally:
            as_root(["rm", "-rf", "--one-file-system", str(scratch)])
    return disk


def boot_files(disk: Path, folder: Path) -> tuple[Path, Path]:
    """Kernel and initramfs, taken from the boot partition as a boot loader does."""
    part = f"{disk}@@{_BOOT_START}"
    names = _run(["mdir", "-b", "-i", part, "::/"]).split()
    found = []
    for start in ("vmlinuz-", "initrd.img-"):
        (name,) = (each.removeprefix("::/") for each in names if each.startswith(f"::/{start}"))
        _run(["mcopy", "-n", "-o", "-i", part, f"::/{name}", str(folder / name)])
        found.append(folder / name)
    return found[0], found[1]


def as_root(command: Sequence[str]) -> str:
    """Run a program as root.

    Raises:
        RuntimeError: it failed.
    """
    return _run([*([] if os.geteuid() == 0 else ["sudo", "-n"]), *command])


def _suite() -> str:
    """The host's, whose mirror is at hand; on other systems Debian's own default mirror serves a fixed one."""
    return _host()["VERSION_CODENAME"] if _is_debian() else _DEFAULT_SUITE


def _sources() -> list[str]:
    places = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
    return [str(next(path for path in places if path.is_file()))] if _is_debian() else []


def _is_debian() -> bool:
    return _host().get("ID") == "debian"


def _host() -> dict[str, str]:
    return dict(re.findall(r'^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text(), re.MULTILINE))


def _register_emulator() -> None:
    if not (_BINFMT / "qemu-aarch64").exists():
        as_root(["sh", "-c", _REGISTER])


def _unpack(scratch: Path) -> None:
    """Debian's packages, configured under user-mode emulation."""
    options = scratch / "apt.conf"
    options.write_text(_run(["apt-config", "dump", "Acquire"]) if _is_debian() else "")
    hooks = []
    for kind, text in (("essential", _BEFORE), ("customize", _AFTER)):
        script = scratch / f"{kind}.sh"
        script.write_text(f"#!/bin/sh\nset -e\n{text}")
        script.chmod(0o755)
        hooks.append(f"--{kind}-hook={script}")
    left_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale", "info")]
    command = ["mmdebstrap", "--quiet", "--mode=root", "--architectures=arm64", "--variant=minbase"]
    command += [f"--include={','.join(PACKAGES)}", f"--aptopt={options}", *left_out, *hooks]
    as_root([*command, _suite(), str(scratch / "root"), *_sources()])


def _assemble(scratch: Path) -> Path:
    root, boot, disk = scratch / "root", scratch / "boot.img", scratch / "disk.img"
    with disk.open("wb") as file:
        file.truncate(_ROOT_START + _ROOT_BYTES)
    sectors = [
        f"{start // 512},{size // 512},{kind}"
        for start, size, kind in ((_BOOT_START, _BOOT_BYTES, "c"), (_ROOT_START, _ROOT_BYTES, "83"))
    ]
    _run(["sfdisk", "--quiet", str(disk)], "label: dos\n" + "\n".join(sectors) + "\n")
    with boot.open("wb") as file:
        file.truncate(_BOOT_BYTES)
    _run(["mkfs.fat", "-F", "32", "-n", "CIDATA", str(boot)])
    for name, text in (("user-data", "#cloud-config\n"), ("meta-data", "instance-id: board\n")):
        (scratch / name).write_text(text)
        _run(["mcopy", "-i", str(boot), str(scratch / name), f"::/{name}"])
    for path in sorted([*(root / "boot").glob("vmlinuz-*"), *(root / "boot").glob("initrd.img-*")]):
        as_root(["mcopy", "-i", str(boot), str(path), f"::/{path.name}"])
    with boot.open("rb") as source, disk.open("r+b") as target:
        target.seek(_BOOT_START)
        shutil.copyfileobj(source, target, _MIB)
    as_root(
        [
            "mke2fs",
            "-q",
            "-F",
            "-t",
            "ext4",
            "-L",
            "root",
            "-d",
            str(root),
            "-E",
            f"offset={_ROOT_START}",
            str(disk),
            f"{_ROOT_BYTES // 1024}k",
        ]
    )
    return disk


def _run(command: Sequence[str], text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} ...: {(done.stderr or done.stdout).strip()[-1500:]}")
    return done.stdout
