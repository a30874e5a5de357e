"""Fault 40, cards: names with quotes, YAML and spaces stay names; secrets do not get onto a card."""

from __future__ import annotations

import argparse
import json
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


@pytest.mark.parametrize("name", [name for name in HOSTILE if len(name.encode()) <= 32])
def test_a_networks_name_is_a_name(name: str) -> None:
    text = network_config(None, wifi(name, "eight or more", "DE"), "card")
    assert text is not None
    points = yaml.safe_load(text)["network"]["wifis"]["wlan0"]["access-points"]
    assert list(points) == [name]


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
