"""The machine and the versions that a training ran on."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

from device.bench import machine

# Everything that can move a figure.
_PACKAGES = (
    "tensorflow",
    "tf-keras",
    "numpy",
    "opencv-python-headless",
    "ai-edge-litert",
    "onnxruntime",
)


def describe_environment() -> dict[str, str]:
    """Processor, memory, system and versions by name; no names of hosts or users. Imports none of the packages."""
    found = machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "edgegraft": version("edgegraft"),
        "processor": f"{found['model']}, {found['cores']} cores used",
        "memory": f"{memory / 2**30:.1f} GiB",
        "system": str(found["system"]),
        "Python": str(found["python"]),
        **{name: found_version for name in _PACKAGES if (found_version := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
