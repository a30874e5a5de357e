"""Health, read from files as boards have them: temperatures, supply, memory, disk; and what a person is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from device.health import HealthWatch, read_health
from device.status import Health

MEMINFO = "MemTotal:        {total} kB\nMemFree:          200000 kB\nMemAvailable:    {available} kB\nSwapTotal: 0 kB\n"
COMMON = {
    "proc/loadavg": "0.84 0.71 0.60 2/391 10442\n",
    "proc/self/statm": "210000 42000 16000 900 0 90000 0\n",
    "proc/meminfo": MEMINFO.format(total=3884436, available=2911000),
}
SOC = "sys/devices/platform/soc/soc:firmware/get_throttled"
THERMAL = "sys/class/thermal/thermal_zone"


def zones(*pairs: tuple[str, str]) -> dict[str, str]:
    files = {}
    for number, (kind, celsius) in enumerate(pairs):
        files[f"{THERMAL}{number}/type"] = kind + "\n"
        files[f"{THERMAL}{number}/temp"] = celsius
    return files


PI_4 = {**COMMON, **zones(("cpu-thermal", "51121\n")), SOC: "0\n"}
PI_5 = {
    **COMMON,
    **zones(("cpu-thermal", "62800\n")),
    "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled": "0\n",
}
# Zones of an Orin Nano on JetPack 6; those of processors that are switched off cannot be read.
ORIN = {
    **COMMON,
    **zones(
        ("cpu-thermal", "49093\n"), ("gpu-thermal", "47500\n"), ("cv0-thermal", ""), ("soc0-thermal", "48468\n"),
        ("soc1-thermal", "49875\n"), ("tj-thermal", "50000\n"),
    ),
    "proc/meminfo": MEMINFO.format(total=7802220, available=4100000),
}  # fmt: skip
PC = {
    **COMMON,
    **zones(("acpitz", "16800\n"), ("x86_pkg_temp", "58000\n"), ("iwlwifi_1", "45000\n")),
    "sys/class/hwmon/hwmon0/name": "nvme\n",
    "sys/class/hwmon/hwmon0/temp1_input": "71850\n",
}
AMD = {
    **COMMON,
    "sys/class/hwmon/hwmon2/name": "k10temp\n",
    "sys/class/hwmon/hwmon2/temp1_input": "66125\n",
}


@pytest.fixture
def board(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    def make(files: dict[str, str]) -> Path:
        root = tmp_path / "root"
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return root

    return make


@pytest.mark.parametrize(
    ("files", "cpu", "gpu", "under_voltage"),
    [
        pytest.param(PI_4, 51.121, None, False, id="pi4"),
        pytest.param(PI_5, 62.8, None, False, id="pi5"),
        pytest.param(ORIN, 49.875, 47.5, None, id="orin"),
        pytest.param(PC, 58.0, None, None, id="pc"),
        pytest.param(AMD, 66.125, None, None, id="amd"),
        pytest.param({**COMMON, **zones(("acpitz", "41000\n"))}, 41.0, None, None, id="mainboard-only"),
        pytest.param(COMMON, None, None, None, id="virtual"),
    ],
)
def test_boards(
    board: Callable[[dict[str, str]], Path],
    tmp_path: Path,
    files: dict[str, str],
    cpu: float | None,
    gpu: float | None,
    under_voltage: bool | None,
) -> None:
    health = read_health(tmp_path, board(files))
    assert (health.cpu_celsius, health.gpu_celsius) == (cpu, gpu)
    flags = (health.under_voltage, health.throttled, health.under_voltage_since_boot, health.throttled_since_boot)
    assert set(flags) == {under_voltage}
    assert health.load == 0.84
    assert health.process_mb == pytest.approx(42000 * 4096 / 1e6, rel=3.0)  # pages of 4 to 16 kB
    assert health.disk_free_mb is not None
    assert [each for each in health.warnings if "free at" not in each] == []


@pytest.mark.parametrize(
    ("bits", "now", "since", "words"),
    [
        ("1", (True, False), (False, False), ["supply voltage is too low"]),
        ("2", (False, True), (False, False), ["slowed the processor"]),
        ("4", (False, True), (False, False), ["slowed the processor"]),
        ("80008", (False, True), (False, True), ["slowed the processor"]),
        ("50005", (True, True), (True, True), ["supply voltage is too low", "slowed the processor"]),
        ("50000", (False, False), (True, True), ["too low since the start"]),
        ("e0000", (False, False), (False, True), []),
    ],
)
def test_a_pi_says_what_is_wrong_with_its_supply(
    board: Callable[[dict[str, str]], Path],
    tmp_path: Path,
    bits: str,
    now: tuple[bool, bool],
    since: tuple[bool, bool],
    words: list[str],
) -> None:
    health = read_health(tmp_path, board({**PI_4, SOC: f"{bits}\n"}))
    assert (health.under_voltage, health.throttled) == now
    assert (health.under_voltage_since_boot, health.throttled_since_boot) == since
    warnings = [each for each in health.warnings if "free at" not in each]
    assert len(warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, warnings, strict=True))


def test_what_is_hot_or_short_is_told_with_its_remedy(board: Callable[[dict[str, str]], Path], tmp_path: Path) -> None:
    root = board(
        {
            **ORIN,
            **zones(("cpu-thermal", "84600\n"), ("gpu-thermal", "93000\n")),
            "proc/meminfo": MEMINFO.format(total=1000000, available=60000),
        }
    )
    processor, gpu, memory, *_ = read_health(tmp_path, root).warnings
    assert "processor is at 85 C" in processor
    assert "heat sink" in processor
    assert "GPU is at 93 C" in gpu
    assert memory.startswith("61 of 1024 MB memory are left; stop other programs")


def test_a_disk_that_fills_up_is_told(board: Callable[[dict[str, str]], Path]) -> None:
    # Nothing can be written there: no space is free for anybody.
    health = read_health(Path("/proc"), board(PI_4))
    assert health.disk_free_mb == 0.0
    assert health.warnings == ("0 MB are free at /proc; remove files, or keep fewer snapshots",)


def test_the_disk_of_a_folder_that_is_still_to_be_made(tmp_path: Path) -> None:
    there = read_health(tmp_path).disk_free_mb
    assert there is not None
    assert read_health(tmp_path / "snapshots" / "today").disk_free_mb == pytest.approx(there, rel=0.2)


@pytest.mark.parametrize("rubbish", ["", "x\n", "-999999\n", "9999999999\n", "\x00\xff"])
def test_rubbish_is_nothing(board: Callable[[dict[str, str]], Path], tmp_path: Path, rubbish: str) -> None:
    files = dict.fromkeys((*PI_4, f"{THERMAL}0/temp"), rubbish)
    health = read_health(tmp_path, board(files))
    assert health.cpu_celsius is None
    assert read_health(tmp_path, tmp_path / "nothing").memory_total_mb is None


def vcgencmd(root: Path, script: str) -> None:
    program = root / "usr/bin/vcgencmd"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_without_the_file_the_firmwares_program_is_asked_once_a_minute(
    board: Callable[[dict[str, str]], Path], tmp_path: Path
) -> None:
    root = board({**COMMON, **zones(("cpu-thermal", "50000\n"))})
    vcgencmd(root, f'echo "$@" >> {tmp_path}/calls; echo "throttled=0x50005"')
    watch = HealthWatch(tmp_path, root, every_s=0.0)
    assert {watch.now().under_voltage for _ in range(20)} == {True}
    assert (tmp_path / "calls").read_text() == "get_throttled\n"


@pytest.mark.parametrize(
    "script", ["echo 'VCHI initialization failed' >&2; exit 255", "echo throttled=what", "sleep 30"]
)
def test_a_program_that_fails_or_hangs_is_no_trouble(
    board: Callable[[dict[str, str]], Path], tmp_path: Path, script: str
) -> None:
    root = board(COMMON)
    vcgencmd(root, f"exec {script}" if script.startswith("sleep") else script)
    start = time.monotonic()
    assert read_health(tmp_path, root).throttled is None
    assert time.monotonic() - start < 20


def test_a_watch_looks_again_only_after_a_while(board: Callable[[dict[str, str]], Path], tmp_path: Path) -> None:
    root = board(PI_4)
    watch = HealthWatch(tmp_path, root, every_s=3600)
    assert watch.now().cpu_celsius == 51.121
    (root / f"{THERMAL}0/temp").write_text("70000\n")
    assert watch.now().cpu_celsius == 51.121
    assert HealthWatch(tmp_path, root).now().cpu_celsius == 70.0


def test_this_machine_can_be_read() -> None:
    health = read_health()
    assert isinstance(health, Health)
    assert health.memory_total_mb is not None
    assert health.memory_available_mb is not None
    assert 0 < health.memory_available_mb <= health.memory_total_mb
    assert health.process_mb is not None
    assert 5 < health.process_mb < 20_000
