"""The ``edgegraft`` command as a user meets it: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from bundles import plain_picture

Edgegraft = Callable[..., "subprocess.CompletedProcess[str]"]

COMMANDS = [
    "demo", "capture", "train", "evaluate", "export", "bundle", "bench", "run", "service", "keys", "trust", "publish",
    "flash", "install", "update", "status", "rollback", "collect", "doctor",
]  # fmt: skip
LINE_KEYS = {
    "schema", "camera", "frame", "captured_at", "age_ms", "answer", "probability", "top", "unknown", "event",
    "stages_ms", "dropped", "region", "settled", "previous",
}  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number, colour in enumerate(["red", "green", "blue", "grey"]):
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"{number}-{colour}.png"), plain_picture(colour))
    return folder


def one_clear_line(result: subprocess.CompletedProcess[str]) -> str:
    """What stands on standard error, when it is one line and nothing is on standard output."""
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.splitlines()
    return line


def test_help_lists_the_commands_in_the_order_of_the_road(edgegraft: Edgegraft) -> None:
    result = edgegraft("--help")
    assert result.returncode == 0
    assert re.findall(r"^  ([a-z]+)  ", result.stdout, re.MULTILINE) == COMMANDS
    assert result.stderr == ""


def test_without_a_command_the_overview_comes_with_the_code_for_misuse(edgegraft: Edgegraft) -> None:
    result = edgegraft()
    assert result.returncode == 2
    assert "usage: edgegraft COMMAND" in result.stdout


def test_the_overview_loads_nothing_heavy() -> None:
    program = """
import sys
from device.cli import main
code = main(["--help"])
heavy = {"numpy", "cv2", "tensorflow", "tf_keras", "onnxruntime", "ai_edge_litert"}
print(code, sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert child.stderr == "0 []\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(edgegraft: Edgegraft, command: str) -> None:
    result = edgegraft(command, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith(f"usage: edgegraft {command} ")
    assert "--json" in result.stdout


def test_the_version_is_told(edgegraft: Edgegraft) -> None:
    assert re.fullmatch(r"edgegraft \d+\.\d+\.\d+\n", edgegraft("--version").stdout)


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("rum", "edgegraft: there is no command 'rum'; did you mean 'run'?"),
        ("trian", "edgegraft: there is no command 'trian'; did you mean 'train'?"),
        ("xyz", f"edgegraft: there is no command 'xyz'; commands: {', '.join(COMMANDS)}"),
    ],
)
def test_a_mistyped_command_gets_a_suggestion(edgegraft: Edgegraft, typed: str, answer: str) -> None:
    result = edgegraft(typed)
    assert result.returncode == 2
    assert one_clear_line(result) == answer


def test_a_reader_that_leaves_after_one_line_is_no_fault(edgegraft: Edgegraft, colour_bundle: Path) -> None:
    arguments = ("run", colour_bundle, "--camera", "scene:?width=64&height=64", "--sink", "jsonl:-")
    result = edgegraft(*arguments, shell='"$@" | head -1')
    assert result.returncode == 0
    (line,) = result.stdout.splitlines()
    assert set(json.loads(line)) >= LINE_KEYS
    assert "Traceback" not in result.stderr
    assert "Broken pipe" not in result.stderr


def test_a_line_of_json_is_what_the_design_promises(edgegraft: Edgegraft, colour_bundle: Path, photos: Path) -> None:
    result = edgegraft("run", colour_bundle, "--camera", photos, "--sink", "jsonl:-")
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["answer"] for line in lines] == ["red", "green", "blue", None]
    for line in lines:
        assert set(line) >= LINE_KEYS
        assert set(line["stages_ms"]) == {"decode", "preprocess", "infer", "decide"}
        assert line["top"][0][1] == line["probability"]
        assert line["camera"] == str(photos)
        assert line["unknown"] == (line["answer"] is None)
    assert [line["event"] for line in lines] == ["entered", "changed", "changed", "left"]
    assert [line["settled"] for line in lines] == ["red", "green", "blue", None]


@pytest.mark.parametrize("variant", ["tflite-float32", "tflite-static-int8", "onnx-float32", "onnx-static-int8"])
def test_json_prints_one_object_and_nothing_else(
    edgegraft: Edgegraft, colour_bundle: Path, photos: Path, variant: str
) -> None:
    result = edgegraft("run", colour_bundle, "--camera", photos, "--variant", variant, "--json")
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["answers"] == {"red": 1, "green": 1, "blue": 1, "(unknown)": 1}
    assert (summary["variant"], summary["frames"], summary["dropped"], summary["unknown"]) == (variant, 4, 0, 1)


def test_a_virtual_camera_is_scored_and_stops_at_the_number_of_frames(
    edgegraft: Edgegraft, colour_bundle: Path
) -> None:
    camera = "scene:?width=64&height=64&live=0"
    result = edgegraft("run", colour_bundle, "--camera", camera, "--frames", "30", "--json")
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["frames"] == 30
    assert 0 < summary["scene"]["n"] <= 30


def test_a_person_sees_an_answer_for_each_photo_and_a_summary(
    edgegraft: Edgegraft, colour_bundle: Path, photos: Path
) -> None:
    result = edgegraft("run", colour_bundle, "--camera", photos)
    assert result.returncode == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        "0-red.png", "1-green.png", "2-blue.png", "3-grey.png",
    ]  # fmt: skip
    assert "4 frames in " in result.stderr


def test_several_sinks_get_the_same(edgegraft: Edgegraft, colour_bundle: Path, photos: Path, tmp_path: Path) -> None:
    sinks = ("--sink", "jsonl:one.jsonl", "--sink", "jsonl:-")
    result = edgegraft("run", colour_bundle, "--camera", photos, *sinks)
    assert result.stdout == (tmp_path / "one.jsonl").read_text()
    assert len(result.stdout.splitlines()) == 4


def test_interrupting_a_run_still_gives_the_summary(edgegraft: Edgegraft, colour_bundle: Path, tmp_path: Path) -> None:
    # The interrupt is sent once the first line has come, so nothing hangs on how fast this machine is.
    shell = '"$@" > lines & until [ -s lines ]; do sleep 0.05; done; kill -INT $!; wait $!'
    camera = "scene:?width=64&height=64"
    arguments = ("run", colour_bundle, "--camera", camera, "--sink", "jsonl:-")
    result = edgegraft(*arguments, shell=f"set -m; {shell}")
    assert result.returncode == 0, result.stderr
    assert re.search(r"^[1-9]\d* frames in ", result.stderr, re.MULTILINE)
    assert "Traceback" not in result.stderr
    assert all(json.loads(line) for line in (tmp_path / "lines").read_text().splitlines())


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (
            ("run", "nowhere.egb", "--camera", "0"),
            "nowhere.egb: no such file; 'edgegraft export RUN --out nowhere.egb'",
        ),
        (("bench", "nowhere.egb"), "nowhere.egb: no such file"),
        (("run", "BUNDLE", "--camera", "nowhere.jpg"), "nowhere.jpg: no such file or camera; expected 0, "),
        (("run", "BUNDLE", "--camera", ""), "no such file or camera"),
        (
            ("run", "BUNDLE", "--camera", "scene:", "--variant", "int4"),
            "no variant 'int4' in bundle 'colours'; it has:",
        ),
        (("run", "BUNDLE", "--camera", "scene:", "--sink", "ftp:x"), "sink 'ftp:x' is not understood"),
        (("run", "BUNDLE", "--camera", "scene:", "--sink", "jsonl:no/such/x"), "no/such/x: No such file or directory"),
    ],
)
def test_what_fails_is_said_in_one_line(
    edgegraft: Edgegraft, colour_bundle: Path, arguments: tuple[str, ...], answer: str
) -> None:
    result = edgegraft(*(str(colour_bundle) if word == "BUNDLE" else word for word in arguments))
    assert result.returncode == 1
    line = one_clear_line(result)
    assert line.startswith(f"edgegraft {arguments[0]}: ")
    assert answer in line


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (("--json", "--sink", "jsonl:-"), "--json and --sink jsonl:- both want standard output; drop one of them"),
        (("--frames", "0"), "--frames is 0, expected at least 1"),
        (("--threads", "-1"), "--threads is -1, expected at least 1"),
        (("--frames", "many"), "argument --frames: invalid int value: 'many'"),
    ],
)
def test_misuse_has_a_code_of_its_own(
    edgegraft: Edgegraft, colour_bundle: Path, options: tuple[str, ...], answer: str
) -> None:
    result = edgegraft("run", colour_bundle, "--camera", "scene:", *options)
    assert result.returncode == 2
    assert result.stdout == ""
    assert answer in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("doctor",),
        ("doctor", "--json"),
        ("run", "--help"),
        ("run", "BUNDLE", "--camera", "PHOTOS"),
    ],
)
def test_output_that_nobody_reads_is_no_fault(
    edgegraft: Edgegraft, colour_bundle: Path, photos: Path, arguments: tuple[str, ...]
) -> None:
    places = {"BUNDLE": str(colour_bundle), "PHOTOS": str(photos)}
    # The reader has left before the first byte comes.
    result = edgegraft(*(places.get(word, word) for word in arguments), shell='"$@" 2>errors > >(exec true)')
    errors = (photos.parent / "errors").read_text()
    assert result.returncode in (0, 1 if arguments[0] == "doctor" else 0)
    assert "Traceback" not in errors
    assert "Broken pipe" not in errors
    assert "Exception ignored" not in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("doctor",),
        ("doctor", "--json"),
        ("run", "BUNDLE", "--camera", "PHOTOS"),
        ("run", "BUNDLE", "--camera", "PHOTOS", "--json"),
        ("run", "BUNDLE", "--camera", "PHOTOS", "--sink", "jsonl:-"),
    ],
)
def test_output_onto_a_full_disk_fails_in_one_line(
    edgegraft: Edgegraft, colour_bundle: Path, photos: Path, arguments: tuple[str, ...]
) -> None:
    places = {"BUNDLE": str(colour_bundle), "PHOTOS": str(photos)}
    result = edgegraft(*(places.get(word, word) for word in arguments), shell='"$@" > /dev/full')
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.count("No space left on device") == 1


def test_run_imports_nothing_of_the_workstation(colour_bundle: Path, photos: Path) -> None:
    program = """
import importlib, pkgutil, sys
import device
for module in pkgutil.walk_packages(device.__path__, "device."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from device.cli import main
code = main(["run", sys.argv[1], "--camera", sys.argv[2], "--json"])
roots = {name.partition(".")[0] for name in sys.modules}
print(code, sorted(roots & {"tensorflow", "tf_keras", "keras", "pipeline", "export", "PIL"}), file=sys.stderr)
"""
    command = [sys.executable, "-c", program, str(colour_bundle), str(photos)]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    assert child.stderr.splitlines()[-1] == "0 []"


def test_a_board_with_the_base_install_classifies(board_python: Edgegraft, colour_bundle: Path, photos: Path) -> None:
    result = board_python("-m", "device.cli", "run", colour_bundle, "--camera", photos, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["answers"]["red"] == 1


def test_a_board_is_told_what_to_install_for_training_and_for_onnx(
    board_python: Edgegraft, colour_bundle: Path, photos: Path, make_folder: Callable[..., Path]
) -> None:
    run = ("-m", "device.cli", "run", colour_bundle, "--camera", photos, "--variant", "onnx-float32")
    result = board_python(*run)
    assert result.returncode == 1
    assert "pip install 'edgegraft[onnx]'" in one_clear_line(result)
    result = board_python("-m", "device.cli", "train", make_folder({"a": 12, "b": 12}, "classes"), "--out", "run")
    assert result.returncode == 1
    assert "is not installed here; run: pip install 'edgegraft[train]'" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_bench_measures_every_variant(edgegraft: Edgegraft, colour_bundle: Path) -> None:
    result = edgegraft("bench", colour_bundle, "--runs", "3", "--threads", "1", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert {"machine", "results", "chosen"} <= set(report)
    names = ["tflite-float32", "tflite-static-int8", "onnx-float32", "onnx-static-int8"]
    assert [entry["variant"] for entry in report["results"]] == names
    assert report["chosen"] in names
    for entry in report["results"]:
        assert entry["error"] is None
        assert (entry["threads"], entry["engine"]) == (1, {"t": "litert", "o": "onnx"}[entry["variant"][0]])
        latency = entry["latency_ms"]
        assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
        assert min(entry["frames_per_second"], entry["start_seconds"], entry["rss_mb"]) > 0


def test_doctor_says_what_is_here_and_what_to_do(edgegraft: Edgegraft) -> None:
    result = edgegraft("doctor", "--json")
    report = json.loads(result.stdout)
    findings = {finding["name"]: finding for finding in report["findings"]}
    assert {"machine", "system", "python", "numpy", "ai-edge-litert", "memory", "space here"} <= set(findings)
    assert report["healthy"] == all(finding["ok"] for finding in report["findings"])
    assert result.returncode == (0 if report["healthy"] else 1)
    for finding in report["findings"]:
        assert finding["ok"] or finding["remedy"]
    assert edgegraft("doctor").stdout.splitlines()[0].startswith("ok  machine")
