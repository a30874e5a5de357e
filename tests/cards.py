"""Images shaped as the boot partitions of real systems, made by dosfstools, sfdisk and mtools."""

from __future__ import annotations

import gzip
import subprocess
import zipfile
from pathlib import Path

# As pi-gen's stage 2 for cloud-init and rpi-imager leave them.
PI_META = b"# comments\ndsmode: local\ninstance_id: rpios-image\n"
PI_CMDLINE = b"console=serial0,115200 console=tty1 root=PARTUUID=9710ec8c-02 rootfstype=ext4 fsck.repair=yes rootwait\n"
PI_ISSUE = (
    b"Raspberry Pi reference 2025-12-04\nGenerated using pi-gen, https://github.com/RPi-Distro/pi-gen, abc, stage2\n"
)
PI_OS = {
    "config.txt": b"arm_64bit=1\n",
    "cmdline.txt": PI_CMDLINE,
    "issue.txt": PI_ISSUE,
    "kernel8.img": b"x" * 3000,
    "kernel_2712.img": b"x" * 3000,
    "start4.elf": b"x",
    "overlays/README": b"x",
    "user-data": b"#cloud-config\n\n# hostname: raspberrypi\n",
    "meta-data": PI_META,
    "network-config": b"# all of it comments\n",
}
IMAGER_USER_DATA = b"""#cloud-config
hostname: imager
users:
- name: ada
  passwd: $y$j9T$salt$hash
  lock_passwd: false
runcmd:
- [ rfkill, unblock, wifi ]
"""
IMAGER_CMDLINE = PI_CMDLINE.rstrip() + b" cfg80211.ieee80211_regdom=US ds=nocloud;i=rpi-imager-1787532598498\n"
UBUNTU = {
    "config.txt": b"arm_64bit=1\n",
    "cmdline.txt": b"multipath=off console=tty1 root=LABEL=writable rootfstype=ext4 rootwait fixrtc\n",
    "vmlinuz": gzip.compress(b"\0" * 4000 + b"Linux version 6.8.0-1010-raspi (buildd@bos) " + b"\0" * 100),
    "initrd.img": b"x" * 2000,
    "start4.elf": b"x",
    "user-data": b"#cloud-config\nssh_pwauth: true\nchpasswd:\n  expire: true\n"
    b"  users:\n  - {name: ubuntu, password: ubuntu, type: text}\n",
    "meta-data": b"dsmode: local\ninstance_id: cloud-image\n",
    "network-config": b"network:\n  version: 2\n  ethernets:\n    eth0: {dhcp4: true, optional: true}\n",
}
DEBIAN = {
    "vmlinuz-6.1.0-41-arm64": b"x",
    "user-data": b"#cloud-config\n",
    "meta-data": b"instance-id: first\n",
}
_START = 8192
_TYPES = {"dos": "c", "gpt": "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"}


def write_image(
    path: Path, files: dict[str, bytes], label: str = "bootfs", megabytes: int = 48, table: str = "dos", names: str = ""
) -> Path:
    """A disk with a FAT boot partition and a Linux one behind it."""
    sectors = megabytes * 2048
    path.write_bytes(b"")
    with path.open("r+b") as file:
        file.truncate((_START + sectors + 8192 + 2048) * 512)
    extra = f", name={names}" if names else ""
    layout = f"label: {table}\nstart={_START}, size={sectors}, type={_TYPES[table]}{extra}\nsize=4096, type=linux\n"
    _do(["sfdisk", "--quiet", "--no-tell-kernel", str(path)], layout)
    wide = ["-F", "32" if megabytes >= 40 else "16"]
    fat = ["mkfs.vfat", *wide, "-s", "1", "-n", label, "--offset", str(_START), str(path), str(megabytes * 1024)]
    _do(fat)
    for name, data in files.items():
        put(path, name, data)
    return path


def put(image: Path, name: str, data: bytes) -> None:
    """Write a file into the image's boot partition."""
    at = f"{image}@@{_START * 512}"
    if "/" in name:
        subprocess.run(["mmd", "-i", at, f"::/{name.split('/')[0]}"], capture_output=True, check=False)
    source = image.with_name("put.tmp")
    source.write_bytes(data)
    _do(["mcopy", "-o", "-i", at, str(source), f"::/{name}"])


def get(image: Path, name: str) -> bytes:
    """Read a file of the image's boot partition."""
    return subprocess.run(
        ["mtype", "-i", f"{image}@@{_START * 512}", f"::/{name}"], capture_output=True, check=True
    ).stdout


def check_fat(image: Path) -> None:
    """The file system is whole, as fsck sees it."""
    part = image.with_name("part.tmp")
    with image.open("rb") as disk:
        disk.seek(_START * 512)
        size = image.stat().st_size - (_START + 8192 + 2048) * 512
        part.write_bytes(disk.read(size))
    done = subprocess.run(["fsck.vfat", "-n", str(part)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    """The same as a mounted folder."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def tiny_wheelhouse(folder: Path) -> Path:
    """Wheels that install: pip's own, out of ensurepip, and an edgegraft that notes what it was called with."""
    import ensurepip
    import shutil

    folder.mkdir()
    pip = next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    shutil.copy(pip, folder)
    code = (
        "import json, os, sys\n"
        "def main():\n"
        "    with open(os.environ['CALLS'], 'a') as file:\n"
        "        file.write(json.dumps(sys.argv[1:]) + '\\n')\n"
        "    return int(os.environ.get('CODE', '0'))\n"
    )
    meta = "Metadata-Version: 2.1\nName: edgegraft\nVersion: 0.1.0\nProvides-Extra: board\n"
    info = "edgegraft-0.1.0.dist-info"
    files = {
        "called.py": code,
        f"{info}/METADATA": meta,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nedgegraft = called:main\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / "edgegraft-0.1.0-py3-none-any.whl", "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name, text)
    return folder


def _do(command: list[str], given: str = "") -> None:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
