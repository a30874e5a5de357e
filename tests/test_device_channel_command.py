"""``edgegraft publish`` and ``edgegraft update`` as they are typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from channels import Publisher
from static_server import static_server
from test_export_channel import key_folder

ROOT = Path(__file__).resolve().parent.parent
Typed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def typed(tmp_path: Path) -> Typed:
    """The commands by their modules: they need not be installed."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "EDGEGRAFT_PASSPHRASE": "open sesame",
        **{f"XDG_{name}_HOME": str(tmp_path / name) for name in ("DATA", "STATE", "CONFIG")},
    }

    def run(module: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        name = module.rpartition(".")[2]
        code = f"import sys, device.cli, {module} as c; sys.exit(device.cli._run({name!r}, c, sys.argv[1:]))"
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)

    return run


def test_from_a_folder_of_keys_to_what_a_board_sees(
    typed: Typed, tmp_path: Path, colour_models: dict[str, bytes]
) -> None:
    bundle = Publisher(tmp_path / "unused", colour_models).bundle("1.0.0")
    keys, web = key_folder(tmp_path / "keys"), tmp_path / "web"
    done = typed("export.commands.publish", bundle, "--channel", web, "--keys", keys, "--rollout", "100", "--json")
    assert done.returncode == 0, done.stderr
    published = json.loads(done.stdout)["published"]
    assert (published["version"], published["changed"], len(published["files"])) == ("1.0.0", True, 5)
    done = typed("export.commands.publish", "--renew", "--channel", web, "--keys", keys, "--json")
    assert json.loads(done.stdout) == {"renewed": 5}
    with static_server(web) as site:
        options = ("--channel", site.url, "--user", "--check", "--json")
        done = typed("device.commands.update", *options)
        assert (done.returncode, done.stdout) == (12, ""), done.stderr
        assert "trust enroll" in done.stderr
        trust = tmp_path / "DATA" / "edgegraft" / "edgegraft" / "trust"
        trust.mkdir(parents=True)
        (trust / "root.json").write_bytes((keys / "1.root.json").read_bytes())
        done = typed("device.commands.update", *options)
        assert done.returncode == 0, done.stderr
        offered = json.loads(done.stdout)
        assert (offered["name"], offered["version"], offered["updated"]) == ("colours", "1.0.0", False)
        site.stop()
        assert typed("device.commands.update", *options).returncode == 27


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("export.commands.publish", ["b.egb"]),
        ("export.commands.publish", ["b.egb", "--channel", "web"]),
        ("export.commands.publish", ["b.egb", "--channel", "web", "--keys", "k", "--rollout", "101"]),
        ("export.commands.publish", ["b.egb", "--mender", "a.mender"]),
        ("export.commands.publish", ["b.egb", "--rauc", "a.raucb"]),
        ("device.commands.update", []),
        ("device.commands.update", ["--channel", "https://user:hush@example.com/a"]),
        ("device.commands.update", ["--channel", "http://example.com/a", "--login", "file:x"]),
        ("device.commands.update", ["--channel", "https://example.com/a", "--rate", "fast"]),
    ],
)
def test_wrong_options_are_told_before_anything_happens(typed: Typed, module: str, arguments: list[str]) -> None:
    done = typed(module, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "hush" not in done.stderr
