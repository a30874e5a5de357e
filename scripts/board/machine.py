"""The emulated board: QEMU's 'virt' machine with two Cortex-A72, a camera of the kernel, and a disk that forgets."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from board import volatile_disk
from board.image import boot_files

MEMORY_MB = 1536
# A log of everything on the console: before there is a network nothing else tells what goes on.
_KERNEL_WORDS = (
    "root=LABEL=root console=ttyAMA0 net.ifnames=0 systemd.show_status=no systemd.journald.forward_to_console=1"
)
_READ_ONLY = "ro systemd.mask=systemd-remount-fs.service"
_LOOK_EVERY_S = 0.5
_TRAP = "trap"


class BoardError(Exception):
    """The board did not do what it had to; the message has its console's last lines."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a power cut took: blocks of 4 KiB that were not flushed, and those of them that did not survive."""

    flushes: int
    unflushed_blocks: int
    lost_blocks: int
    in_a_flush: bool


class Machine:
    """One board; it is off at first.

    Args:
        folder: for sockets, consoles and the disk.
        disk: of the board; written to.
    """

    def __init__(self, folder: Path, disk: Path) -> None:
        self.port = _free_port()
        self.boots = 0
        self._folder = folder
        self._disk = disk
        self._kernel, self._initrd = boot_files(disk, folder)
        self._emulator: subprocess.Popen[bytes] | None = None
        self._disk_server: subprocess.Popen[bytes] | None = None

    @property
    def console_file(self) -> Path:
        """Of this boot."""
        return self._folder / f"console-{self.boots}.log"

    def console(self) -> str:
        """What it has said since it was switched on."""
        return self.console_file.read_text(errors="replace")

    def switch_on(self, cable: bool = True, read_only: bool = False) -> None:
        """Power, with or without a network cable; ``read_only``: the root file system takes no writes."""
        self.boots += 1
        for name in ("disk.sock", "monitor.sock", "loss.json", _TRAP, _TRAP + volatile_disk.CAUGHT):
            (self._folder / name).unlink(missing_ok=True)
        self._serve_disk()
        words = f"{_KERNEL_WORDS} {_READ_ONLY if read_only else 'rw'}"
        self._emulator = subprocess.Popen(self._command(words), stdin=subprocess.DEVNULL)
        self._monitor("set_link net0 " + ("on" if cable else "off"), "cont")

    def plug_in(self) -> None:
        """The network cable."""
        self._monitor("set_link net0 on")

    def cut_power(self, next_flush_s: float = 0.0) -> Loss:
        """At once, or at the next flush within ``next_flush_s``. Of what was not flushed a part is lost."""
        assert self._emulator is not None
        assert self._disk_server is not None
        trap, caught = self._folder / _TRAP, self._folder / (_TRAP + volatile_disk.CAUGHT)
        deadline = time.monotonic() + next_flush_s
        if next_flush_s:
            trap.touch()
        while not caught.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        self._emulator.kill()
        self._emulator.wait()
        trap.unlink(missing_ok=True)
        self._disk_server.wait(60)
        said = json.loads((self._folder / "loss.json").read_text())
        return Loss(said["flushes"], said["unflushed_blocks"], said["lost_blocks"], caught.exists())

    def wait_for(self, words: str, limit_s: float) -> float:
        """Wait until the console has said this; the seconds it took.

        Raises:
            BoardError: it ended, or the time is over.
        """
        begin = time.monotonic()
        while words not in self.console():
            self.require_on()
            if time.monotonic() - begin > limit_s:
                raise BoardError(f"no {words!r} within {limit_s:.0f} s\n{self.last_lines()}")
            time.sleep(_LOOK_EVERY_S)
        return time.monotonic() - begin

    def require_on(self) -> None:
        """Raises BoardError where the emulator has ended."""
        if self._emulator is None or self._emulator.poll() is not None:
            raise BoardError(f"it is off\n{self.last_lines()}")

    def last_lines(self, count: int = 25) -> str:
        """Of the console."""
        return "\n".join(self.console().splitlines()[-count:]) if self.console_file.exists() else "(no console)"

    def close(self) -> None:
        """Whatever still runs is ended."""
        for process in (self._emulator, self._disk_server):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()

    def _serve_disk(self) -> None:
        socket_file = self._folder / "disk.sock"
        program = [
            "nbdkit",
            "--foreground",
            "--exit-with-parent",
            "--unix",
            str(socket_file),
            "--filter=exitlast",
            "python",
        ]
        options = [f"file={self._disk}", f"seed={self.boots}", f"report={self._folder / 'loss.json'}"]
        options.append(f"trap={self._folder / _TRAP}")
        self._disk_server = subprocess.Popen([*program, volatile_disk.__file__, *options])
        deadline = time.monotonic() + 30
        while not socket_file.exists():
            if self._disk_server.poll() is not None or time.monotonic() > deadline:
                raise BoardError(
                    "nbdkit does not serve the disk; its Debian packages are nbdkit and nbdkit-plugin-python"
                )
            time.sleep(0.05)

    def _command(self, words: str) -> list[str]:
        emulator = shutil.which("qemu-system-aarch64")
        if emulator is None:
            raise BoardError("no qemu-system-aarch64; its Debian package is qemu-system-arm")
        network = f"user,id=cable,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22"
        return [
            *(emulator, "-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", str(MEMORY_MB)),
            *("-accel", "tcg,thread=multi,tb-size=512", "-nodefaults", "-display", "none", "-S"),
            *("-kernel", str(self._kernel), "-initrd", str(self._initrd), "-append", words),
            *("-drive", f"file=nbd:unix:{self._folder / 'disk.sock'},format=raw,if=none,id=disk,cache=writeback"),
            *("-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"),
            *("-netdev", network, "-device", "virtio-net-pci,netdev=cable,id=net0,romfile="),
            *("-serial", f"file:{self.console_file}", "-no-reboot"),
            *("-monitor", f"unix:{self._folder / 'monitor.sock'},server=on,wait=off"),
        ]

    def _monitor(self, *commands: str) -> None:
        path, deadline = self._folder / "monitor.sock", time.monotonic() + 30
        while True:
            self.require_on()
            with socket.socket(socket.AF_UNIX) as line:
                try:
                    line.connect(str(path))
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
                    continue
                line.settimeout(30)
                for command in commands:
                    _until_prompt(line)
                    line.sendall(f"{command}\n".encode())
                _until_prompt(line)
                return


def _until_prompt(line: socket.socket) -> None:
    said = b""
    while not said.endswith(b"(qemu) "):
        said += line.recv(4096)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
