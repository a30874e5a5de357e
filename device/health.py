"""How the machine is: temperature, supply, memory, disk, load; and what to do where that is not well."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from device.status import Health

# Bits of the Raspberry Pi's get_throttled; the same, shifted, for "has happened since the start".
# raspberrypi.com/documentation/computers/os.html#get_throttled
_UNDER_VOLTAGE = 1 << 0
_SLOWED = 1 << 1 | 1 << 2 | 1 << 3  # frequency capped, throttled, soft temperature limit
_SINCE_BOOT_SHIFT = 16

_CPU_ZONES = ("cpu", "x86_pkg", "soc", "package", "bigcore", "littlecore", "coretemp")
_CPU_CHIPS = ("k10temp", "coretemp", "zenpower", "cpu_thermal")
_PLAUSIBLE_CELSIUS = (-60.0, 200.0)
_HOT_CPU_CELSIUS, _HOT_GPU_CELSIUS = 80.0, 90.0
_LITTLE_MEMORY_MB, _LITTLE_MEMORY_SHARE = 100.0, 0.07
_LITTLE_DISK_MB = 500.0
_CHILD_EVERY_S = 60.0
_CHILD_TIMEOUT_S = 2.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class HealthWatch:
    """The machine's health, looked at every few seconds however often it is asked for. Thread-safe.

    Args:
        disk: a folder on the disk that is written to.
        root: of the file system that tells about the machine.
        every_s: how old an answer may be.
    """

    def __init__(self, disk: Path = Path(), root: Path = Path("/"), every_s: float = 5.0) -> None:
        self._disk = disk
        self._root = root
        self._every_s = every_s
        self._firmware = Firmware(root)
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._health = Health()

    def now(self) -> Health:
        """As it is, or was a few seconds ago."""
        with self._lock:
            now = time.monotonic()
            if now - self._read_at >= self._every_s:
                self._read_at = now
                self._health = read_health(self._disk, self._root, self._firmware)
            return self._health


class Firmware:
    """What a Raspberry Pi's firmware says about its supply: a file, or where the kernel has none ``vcgencmd``.

    Args:
        root: of the file system.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        platform = root / "sys/devices/platform"
        # soc/soc:firmware up to the Pi 4; a longer name with the address of the bus on some kernels of the Pi 5.
        found = sorted(platform.glob("soc*/soc*:firmware/get_throttled"))
        self._file = found[0] if found else None
        self._program = root / "usr/bin/vcgencmd"
        self._asked_at = float("-inf")
        self._flags: int | None = None

    def flags(self) -> int | None:
        """The bits, or None on other machines. The program is started once a minute at most."""
        if self._file is not None:
            text = _text(self._file)
            return _number(text, 16)
        now = time.monotonic()
        if now - self._asked_at >= _CHILD_EVERY_S and self._program.is_file():
            self._asked_at = now
            self._flags = self._ask()
        return self._flags

    def _ask(self) -> int | None:
        with suppress(OSError, subprocess.SubprocessError):
            command = [str(self._program), "get_throttled"]
            answer = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=_CHILD_TIMEOUT_S, check=True
            )
            return _number(answer.stdout.partition("=")[2], 16)
        return None  # no right to /dev/vcio, for one


def read_health(disk: Path = Path(), root: Path = Path("/"), firmware: Firmware | None = None) -> Health:
    """Look at the machine, in about a millisecond. What cannot be read is None.

    Args:
        disk: a folder on the disk that is written to.
        root: of the file system that tells about the machine.
        firmware: keeps the last answer of a program; a new one asks anew.
    """
    flags = (firmware or Firmware(root)).flags()
    cpu, gpu = _temperatures(root)
    total, available = _memory(root)
    health = Health(
        cpu_celsius=cpu,
        gpu_celsius=gpu,
        under_voltage=_any(flags, _UNDER_VOLTAGE),
        throttled=_any(flags, _SLOWED),
        under_voltage_since_boot=_any(flags, _UNDER_VOLTAGE << _SINCE_BOOT_SHIFT),
        throttled_since_boot=_any(flags, _SLOWED << _SINCE_BOOT_SHIFT),
        memory_available_mb=available,
        memory_total_mb=total,
        process_mb=_process(root),
        disk_free_mb=_disk_free(disk),
        load=_load(root),
    )
    return msgspec.structs.replace(health, warnings=tuple(_warnings(health, disk)))


def _warnings(health: Health, disk: Path) -> Iterator[str]:
    if health.under_voltage:
        yield (
            "the supply voltage is too low, which damages SD cards; use the board's own power supply "
            "(Pi 4: 5 V 3 A, Pi 5: 5 V 5 A), a short cable, and a powered hub for USB devices"
        )
    elif health.under_voltage_since_boot:
        yield "the supply voltage was too low since the start; use the board's own power supply and a short cable"
    if health.throttled:
        yield "the firmware has slowed the processor; cool it, or see to its supply"
    yield from _heat("processor", health.cpu_celsius, _HOT_CPU_CELSIUS)
    yield from _heat("GPU", health.gpu_celsius, _HOT_GPU_CELSIUS)
    available, total = health.memory_available_mb, health.memory_total_mb
    if available is not None and total and available < max(_LITTLE_MEMORY_MB, total * _LITTLE_MEMORY_SHARE):
        yield f"{available:.0f} of {total:.0f} MB memory are left; stop other programs, or take a smaller model"
    if health.disk_free_mb is not None and health.disk_free_mb < _LITTLE_DISK_MB:
        yield f"{health.disk_free_mb:.0f} MB are free at {disk.resolve()}; remove files, or keep fewer snapshots"


def _heat(part: str, celsius: float | None, limit: float) -> Iterator[str]:
    if celsius is not None and celsius >= limit:
        yield (
            f"the {part} is at {celsius:.0f} C and slows down from about {limit:.0f} on; give it a heat sink, a fan or "
            "a cooler place, or classify fewer frames a second (--max-fps)"
        )


def _temperatures(root: Path) -> tuple[float | None, float | None]:
    """The hottest sensor of the processor, and of the GPU."""
    cpu: list[float] = []
    gpu: list[float] = []
    other: list[float] = []
    for kind, celsius in (*_zones(root), *_chips(root)):
        (gpu if "gpu" in kind else cpu if kind.startswith((*_CPU_ZONES, *_CPU_CHIPS)) else other).append(celsius)
    # A PC's mainboard sensor (acpitz) stands still on many: it counts where it is the only one, as on some boards.
    hottest = cpu or (other if not gpu else [])
    return max(hottest, default=None), max(gpu, default=None)


def _zones(root: Path) -> Iterator[tuple[str, float]]:
    for zone in (root / "sys/class/thermal").glob("thermal_zone*"):
        # A zone that is switched off, as a Jetson's camera processors are, answers with an error.
        celsius = _celsius(zone / "temp")
        if celsius is not None:
            yield (_text(zone / "type") or "").strip().lower(), celsius


def _chips(root: Path) -> Iterator[tuple[str, float]]:
    for chip in (root / "sys/class/hwmon").glob("hwmon*"):
        name = (_text(chip / "name") or "").strip().lower()
        if name in _CPU_CHIPS and (celsius := _celsius(chip / "temp1_input")) is not None:
            yield name, celsius


def _celsius(path: Path) -> float | None:
    thousandths = _number(_text(path))
    if thousandths is None:
        return None
    celsius = thousandths / 1000
    return celsius if _PLAUSIBLE_CELSIUS[0] < celsius < _PLAUSIBLE_CELSIUS[1] else None


def _memory(root: Path) -> tuple[float | None, float | None]:
    lines = (_text(root / "proc/meminfo") or "").splitlines()
    fields = {name: _number(value.removesuffix("kB")) for name, _, value in (line.partition(":") for line in lines)}

    def megabytes(name: str) -> float | None:
        kibibytes = fields.get(name)
        return None if kibibytes is None else round(kibibytes * 1024 / 1e6, 1)

    return megabytes("MemTotal"), megabytes("MemAvailable")


def _process(root: Path) -> float | None:
    fields = (_text(root / "proc/self/statm") or "").split()
    pages = _number(fields[1]) if len(fields) > 1 else None
    return None if pages is None else round(pages * _PAGE_BYTES / 1e6, 1)


def _disk_free(disk: Path) -> float | None:
    for folder in (disk, *disk.resolve().parents):  # one that is still to be made is on its parent's disk
        with suppress(OSError):
            found = os.statvfs(folder)
            return round(found.f_bavail * found.f_frsize / 1e6, 1)
    return None


def _load(root: Path) -> float | None:
    with suppress(ValueError, IndexError):
        return float((_text(root / "proc/loadavg") or "").split()[0])
    return None


def _any(flags: int | None, bits: int) -> bool | None:
    return None if flags is None else bool(flags & bits)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def _number(text: str | None, base: int = 10) -> int | None:
    try:
        return int(text or "", base)
    except ValueError:
        return None
