"""From a publisher's folder of keys to a service that runs the new release, under a real systemd."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from channels import Publisher
from static_server import static_server
from system_manager import SystemManager, start_system_manager

from export.channel.keys import KeyFolder
from export.channel.publish import publish
from export.channel.repository import Repository
from export.keys.folder import Passphrases, create_keys

ROOT = Path(__file__).resolve().parents[2]
STORE = Path("/var/lib/edgegraft-releases/edgegraft")


def typed(manager: SystemManager, module: str, *arguments: str | Path) -> tuple[int, str]:
    """A command of the board, by its module."""
    name = module.rpartition(".")[2]
    code = f"import sys, device.cli, {module} as c; sys.exit(device.cli._run({name!r}, c, sys.argv[1:]))"
    done = manager.run(["env", f"PYTHONPATH={ROOT}", sys.executable, "-c", code, *arguments], timeout_s=400)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.long
def test_a_published_release_takes_over_the_service(tmp_path: Path, colour_models: dict[str, bytes]) -> None:
    make = Publisher(tmp_path / "unused", colour_models)
    create_keys(tmp_path / "keys", Passphrases("", ""))
    keys = KeyFolder(tmp_path / "keys")
    channel = Repository(tmp_path / "web", keys)
    publish(make.bundle("1.1.0"), channel)
    with static_server(channel.folder) as site, start_system_manager(tmp_path) as manager:
        options = ("--camera", "scene:", "--allow-unsigned")
        code, said = typed(manager, "device.commands.service", "install", make.bundle("1.0.0"), *options)
        assert code == 0, said + manager.log.read_text()[-3000:]
        code, said = typed(manager, "device.commands.update", "--channel", site.url)
        assert (code, "trust enroll" in said) == (12, True), said
        code, said = typed(manager, "device.commands.trust", "enroll", tmp_path / "keys" / "1.root.json")
        assert code == 0, said
        code, said = typed(manager, "device.commands.update", "--channel", site.url)
        assert code == 0, said + manager.log.read_text()[-3000:]
        assert "1.1.0 is at work" in said
        assert manager.run(["readlink", STORE / "current"]).stdout.strip().endswith("colours-1.1.0")
        assert manager.show("edgegraft.service")["ActiveState"] == "active"
        site.forget()
        code, said = typed(manager, "device.commands.update", "--channel", site.url)
        assert (code, "nothing new" in said) == (0, True), said
        assert len(site.requests) == 2
