"""``edgegraft flash --ssh`` against a real OpenSSH server beside a real systemd: this machine as the board."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pytest

from device.ssh import Connection
from export.flash.board_places import HOME
from export.flash.collect import _remove
from tests.bundles import plain_picture
from tests.releases import version_of
from tests.signatures import SECRETS, make_keys, sign
from tests.ssh_server import SshServer, start_ssh_server
from tests.system_manager import SystemManager, start_system_manager

OLD = "fedcba9876543210"
PROGRAM = Path(sys.executable).with_name("edgegraft")

pytestmark = pytest.mark.long


@dataclass(frozen=True, slots=True)
class Board:
    """A systemd with an SSH server in its namespaces; its /opt and /usr/local/bin are its own."""

    manager: SystemManager
    server: SshServer

    def flash(self, *arguments: str | Path, command: str | None = None) -> subprocess.CompletedProcess[str]:
        """As it is typed on the workstation."""
        return self.type("flash", *arguments, command=command)

    def type(self, *arguments: str | Path, command: str | None = None) -> subprocess.CompletedProcess[str]:
        """Any command."""
        environment = {**os.environ, "EDGEGRAFT_SSH": command or self.server.command}
        whole = [str(PROGRAM), *map(str, arguments)]
        return subprocess.run(whole, env=environment, capture_output=True, text=True, timeout=500, check=False)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    if shutil.which("python3", path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        pytest.skip("needs a python3 in /usr/bin")
    folder = tmp_path_factory.mktemp("ssh")
    with start_system_manager(tmp_path_factory.mktemp("systemd")) as manager:
        server = start_ssh_server(folder)
        server.stop()
        sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") or "/usr/sbin/sshd"
        begin = 'mount -t tmpfs tmpfs /opt && mount -t tmpfs tmpfs /usr/local/bin && mkdir -p /run/sshd && exec "$@"'
        done = manager.run(["sh", "-c", begin, "sh", sshd, "-f", folder / "sshd_config"])
        assert done.returncode == 0, done.stderr
        yield Board(manager, server)


def test_a_board_from_nothing_to_the_third_version(board: Board, colour_bundle: Path, tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "keys")
    bundles = {v: version_of(colour_bundle, v, tmp_path / f"{v}.egb") for v in ("1.0.0", "2.0.0", "3.0.0")}
    options = ("--ssh", "board", "--camera", "scene:", "--sink", "jsonl:answers.jsonl", "--watch", "16")
    unsigned = board.flash(bundles["1.0.0"], *options)
    assert unsigned.returncode == 11, unsigned.stderr
    for version in ("1.0.0", "2.0.0"):
        sign(bundles[version], keys)
    dry = board.flash(bundles["1.0.0"], *options, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert board.manager.run(["ls", HOME]).returncode != 0
    before, old = Path("/opt/edgegraft-runtimes/0123456789abcdef"), Path("/opt/edgegraft-runtimes/fedcba9876543210")
    board.manager.run(["mkdir", "-p", before, old])
    board.manager.run(["ln", "-s", before / "bin/edgegraft", "/usr/local/bin/edgegraft"])
    first = board.flash(bundles["1.0.0"], *options, "--trust", keys / "1.root.json", "--json")
    assert first.returncode == 0, first.stderr
    (one,) = json.loads(first.stdout)["boards"]
    assert (one["release"], one["changed"], one["exit_code"]) == ("colours 1.0.0", True, 0)
    assert status(board)["current"]["signed"] is True
    # The runtime before stays, those before that go.
    assert [board.manager.run(["test", "-d", place]).returncode for place in (before, old)] == [0, 1]
    started = board.manager.show("edgegraft.service")["ExecMainStartTimestampMonotonic"]
    again = board.flash(bundles["1.0.0"], *options, "--trust", keys / "1.root.json", "--json")
    assert json.loads(again.stdout)["boards"][0]["changed"] is False, again.stderr
    assert board.manager.show("edgegraft.service")["ExecMainStartTimestampMonotonic"] == started
    # Cut off half-way: what came is there, the rest follows.
    data = bundles["2.0.0"].read_bytes()
    half = tmp_path / "half"
    half.write_bytes(data[: len(data) // 2])
    part = f"{HOME}/bundle.egb.{hashlib.sha256(data).hexdigest()[:16]}.part"
    board.manager.run(["cp", half, part])
    second = board.flash(bundles["2.0.0"], "--ssh", "board", "--watch", "16", "--json")
    assert second.returncode == 0, second.stderr
    assert status(board)["current"]["version"] == "2.0.0"
    # A forged one: the board itself refuses, and goes on.
    (tmp_path / "3.0.0.egb.sig").write_bytes((tmp_path / "2.0.0.egb.sig").read_bytes())
    third = board.flash(bundles["3.0.0"], "--ssh", "board")
    assert third.returncode == 12, third.stderr + third.stdout
    assert "other content" in third.stdout
    assert status(board)["current"]["version"] == "2.0.0"
    assert SECRETS.online not in first.stderr + second.stderr


def test_a_new_runtime_that_does_not_work_leaves_the_old_one_at_work(
    board: Board, colour_bundle: Path, tmp_path: Path
) -> None:
    bundle = version_of(colour_bundle, "8.0.0", tmp_path / "8.0.0.egb")
    good = board.flash(bundle, "--ssh", "board", "--allow-unsigned", "--watch", "0")
    assert good.returncode == 0, good.stderr
    # What is there becomes the older one; the one that the workstation has cannot classify.
    shell = f"""
        set -e
        new=$(basename $(dirname $(dirname $(readlink /usr/local/bin/edgegraft))))
        cd /opt/edgegraft-runtimes && cp -a $new {OLD}
        sed -i "s/$new/{OLD}/g" {OLD}/bin/edgegraft {OLD}/pyvenv.cfg /etc/systemd/system/edgegraft*.service
        sed -i "s/$new/{OLD}/g" {HOME}/asked-
        ln -sfn /opt/edgegraft-runtimes/{OLD}/bin/edgegraft /usr/local/bin/edgegraft
        systemctl daemon-reload && systemctl restart edgegraft
        cd $new/lib/python3*/site-packages/device/commands && mv run.py run.txt
        sed 's/^def run(.*/&\\n    raise SystemExit("broken")/' run.txt >run.py
    """
    done = board.manager.run(["sh", "-c", shell])
    assert done.returncode == 0, done.stderr
    bundle = version_of(colour_bundle, "8.1.0", tmp_path / "8.1.0.egb")
    bad = board.flash(bundle, "--ssh", "board", "--allow-unsigned", "--watch", "16")
    assert bad.returncode == 21, bad.stdout + bad.stderr
    assert "colours-8.0.0 is at work again" in bad.stdout
    board.manager.until("edgegraft.service", 60, ActiveState="active", StatusText="ok")
    assert OLD in board.manager.show("edgegraft.service")["ExecStart"]
    assert OLD in board.manager.run(["readlink", "/usr/local/bin/edgegraft"]).stdout
    assert status(board)["current"]["version"] == "8.0.0"
    # And with nothing but a new runtime: it is watched as a new release is.
    only = board.flash(tmp_path / "8.0.0.egb", "--ssh", "board", "--allow-unsigned", "--watch", "16")
    assert only.returncode == 21, only.stdout + only.stderr
    assert "runs as it did before" in only.stdout
    board.manager.until("edgegraft.service", 60, ActiveState="active", StatusText="ok")
    mended = "cd /opt/edgegraft-runtimes/[!f]*/lib/python3*/site-packages/device/commands && mv run.txt run.py"
    assert board.manager.run(["sh", "-c", mended]).returncode == 0
    # The bundle that came with it is not known as bad: nobody knows which of the two it was.
    again = board.flash(bundle, "--ssh", "board", "--allow-unsigned", "--watch", "16")
    assert again.returncode == 0, again.stdout + again.stderr
    assert OLD not in board.manager.run(["readlink", "/usr/local/bin/edgegraft"]).stdout


def test_37_one_board_down_does_not_hold_up_the_others(board: Board, colour_bundle: Path, tmp_path: Path) -> None:
    bundle = version_of(colour_bundle, "9.0.0", tmp_path / "9.0.0.egb")
    done = board.flash(bundle, "--ssh", "nobody@127.0.0.1", "--ssh", "board", "--allow-unsigned", "--watch", "0")
    assert done.returncode == 23, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("nobody@127.0.0.1: ")
    assert lines[1] == "board: colours 9.0.0 is at work"


def test_status_roll_back_and_photos_from_afar(board: Board, tmp_path: Path) -> None:
    told = board.type("status", "--ssh", "board")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("board: edgegraft: colours 9.0.0, since ")
    assert "board: !! UNSIGNED" in told.stdout
    kept = Path("/var/lib/edgegraft/edgegraft/kept/red")
    cv2.imwrite(str(tmp_path / "a.jpg"), plain_picture("red"))
    (tmp_path / "b.jpg").write_bytes(b"no photo")
    board.manager.run(["mkdir", "-p", kept])
    board.manager.run(["cp", tmp_path / "a.jpg", tmp_path / "b.jpg", kept])
    board.manager.run(["cp", tmp_path / "a.jpg", kept / "-rf $(x).jpg"])
    board.manager.run(["ln", "-s", "/etc/passwd", kept / "c.jpg"])
    for fetched, there in ((1, 0), (0, 1)):
        done = board.type("collect", "--ssh", "board", "--out", tmp_path / "_inbox", "--json")
        assert done.returncode == 0, done.stderr
        (one,) = json.loads(done.stdout)["boards"]
        assert (one["fetched"], one["there"], len(one["left_out"])) == (fetched, there, 2)
    found = [path for path in (tmp_path / "_inbox").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in found] == [(tmp_path / "a.jpg").read_bytes()]
    back = board.type("rollback", "--ssh", "board")
    assert back.returncode == 0, back.stderr
    assert "colours 8.1.0 is at work again" in back.stderr
    assert board.type("rollback", "--ssh", "board").returncode == 22


def test_an_inventory_serves_the_other_commands_too(board: Board, tmp_path: Path) -> None:
    boards = tmp_path / "boards.toml"
    boards.write_text('[group.all]\nboards = ["board", "nobody@127.0.0.1"]\n[board.other]\nname = "gate"\n')
    told = board.type("status", "--inventory", boards, "--json")
    assert told.returncode == 23, told.stderr
    assert json.loads(told.stdout)["boards"]["board"]["current"]["name"] == "colours"
    assert "nobody@127.0.0.1: not reached over SSH" in told.stderr
    assert "2 of 3 boards are not well" in told.stderr
    done = board.type("collect", "--inventory", boards, "--out", tmp_path / "_inbox", "--json")
    assert done.returncode == 23, done.stderr
    assert [one["board"] for one in json.loads(done.stdout)["boards"]] == ["board"]
    assert board.type("collect", "--out", tmp_path / "_inbox").returncode == 2
    assert board.type("status", "--ssh", "board", "--inventory", boards).returncode == 2


def test_photos_that_are_here_are_removed_there(board: Board, tmp_path: Path) -> None:
    place = Path("/var/lib/edgegraft/edgegraft/kept 2")
    inbox = tmp_path / "_inbox" / "board" / "kept 2"
    sources = tmp_path / "sources"
    sources.mkdir()
    for name, colour in (("1 a.jpg", "red"), ("b.jpg", "green"), ("changed.jpg", "blue")):
        cv2.imwrite(str(sources / name), plain_picture(colour))
        (sources / name).with_suffix(".json").write_text(f'{{"said": "{colour}"}}')
    (sources / "broken.jpg").write_bytes(b"no photo")
    (sources / "broken.json").write_text("{}")
    (sources / "settings.json").write_text("{}")  # nobody's photo
    board.manager.run(["rm", "-rf", place.parent / "kept"])  # another test's
    board.manager.run(["mkdir", "-p", place.parent])
    assert board.manager.run(["cp", "-r", sources, place]).returncode == 0
    # Somebody has made another photo of this one here: it is no copy of what lies there.
    inbox.mkdir(parents=True)
    cv2.imwrite(str(inbox / "changed.jpg"), plain_picture("grey"))
    kept = {"broken.jpg", "broken.json", "changed.jpg", "changed.json", "settings.json"}

    def collect(*more: str) -> dict[str, Any]:
        done = board.type("collect", "--ssh", "board", "--out", tmp_path / "_inbox", "--json", *more)
        assert done.returncode == 0, done.stderr
        (one,) = json.loads(done.stdout)["boards"]
        return dict(one)

    def lie_there() -> set[str]:
        return set(board.manager.run(["ls", place]).stdout.splitlines())

    first = collect()
    assert first["removed"] == 0
    assert lie_there() == kept | {"1 a.jpg", "1 a.json", "b.jpg", "b.json"}
    assert (inbox / "1 a.json").read_text() == '{"said": "red"}'
    assert not (inbox / "settings.json").exists()
    cv2.imwrite(str(sources / "new.jpg"), plain_picture("blue"))
    board.manager.run(["cp", sources / "new.jpg", place])
    second = collect("--remove")
    assert second["removed"] == 3
    assert second["fetched"] == 1
    assert lie_there() == kept
    for name in ("1 a.jpg", "b.jpg", "new.jpg"):
        assert (inbox / name).read_bytes() == (sources / name).read_bytes()
    assert collect("--remove")["removed"] == 0


def test_a_folder_swapped_for_a_link_leads_nowhere(board: Board, tmp_path: Path) -> None:
    """The service writes there and root removes: what it swaps under root's hands is not followed."""
    base, elsewhere = Path("/var/lib/edgegraft/edgegraft"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    cv2.imwrite(str(elsewhere / "a.jpg"), plain_picture("red"))
    (elsewhere / "a.json").write_text("{}")
    shutil.copytree(elsewhere, tmp_path / "_inbox" / "swapped")
    board.manager.run(["mkdir", "-p", base])
    assert board.manager.run(["ln", "-s", elsewhere, base / "swapped"]).returncode == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEGRAFT_SSH", board.server.command)
        removed = _remove(Connection("board"), str(base), tmp_path / "_inbox", ["swapped/a.jpg"])
    assert removed == 0
    assert {path.name for path in elsewhere.iterdir()} == {"a.jpg", "a.json"}


@pytest.mark.parametrize(("known", "said"), [("", "not known here"), ("changed", "has changed")])
def test_39_a_host_key_that_is_unknown_or_changed(
    board: Board, colour_bundle: Path, tmp_path: Path, known: str, said: str
) -> None:
    hosts = tmp_path / "known_hosts"
    hosts.write_text(f"board {board.server.host_key.with_name('own.pub').read_text()}" if known else "")
    command = f"{board.server.command} -o UserKnownHostsFile={hosts} -o StrictHostKeyChecking=yes"
    done = board.flash(colour_bundle, "--ssh", "board", "--camera", "0", "--allow-unsigned", command=command)
    assert done.returncode == 25, done.stderr
    assert said in done.stdout
    assert hosts.read_text().count("\n") == (1 if known else 0)


def status(board: Board) -> dict[str, Any]:
    done = board.manager.run(["/usr/local/bin/edgegraft", "status", "--json"])
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, report
    return report
