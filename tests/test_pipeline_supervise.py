"""A worker's child process: what it raises arrives, a killed one is started again, none outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import TrainConfig, Workers
from pipeline.errors import DatasetError, TrainingError
from pipeline.supervise import Phase, supervise

Report = Callable[[Phase], None]


def _config(out: Path) -> TrainConfig:
    out.mkdir(exist_ok=True)
    return TrainConfig(out, out, workers=Workers(("localhost:1", "localhost:2"), 1))


def _note_a_start(config: TrainConfig) -> int:
    with (config.out / "starts").open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    return len(_starts(config.out))


def _starts(out: Path) -> list[int]:
    return [int(line) for line in (out / "starts").read_text().splitlines()]


def succeed(config: TrainConfig, report: Report) -> None:
    report(Phase.WAITING)
    report(Phase.JOINED)
    _note_a_start(config)


def find_no_photos(config: TrainConfig, report: Report) -> None:
    _note_a_start(config)
    raise DatasetError("photos: holds no photos; name another folder")


def have_a_bug(config: TrainConfig, report: Report) -> None:
    _note_a_start(config)
    raise ZeroDivisionError


def die_twice(config: TrainConfig, report: Report) -> None:
    if _note_a_start(config) < 3:
        os.kill(os.getpid(), signal.SIGKILL)


def finish_and_die(config: TrainConfig, report: Report) -> None:
    report(Phase.JOINED)
    _note_a_start(config)
    (config.out / "run.json").touch()
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGABRT)


def wait_for_ever(config: TrainConfig, report: Report) -> None:
    _note_a_start(config)
    report(Phase.WAITING)
    time.sleep(600)


def test_a_worker_that_finishes_is_started_once(tmp_path: Path) -> None:
    supervise(_config(tmp_path), succeed)
    assert len(_starts(tmp_path)) == 1


def test_an_error_arrives_as_it_was_raised_and_is_not_tried_again(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"^photos: holds no photos; name another folder$"):
        supervise(_config(tmp_path), find_no_photos)
    assert len(_starts(tmp_path)) == 1


def test_a_bug_is_not_tried_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TrainingError, match=r"worker 1 of 2: failed \(exit code 1\)"):
        supervise(_config(tmp_path), have_a_bug)
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert len(_starts(tmp_path)) == 1


def test_a_killed_child_is_started_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    supervise(_config(tmp_path), die_twice)
    assert len(_starts(tmp_path)) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "worker 1 of 2: its process died of SIGKILL; joins the others again (try 2 of 6)"


def test_losing_the_others_after_the_end_is_no_failure(tmp_path: Path) -> None:
    supervise(_config(tmp_path), finish_and_die)
    assert len(_starts(tmp_path)) == 1


def test_waiting_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEGRAFT_WORKERS_WAIT_S", "0.5")
    with pytest.raises(TrainingError, match=r"not all workers came within 0.5 s \(localhost:1, localhost:2\)"):
        supervise(_config(tmp_path), wait_for_ever)
    assert not Path(f"/proc/{_starts(tmp_path)[0]}").exists()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_does_not_outlive_its_parent(tmp_path: Path, sent: signal.Signals) -> None:
    code = (
        "import sys; from pathlib import Path; import test_pipeline_supervise as t\n"
        "t.supervise(t._config(Path(sys.argv[1])), t.wait_for_ever)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment) as parent:
        while not (tmp_path / "starts").exists() or not _starts(tmp_path):
            assert parent.poll() is None
            time.sleep(0.05)
        parent.send_signal(sent)
    [child] = _starts(tmp_path)
    while _is_running(child):
        time.sleep(0.05)


def _is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
