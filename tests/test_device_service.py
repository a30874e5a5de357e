"""The unit that 'edgegraft service' writes: read by systemd itself, measured by systemd-analyze, run by a real one."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from system_manager import SystemManager, start_system_manager

from device.commands.run import add_run_options
from device.commands.service import configure
from device.errors import DeviceError
from device.service import Places, plan, uninstall, unit_name, write
from device.service_needs import Machine, Network
from device.service_unit import Unit, unit_text

PROGRAM = Path(sys.executable).with_name("edgegraft")
MOST_EXPOSED = 2.0
START_LIMIT_S = 120.0
# Ours waits a minute; a test does not.
IMPATIENT = Path("/etc/systemd/system/edgegraft.service.d/impatient.conf")
IMPATIENT_TEXT = r"[Service]\nWatchdogSec=5\nTimeoutAbortSec=2\nRestartSec=1\n"
QUICK = ("--allow-unsigned", "--watch", "0")
HARD_NAMES = (
    "two words",
    "100%n %h",
    "$HOME ${HOME}",
    "a\"b'c",
    "back\\slash",
    "tulipän 郁金香",
    "line\nbreak",
    "-x;y|z",
)


def planned(*arguments: str, places: Places | None = None, machine: Machine | None = None, systemd: int = 252) -> Unit:
    parser = argparse.ArgumentParser()
    configure(parser)
    args = parser.parse_args(["install", "b.egb", *arguments])
    return plan(places or Places(unit_name(None)), vars(args), machine or Machine(), systemd)


def analyzer() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("needs systemd-analyze; its Debian package is 'systemd'")
    return program


def exposure(text: str, folder: Path) -> float:
    path = folder / "edgegraft.service"
    path.write_text(text)
    command = [analyzer(), "security", "--offline=true", "--json=short", str(path)]
    rows = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert rows
    command = [analyzer(), "security", "--offline=true", "--no-pager", str(path)]
    last = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()[-1]
    return float(last.rpartition(":")[2].split()[0])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--camera", "0", "--sink", "mqtts://me@broker/greenhouse"),
        ("--camera", "csi:0"),
        ("--camera", "rtsp://user:hunter2@10.1.2.3/stream"),
        ("--camera", "/dev/video0", "--web", "0.0.0.0:8080"),
        ("--camera", "0", "--camera", "http://cam/snap.jpg", "--sink", "gpio:17?class=ripe", "--sink", "snapshots:s"),
        ("--camera", "scene:", "--web", ":8080"),
    ],
)
def test_the_exposure_is_at_most_two(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert exposure(unit_text(planned(*arguments)), tmp_path) <= MOST_EXPOSED


@pytest.mark.parametrize("systemd", [249, 252, 257])
def test_systemd_finds_nothing_to_complain_about(tmp_path: Path, systemd: int) -> None:
    text = unit_text(planned("--camera", "csi:0", "--sink", "mqtt://h/t", "--web", ":80", systemd=systemd))
    assert "\nOnFailure=edgegraft-fallback.service\n" in text
    assert ("RestartSteps=" in text) == (systemd >= 254)
    path = tmp_path / "edgegraft.service"
    path.write_text(
        "\n".join(line for line in text.splitlines() if not line.startswith(("RestartSteps", "RestartMax")))
    )
    done = subprocess.run([analyzer(), "verify", "--man=no", str(path)], capture_output=True, text=True, check=False)
    words = [line for line in done.stderr.splitlines() if "edgegraft" in line and "nvargus" not in line]
    assert words == []


def test_only_the_devices_that_are_needed() -> None:
    def allowed(*arguments: str) -> set[str]:
        lines = unit_text(planned(*arguments, machine=Machine(Path("/nowhere")))).splitlines()
        assert "DevicePolicy=closed" in lines
        assert ("PrivateDevices=yes" in lines) == (not any(line.startswith("DeviceAllow=") for line in lines))
        return {line.partition("=")[2] for line in lines if line.startswith("DeviceAllow=")}

    assert allowed("--camera", "rtsp://cam/s") == set()
    assert allowed("--camera", "0") == allowed("--camera", "/dev/v4l/by-id/usb-x") == {"char-video4linux rw"}
    assert allowed("--camera", "scene:", "--sink", "gpio:17?class=a") == {"char-gpiochip rw"}
    assert allowed("--camera", "csi:0") == {"char-video4linux rw", "char-media rw", "char-dma_heap rw"}
    assert allowed("--camera", "gst:videotestsrc") == set()


def test_a_jetson_and_a_coral_get_their_devices_only_where_they_are(tmp_path: Path) -> None:
    for name in ("nvmap", "nvhost-ctrl", "nvhost-gpu", "video0", "ttyS0", "apex_0"):
        (tmp_path / "dev").mkdir(exist_ok=True)
        (tmp_path / "dev" / name).touch()
    unit = planned("--camera", "csi:0", machine=Machine(tmp_path))
    assert unit.needs.devices == {"/dev/nvmap", "/dev/nvhost-ctrl", "/dev/nvhost-gpu", "/dev/video0", "/dev/apex_0"}
    text = unit_text(unit)
    assert "BindPaths=-/tmp/argus_socket" in text
    assert "MemoryDenyWriteExecute" not in text  # CUDA compiles at run time


@pytest.mark.parametrize(
    ("arguments", "network"),
    [
        (("--camera", "0", "--sink", "jsonl:-"), Network.NONE),
        (("--camera", "0", "--web", ":8080"), Network.LOOPBACK),
        (("--camera", "0", "--web", "0.0.0.0:8080"), Network.ANY),
        (("--camera", "0", "--sink", "https://h/x"), Network.ANY),
        (("--camera", "http://h/x"), Network.ANY),
        (("--camera", "gst:rtspsrc location=h ! decodebin"), Network.ANY),
    ],
)
def test_the_network_is_shut_where_it_is_not_needed(arguments: tuple[str, ...], network: Network) -> None:
    unit = planned(*arguments)
    lines = unit_text(unit).splitlines()
    assert unit.needs.network is network
    assert ("IPAddressDeny=any" in lines) == (network < Network.ANY)
    assert ("PrivateNetwork=yes" in lines) == (network is Network.NONE)
    assert ("IPAddressAllow=localhost" in lines) == (network is Network.LOOPBACK)


def test_no_secret_stands_in_the_unit(tmp_path: Path) -> None:
    for name in ("token", "broker", "hook", "pem"):
        (tmp_path / name).write_text("hunter2-in-a-file\n")
    arguments = ["--camera", "rtsp://me:hunter2@cam/s", "--camera", "gst:rtspsrc location=rtsp://a:hunter2@h/ ! x"]
    arguments += ["--sink", f"mqtts://me@h/t?password=file:{tmp_path}/broker&key={tmp_path}/pem"]
    arguments += ["--sink", f"https://hooks/services/hunter2#key=file:{tmp_path}/hook"]
    arguments += ["--web", "0.0.0.0:1", "--web-token", f"file:{tmp_path}/token"]
    places = Places(unit_name("secrets"), root=tmp_path / "root")
    unit = planned(*arguments, places=places)
    write(unit, places)
    text = places.unit_file.read_text()
    assert "hunter2" not in text
    loaded = {line.partition("=")[2].partition(":")[0] for line in text.splitlines() if line.startswith("LoadCred")}
    assert loaded == {"camera-1", "camera-2", "sink-1-password", "sink-1-key", "sink-2", "sink-2-key", "web-token"}
    kept = {path.name: path for path in places.secrets.iterdir()}
    assert set(kept) == {"camera-1", "camera-2", "sink-2"}
    assert kept["camera-1"].read_text() == "rtsp://me:hunter2@cam/s"
    assert kept["sink-2"].read_text() == "https://hooks/services/hunter2#key=credential:sink-2-key"
    assert {path.stat().st_mode & 0o777 for path in kept.values()} == {0o600}
    assert places.secrets.stat().st_mode & 0o777 == 0o700


def test_installing_again_replaces_the_unit_and_uninstalling_removes_the_releases(tmp_path: Path) -> None:
    places = Places(unit_name(None), root=tmp_path)
    write(planned("--camera", "0", places=places), places)
    write(planned("--camera", "1", places=places), places)
    assert "--camera=1" in places.unit_file.read_text()
    (places.releases / "releases").mkdir(parents=True)
    assert uninstall(places)
    assert not places.unit_file.exists()
    assert not places.releases.exists()
    assert not uninstall(places)


def test_every_option_of_run_is_handed_on_or_refused(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").touch()
    values: dict[str, list[str]] = {
        "camera": ["--camera=0"],
        "sink": ["--sink=jsonl:-"],
        "web": ["--web=:80"],
        "web_token": [f"--web-token=file:{tmp_path}/rules.toml"],
        "web_name": ["--web-name=proxy"],
        "collect": ["--collect=photos"],
        "rules": [f"--rules={tmp_path}/rules.toml"],
        "motion": ["--motion"],
        "max_fps": ["--max-fps=5.0"],
        "variant": ["--variant=v"],
        "threads": ["--threads=2"],
        "frames": [],
    }
    parser = argparse.ArgumentParser()
    add_run_options(parser)
    assert set(vars(parser.parse_args(["--camera", "0"]))) == set(values)
    given = [text for texts in values.values() for text in texts]
    handed = {text.partition("=")[0] for text in planned(*given).command if text.startswith("--")}
    assert handed == {text.partition("=")[0] for text in given}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--camera", "0", "--sink", "snapshots:/data/pictures"), "writes into its own folder only"),
        (("--camera", "0", "--sink", "jsonl:../../etc/x"), "writes into its own folder only"),
        (("--camera", "0", "--collect", "/data"), "writes into its own folder only"),
        (("--camera", "0", "--rules", "/no/such.toml"), "no such file"),
        (("--camera", "0", "--web", "0.0.0.0:80", "--web-token", "hunter2"), "expected as file:PATH"),
        (("--camera", "0", "--web", "0.0.0.0:80", "--web-token", "file:/no/such"), "no such file"),
    ],
)
def test_what_a_service_cannot_do_is_refused_at_once(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(DeviceError, match=message) as caught:
        planned(*arguments)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "Big", "a b", "../x", "-a", "x" * 40, "a\n"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(DeviceError, match="is no name for a service"):
        unit_name(name)


def test_the_command_prints_the_unit_and_changes_nothing(
    edgegraft: Callable[..., subprocess.CompletedProcess[str]], colour_bundle: Path
) -> None:
    done = edgegraft("service", "install", colour_bundle, "--camera", "0", "--name", "never", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "\nDynamicUser=yes\n" in done.stdout
    assert not Places(unit_name("never")).unit_file.exists()
    user = edgegraft("service", "install", colour_bundle, "--camera", "0", "--user", "--dry-run", "--json")
    assert "DynamicUser" not in json.loads(user.stdout)["text"]


def test_without_systemd_it_says_so(
    edgegraft: Callable[..., subprocess.CompletedProcess[str]], colour_bundle: Path
) -> None:
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd manages this machine")
    for action in (("install", colour_bundle, "--camera", "0"), ("status",), ("uninstall",)):
        done = edgegraft("service", *action)
        assert done.returncode == 1
        assert "systemd does not manage this machine" in done.stderr


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemManager]:
    with start_system_manager(tmp_path_factory.mktemp("systemd")) as manager:
        yield manager


def service(manager: SystemManager, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return manager.run([PROGRAM, "service", *arguments])


def test_systemd_hands_on_exactly_what_was_given(manager: SystemManager, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f"import sys; open({str(out)!r}, 'w').write('\\0'.join(sys.argv[1:]))"
    command = [sys.executable, "-c", script, *HARD_NAMES]
    unit = Unit("edgegraft-names", command, planned("--camera", "0").needs, system=False)
    text = unit_text(unit).replace("Type=notify", "Type=oneshot").replace("Restart=always", "Restart=no")
    place = "/etc/systemd/system/edgegraft-names.service"
    manager.run(["sh", "-c", 'printf %s "$1" > "$2"', "sh", text, place])
    manager.run(["systemctl", "daemon-reload"])
    done = manager.run(["systemctl", "start", "edgegraft-names"])
    assert done.returncode == 0, done.stderr + manager.log.read_text()[-2000:]
    assert out.read_text().split("\0") == list(HARD_NAMES)


@pytest.mark.parametrize("variant", ["tflite-static-int8", "onnx-static-int8"])
def test_it_runs_in_its_sandbox_says_ready_and_is_started_again_when_it_hangs(
    manager: SystemManager, colour_bundle: Path, variant: str
) -> None:
    arguments = [colour_bundle, "--camera", "scene:", "--sink", "jsonl:answers.jsonl", "--variant", variant]
    done = service(manager, "install", *arguments, *QUICK)
    assert done.returncode == 0, done.stderr
    unit = "edgegraft.service"
    manager.run(["sh", "-c", f"mkdir {IMPATIENT.parent} && printf '{IMPATIENT_TEXT}' > {IMPATIENT}"])
    manager.run(["systemctl", "daemon-reload"])
    manager.run(["systemctl", "restart", "--no-block", unit])
    shown = manager.until(unit, START_LIMIT_S, ActiveState="active", StatusText="ok")
    process = shown["MainPID"]
    told = dict(
        line.partition(":")[::2] for line in manager.run(["cat", f"/proc/{process}/status"]).stdout.splitlines()
    )
    assert int(told["CapBnd"], 16) == 0
    assert told["Seccomp"].strip() == "2"
    assert told["Uid"].split()[0] not in ("0", "65534")
    assert manager.run(["sh", "-c", "wc -l < /var/lib/edgegraft/edgegraft/answers.jsonl"]).stdout.strip() != "0"
    status = service(manager, "status", "--json")
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout) | {"restarts": 0, "fed_at": 0, "invocation": ""} == {
        "unit": "edgegraft", "installed": True, "active": "active", "detail": "running", "result": "success",
        "text": "ok", "restarts": 0, "enabled": True, "fed_at": 0, "invocation": "", "pending": False,
    }  # fmt: skip
    # Everything in it stands still, as in an endless loop inside a driver.
    manager.run(["kill", "-STOP", process])
    again = manager.until(unit, START_LIMIT_S, ActiveState="active", StatusText="ok", NRestarts="1")
    assert again["MainPID"] != process
    assert service(manager, "uninstall").returncode == 0
    gone: dict[str, Any] = json.loads(service(manager, "status", "--json").stdout)
    assert gone["installed"] is False
    assert manager.run(["ls", "/var/lib/edgegraft-releases"]).stdout == ""
    assert manager.run(["ls", "/var/lib/edgegraft/edgegraft/"]).stdout == "answers.jsonl\n"
    manager.run(["rm", "-r", str(IMPATIENT.parent)])


def test_with_its_camera_away_it_runs_and_says_so(manager: SystemManager, colour_bundle: Path) -> None:
    done = service(manager, "install", colour_bundle, "--camera", "/dev/video77", "--name", "away", *QUICK)
    assert done.returncode == 0, done.stderr
    shown = manager.until("edgegraft-away.service", START_LIMIT_S, ActiveState="active")
    assert shown["StatusText"].startswith("degraded: camera /dev/video77: ")
    assert shown["NRestarts"] == "0"
    assert service(manager, "uninstall", "--name", "away").returncode == 0
