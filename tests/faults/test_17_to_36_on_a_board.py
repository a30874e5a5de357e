"""Rows 17 to 36 through ``edgegraft install`` as it is typed, on a board whose service a real systemd runs."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest

from tests.bundles import edited, entries_of, onnx_model, replaced, sealed_zip, write_colour_bundle
from tests.faults.test_17_links_and_devices import bundle_with_mode
from tests.faults.test_21_model_crashes import crashing_model
from tests.faults.test_26_out_of_memory import greedy_model
from tests.releases import version_of
from tests.system_manager import SystemManager, start_system_manager

PROGRAM = Path(sys.executable).with_name("edgegraft")
PLACE = Path("/var/lib/edgegraft-releases")
STORE = PLACE / "edgegraft"
WATCH = ("--allow-unsigned", "--watch", "0")
ONNX, TFLITE = "onnx-float32", "tflite-float32"

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory, colour_models: dict[str, bytes]) -> Iterator[SystemManager]:
    """One with version 1.0.0 at work, its releases on a file system of their own."""
    folder = tmp_path_factory.mktemp("board")
    bundle = write_colour_bundle(folder / "small.egb", {TFLITE: colour_models[TFLITE]})
    with start_system_manager(tmp_path_factory.mktemp("systemd")) as manager:
        made = manager.run(["sh", "-c", f"mkdir -p {PLACE} && mount -t tmpfs -o size=64m tmpfs {PLACE}"])
        assert made.returncode == 0, made.stderr
        old = version_of(bundle, "1.0.0", folder / "1.0.0.egb")
        done = manager.run([PROGRAM, "service", "install", old, "--camera", "scene:", *WATCH])
        assert done.returncode == 0, done.stderr
        yield manager


def linked(bundle: Path) -> bytes:
    return bundle_with_mode(bundle, f"{TFLITE}.tflite", stat.S_IFLNK | 0o777)


def hard_link_or_device(bundle: Path) -> bytes:
    return bundle_with_mode(bundle, f"{TFLITE}.tflite", stat.S_IFCHR | 0o666)


def bomb(bundle: Path) -> bytes:
    return sealed_zip([*entries_of(bundle), ("zeros.bin", bytes(50 * 1024 * 1024))], 8)


def of_nobodys_engine(bundle: Path) -> bytes:
    return edited(bundle, lambda tree: tree["variants"][0].update(engine="tensorrt"))


def crashing(bundle: Path) -> bytes:
    return replaced(bundle, f"{TFLITE}.tflite", crashing_model())


def of_another_input(bundle: Path) -> bytes:
    return edited(bundle, lambda tree: tree["variants"][0]["input"].update(shape=[1, 224, 224, 3]))


def of_other_labels(bundle: Path) -> bytes:
    return edited(bundle, lambda tree: tree["classes"].append("yellow"))


def answers_nan(bundle: Path) -> bytes:
    return replaced(bundle, f"{ONNX}.onnx", onnx_model(scale=float("nan")))


def answers_always_the_same(bundle: Path) -> bytes:
    return replaced(bundle, f"{ONNX}.onnx", onnx_model(scale=0.0))


def of_an_unknown_operator(bundle: Path) -> bytes:
    proto = onnx.load_from_string(onnx_model())
    proto.graph.node[0].op_type = "Clairvoyance"
    return replaced(bundle, f"{ONNX}.onnx", proto.SerializeToString())


def greedy(bundle: Path) -> bytes:
    return replaced(bundle, f"{ONNX}.onnx", greedy_model(20))


@pytest.mark.parametrize(
    ("variant", "change", "code", "words"),
    [
        (TFLITE, linked, 10, "is not a plain stored file; copy it again"),
        (TFLITE, hard_link_or_device, 10, "is not a plain stored file; copy it again"),
        (TFLITE, bomb, 10, "is not a plain stored file; copy it again"),
        (TFLITE, of_nobodys_engine, 10, "tensorrt"),
        (TFLITE, crashing, 16, "crashed on the model in a process of its own (SIG"),
        (TFLITE, of_another_input, 10, "export the bundle again"),
        (TFLITE, of_other_labels, 10, "manifest lists 4 classes"),
        (ONNX, answers_nan, 16, "NaN or infinity"),
        (ONNX, answers_always_the_same, 16, "one and the same answer"),
        (ONNX, of_an_unknown_operator, 16, "Clairvoyance"),
        (ONNX, greedy, 16, "memory"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_bad_bundle(
    manager: SystemManager,
    colour_models: dict[str, bytes],
    tmp_path: Path,
    variant: str,
    change: Callable[[Path], bytes],
    code: int,
    words: str,
) -> None:
    whole = write_colour_bundle(tmp_path / "whole.egb", {variant: colour_models[variant]})
    path = tmp_path / "bad.egb"
    path.write_bytes(change(whole))
    before = state(manager)
    done = manager.run([PROGRAM, "install", path, *WATCH])
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"edgegraft install: {path}: ")
    assert "Traceback" not in done.stderr
    assert state(manager) == before


def test_27_28_a_full_and_a_read_only_disk(manager: SystemManager, colour_bundle: Path, tmp_path: Path) -> None:
    path = version_of(colour_bundle, "2.0.0", tmp_path / "2.0.0.egb")
    before = state(manager)
    for begin, end, code in (
        (f"fallocate -l 50M {PLACE}/other", f"rm {PLACE}/other", 17),
        (f"mount -o remount,ro {PLACE}", f"mount -o remount,rw {PLACE}", 18),
    ):
        assert manager.run(["sh", "-c", begin]).returncode == 0
        done = manager.run([PROGRAM, "install", path, *WATCH])
        assert done.returncode == code, done.stderr
        assert done.stderr.startswith("edgegraft install: ")
        assert "what ran before goes on running" in done.stderr
        # The board comes up from such a disk, too.
        manager.run(["systemctl", "restart", "edgegraft.service"])
        manager.until("edgegraft.service", 60, ActiveState="active", StatusText="ok")
        assert manager.run(["sh", "-c", end]).returncode == 0
    assert state(manager)[1:] == before[1:]


def test_35_36_two_at_once_and_twice(manager: SystemManager, colour_models: dict[str, bytes], tmp_path: Path) -> None:
    bundle = write_colour_bundle(tmp_path / "small.egb", {TFLITE: colour_models[TFLITE]})
    path = version_of(bundle, "3.0.0", tmp_path / "3.0.0.egb")
    holder = manager.begin(["flock", STORE / "lock", "sh", "-c", "echo held; read end"])
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        done = manager.run([PROGRAM, "install", path, *WATCH])
    finally:
        holder.communicate("end\n", timeout=30)
    assert done.returncode == 19, done.stderr
    assert "another installation is at work; wait for its end" in done.stderr
    for changed in (True, False):
        before = state(manager)
        done = manager.run([PROGRAM, "install", path, *WATCH])
        assert done.returncode == 0, done.stderr
        assert ("unchanged" in done.stdout + done.stderr) is not changed
        assert (state(manager) != before) is changed


def test_34_where_both_are_bad_it_stays_down_and_quiet(manager: SystemManager) -> None:
    """Worn out, both: the bundles are damaged behind the installer's back."""
    both = f"for one in current previous; do printf x > {STORE}/$one/bundle.egb; done"
    assert manager.run(["sh", "-c", both]).returncode == 0
    manager.run(["systemctl", "restart", "--no-block", "edgegraft.service"])
    # Once by itself, and once more after the roll-back, which leaves it at work for systemd to give up.
    for _ in range(2):
        manager.until("edgegraft.service", 300, ActiveState="failed")
        manager.until("edgegraft-fallback.service", 300, ActiveState="failed")
    starts = manager.log.read_text().count("edgegraft.service: Scheduled restart job")
    done = manager.run([PROGRAM, "rollback"])
    assert done.returncode == 22, done.stderr
    shown = manager.show("edgegraft.service")
    assert shown["ActiveState"] == "failed"
    assert manager.log.read_text().count("edgegraft.service: Scheduled restart job") == starts, "it goes to and fro"


def state(manager: SystemManager) -> tuple[str, str]:
    """When the service was started, and every file of the store with its hash."""
    started = manager.show("edgegraft.service")["ExecMainStartTimestampMonotonic"]
    script = (
        f"cd {STORE} && find . ! -name lock -printf '%p %l\\n' | sort && "
        "find . -type f ! -name lock -exec sha256sum {} +"
    )
    done: subprocess.CompletedProcess[str] = manager.run(["sh", "-c", script])
    assert done.returncode == 0, done.stderr
    return started, done.stdout
