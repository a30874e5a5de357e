"""Fault 40, cards: names with quotes, YAML and spaces stay names; secrets do not get onto a card."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from device.errors import UsageError
from export.commands import flash
from export.flash.first_boot.options import card_config
from export.flash.first_boot.seed import Person, check_person, network_config, user_data, wifi

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh"
HOSTILE = [
    "our net",
    "it's",
    'a "quoted" one',
    "a: b",
    "- a",
    "#cloud-config",
    "{a: b}",
    "!!python/object/apply:os.system [id]",
    "&a *a",
    "| >",
    "%TAG",
    "yes",
    "0x10",
    "1e3",
    "null",
    "a\\nb\\",
    "$(reboot) `id` ;&|",
    "tab\there",
    "line\nbreak: x",
    "träume ☃",
    "{{ds.meta_data}}",
    "\u2028",
]


def schema(folder: Path, text: bytes) -> None:
    (folder / "checked").write_bytes(text)
    done = subprocess.run(
        ["cloud-init", "schema", "--config-file", str(folder / "checked")], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


NETWORKS = [
    *(name for name in HOSTILE if len(name.encode()) <= 32 and name.isprintable()),
    *(" lead", "trail ", '"', "\\", "a/b", "../x", "%s", "[a]", "a=b", "@", "`", "日本語", "\U0001f600", "~", "123"),
]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_networks_name_is_a_name(name: str) -> None:
    text = network_config(None, wifi(name, "eight or more", "DE"), "card")
    assert text is not None
    points = yaml.safe_load(text)["network"]["wifis"]["wlan0"]["access-points"]
    assert list(points) == [name]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("renderer", ["networkd", "NetworkManager"])
def test_netplan_takes_what_is_on_the_card(renderer: str, name: str, tmp_path: Path) -> None:
    """The program that reads it on a board, and what that writes for wpa_supplicant or NetworkManager."""
    before = f"network: {{version: 2, renderer: {renderer}}}".encode()
    network = wifi(name, "eight or more", "DE")
    text = network_config(before, network, "card")
    assert text is not None
    root = netplan(text, tmp_path)
    assert network_names(root, renderer) == [name]
    assert network.psk in written(root)
    assert "eight or more" not in text.decode() + written(root)


def test_netplan_takes_a_card_without_wifi(tmp_path: Path) -> None:
    text = network_config(None, None, "card")
    assert text is not None
    root = netplan(text, tmp_path)
    link = (root / "run/systemd/network/10-netplan-eth0.network").read_text()
    assert "RequiredForOnline=no" in link  # no boot waits for a cable
    assert "DHCP=ipv4" in link


def test_netplan_takes_a_network_added_to_what_imager_wrote(tmp_path: Path) -> None:
    before = b"""network:
  version: 2
  wifis:
    wlan0:
      dhcp4: true
      access-points:
        other: {password: "another one"}
    wlan1:
      dhcp4: true
      access-points:
        second: {password: "another one"}
"""
    text = network_config(before, wifi("ours", "eight or more", "DE"), "card")
    assert text is not None
    assert sorted(network_names(netplan(text, tmp_path), "networkd")) == ["ours", "second"]


@pytest.mark.parametrize(
    "name", ["line\nbreak: x", "a\n}\nnetwork={", "tab\there", "\x1b[31m", "\x7f", "\u2028", "\udcff"]
)
def test_a_networks_name_that_would_be_more_than_a_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="control characters") as caught:
        wifi(name, "eight or more", "DE")
    assert name not in str(caught.value)


def netplan(text: bytes, folder: Path) -> Path:
    """What netplan makes of it; the root of a file system."""
    if shutil.which("netplan") is None:
        pytest.skip("needs netplan (Debian package netplan.io)")
    place = folder / "etc/netplan/50-cloud-init.yaml"
    place.parent.mkdir(parents=True)
    place.write_bytes(text)
    place.chmod(0o600)
    done = subprocess.run(["netplan", "generate", "--root-dir", folder], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def network_names(root: Path, renderer: str) -> list[str]:
    """The names of networks in what it wrote, read as their reader does."""
    if renderer == "networkd":
        lines = [line for path in root.glob("run/netplan/wpa-*.conf") for line in path.read_text().split("\n")]
        # wpa_supplicant: from the first quotation mark to the last of the line.
        return [line.strip().removeprefix('ssid="').removesuffix('"') for line in lines if line.startswith("  ssid=")]
    files = root.glob("run/NetworkManager/system-connections/*wlan0*")
    lines = [line for path in files for line in path.read_text().split("\n")]
    # GLib's key files: a blank at the ends is \\s, a backslash is two.
    return [
        re.sub(r"\\(.)", lambda found: " " if found[1] == "s" else found[1], line.removeprefix("ssid="))
        for line in lines
        if line.startswith("ssid=")
    ]


def written(root: Path) -> str:
    return "".join(path.read_text() for path in (root / "run").rglob("*") if path.is_file())


def test_a_keys_comment_is_a_comment(tmp_path: Path) -> None:
    keys = tuple(f"{KEY} {name}" for name in HOSTILE if "\n" not in name and "\u2028" not in name)
    person = Person("greenhouse", "ada", keys)
    check_person(person)
    text = user_data(b"", person, True, "card")
    schema(tmp_path, text)
    assert yaml.safe_load(text)["users"][1]["ssh_authorized_keys"] == list(keys)


@pytest.mark.parametrize("name", [*HOSTILE, "-a", "a-", "a" * 64, "a.b", "a_b"])
def test_a_host_or_user_that_is_none_is_refused(name: str) -> None:
    if name not in ("yes", "null", "0x10", "1e3"):
        with pytest.raises(UsageError, match="--hostname"):
            check_person(Person(hostname=name))
    if name not in ("yes", "null", "a-", "a_b"):
        with pytest.raises(UsageError, match="--user-name"):
            check_person(Person(user=name, ssh_keys=(KEY,)))


@pytest.mark.parametrize("name", ["yes", "null", "0x10", "1e3", "on", "12"])
def test_a_host_that_yaml_would_take_for_something_else(tmp_path: Path, name: str) -> None:
    text = user_data(b"", Person(hostname=name), False, "card")
    schema(tmp_path, text)
    assert yaml.safe_load(text)["hostname"] == name


@pytest.mark.parametrize(
    "key", ["", "-----BEGIN OPENSSH PRIVATE KEY-----", f"{KEY}\nssh_pwauth: true", "ssh-ed25519", "x y"]
)
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(UsageError):
        check_person(Person(ssh_keys=(key,)))


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    flash.configure(parser)
    return parser.parse_args(["B.egb", "--boot", "x", *arguments])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--camera", "rtsp://ada:s3cret@10.0.0.9/live"),
        ("--camera", "0", "--sink", "mqtt://ada:s3cret@broker/topic"),
        ("--camera", "0", "--sink", "https://hooks.example/x#token=s3cret"),
        ("--camera", "http://10.0.0.9/live?password=s3cret"),
        ("--camera", "0", "--web-token", "file:s3cret"),
    ],
)
def test_a_secret_does_not_get_onto_a_card(arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="anyone can read a card") as caught:
        card_config(parsed(*arguments))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", HOSTILE)
def test_an_option_stays_one_argument(name: str) -> None:
    config = card_config(parsed(f"--camera={name}", f"--sink=snapshots:{name}"))
    assert json.loads(json.dumps(config.service)) == [f"--camera={name}", f"--sink=snapshots:{name}"]


def test_a_wifi_password_is_in_no_representation_and_no_message(tmp_path: Path) -> None:
    assert "f42c6f" not in repr(wifi("IEEE", "password", "DE"))
    for wrong in ("s3cret", "s3cret" * 20, "s3crét-long-enough"):
        with pytest.raises(UsageError) as caught:
            wifi("net", wrong, "DE")
        assert wrong not in str(caught.value)
