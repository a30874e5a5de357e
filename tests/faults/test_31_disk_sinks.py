"""31: the disk of snapshots and clips is full: the ring gives way first, an error is counted, nothing half is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

# A small file system of its own, gone with the process that made it.
_WITH_SMALL_DISK = 'mount -t tmpfs -o size={size} none "$1" && shift && exec "$@"'

_FILL = """
import sys
from pathlib import Path
from sink_inputs import *
from device.errors import DeviceError, SinkError
folder = Path(sys.argv[1])

def fill():  # somebody else takes all that is left
    try:
        with (folder / "other").open("ab", buffering=0) as stream:
            while True:
                stream.write(b"x" * 4096)
    except OSError:
        pass

def ours():
    return sorted(path.name for path in folder.iterdir() if path.name != "other")
"""

_SNAPSHOTS = """
from device.sinks.snapshots import open_snapshots
sink = open_snapshots(f"snapshots:{folder}/?most_mb=500&sample=0")
for index in range(10):
    sink.write(result(entered(index, NOON + index)))
assert len(ours()) == 20
fill()
for index in range(10, 30):
    sink.write(result(entered(index, NOON + index)))
    names = ours()
    stems = {name.rpartition(".")[0] for name in names}
    assert len(names) == 2 * len(stems) and stems, names
assert max(stems).startswith("20231114T221349"), stems
for name in ours():
    (folder / name).unlink()
fill()
again = open_snapshots(f"snapshots:{folder}/?sample=0")
try:
    again.write(result(entered(40)))
except SinkError as err:
    print(err)
assert ours() == []
(folder / "other").unlink()
again.write(result(entered(41, NOON + 41)))
assert len(ours()) == 2
"""

_CLIPS = """
from device.prediction import Event
from device.sinks.clips import open_clips
sink = open_clips(f"clips:{folder}/?before=1&after=1")

def feed(start, stop, every):
    errors = []
    for index in range(start, stop):
        each = prediction(index, NOON + index / 10, event=Event.CHANGED if index % every == 5 else None)
        try:
            sink.write(result(each))
        except SinkError as err:
            errors.append(str(err))
    return errors

assert feed(0, 200, 40) == [] and len(ours()) == 5
fill()
errors = feed(200, 400, 40)
assert errors and not [name for name in ours() if name.startswith(".")], ours()
print(errors[0])
(folder / "other").unlink()
assert feed(400, 500, 40) == []
sink.close()
import cv2
assert ours() and all(cv2.VideoCapture(str(folder / name)).read()[0] for name in ours()), ours()
"""

_COLLECTION = """
from device.collection import Collection
collection = Collection(folder)
saved = collection.save(frame(picture(1)), "rose")
fill()
try:
    collection.save(frame(picture(2)), "rose")
except DeviceError as err:
    print(err)
assert [path for path in folder.rglob("*") if path.is_file()] in ([saved, folder / "other"], [folder / "other", saved])
(folder / "other").unlink()
assert collection.save(frame(picture(2)), "rose") is not None
"""


@pytest.mark.parametrize("script", [_SNAPSHOTS, _CLIPS, _COLLECTION], ids=["snapshots", "clips", "collection"])
def test_a_full_disk_is_survived_and_nothing_half_is_left(script: str, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    (line,) = _run_on_small_disk(_FILL + script, folder, "16m")
    assert line.startswith(f"{folder}")
    assert "No space left on device; free some space, or name" in line


# A worn card is read-only from the boot on; the folder may be there from before, or not.
_READ_ONLY = """
import subprocess
from device.prediction import Event
from device.sinks.{kind} import open_{kind}
place = folder / "{place}"
{before}
subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
sink = open_{kind}(f"{kind}:{{place}}?{options}")

def feed(start):
    errors = []
    for index in range(start, start + 30):
        try:
            sink.write(result(prediction(index, NOON + index / 10, event=Event.CHANGED if index % 30 == 5 else None)))
        except SinkError as err:
            errors.append(str(err))
    return errors

print(feed(0)[0])
subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
assert feed(30) == []
sink.close()
assert len(list(place.iterdir())) == {files}, list(place.iterdir())
"""


@pytest.mark.parametrize("before", ["", "place.mkdir()"], ids=["no folder yet", "folder"])
@pytest.mark.parametrize(
    ("kind", "options", "files"), [("snapshots", "sample=0&uncertain=0", 2), ("clips", "before=1&after=1", 1)]
)
def test_28_a_read_only_disk_does_not_stop_the_start(
    kind: str, options: str, files: int, before: str, tmp_path: Path
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    script = _READ_ONLY.format(kind=kind, options=options, files=files, before=before, place="kept")
    (line,) = _run_on_small_disk(_FILL + script, folder, "16m")
    assert line == f"{folder / 'kept'}: Read-only file system; free some space, or name another folder"


def _run_on_small_disk(script: str, folder: Path, size: str) -> list[str]:
    if shutil.which("unshare") is None:
        pytest.skip("needs 'unshare' (Debian package util-linux) to make a small file system")
    shell = ["unshare", "-rm", "sh", "-c", _WITH_SMALL_DISK.format(size=size), "sh", str(folder)]
    if subprocess.run([*shell, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not let an ordinary process mount a file system of its own")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    ran = subprocess.run(
        [*shell, sys.executable, "-c", script, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()
