"""Passwords and keys come from files and credentials, and do not come out again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from device.errors import DeviceError
from device.secret import Secret, read_secret

VALUE = "correct horse battery"


def kept(folder: Path, content: bytes = VALUE.encode() + b"\n", mode: int = 0o600) -> Path:
    path = folder / "password"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_file_of_one_line_is_read_without_its_end(tmp_path: Path, end: bytes) -> None:
    secret = read_secret(f"file:{kept(tmp_path, VALUE.encode() + end)}", "the password")
    assert (secret.value, secret.warning) == (VALUE, "")


def test_a_secret_shows_itself_nowhere(tmp_path: Path) -> None:
    secret = read_secret(f"file:{kept(tmp_path)}", "the password")
    shown = f"{secret} {secret!r} {[secret]} {Secret(VALUE, 'x')}"
    assert VALUE not in shown
    assert "password" in shown, "where it comes from helps"


def test_a_systemd_credential_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path, mode=0o444)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    secret = read_secret("credential:password", "the password")
    assert (secret.value, secret.warning) == (VALUE, "")
    for name in ("../password", "a/b", "..", ""):
        with pytest.raises(DeviceError, match="expected as file:PATH or credential:NAME"):
            read_secret(f"credential:{name}", "the password")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(DeviceError, match="add LoadCredential=password:FILE"):
        read_secret("credential:password", "the password")


def test_a_file_that_everybody_can_read_is_warned_of(tmp_path: Path) -> None:
    path = kept(tmp_path, mode=0o644)
    assert read_secret(f"file:{path}", "the password").warning == (
        f"{path}: every user of this machine can get at the password (mode 0644); chmod 600 {path}"
    )
    path.chmod(0o640)
    assert read_secret(f"file:{path}", "the password").warning == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\n", "it is empty"),
        (VALUE.encode() + b"\nmore\n", "several lines"),
        (VALUE.encode() + b"\0", "control characters"),
        (VALUE.encode() + b"\xff\xfe", "not text"),
        (VALUE.encode() * 300, "longer than 4096 bytes"),
    ],
)
def test_what_is_no_line_of_text_is_refused_without_quoting_it(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DeviceError, match=message) as caught:
        read_secret(f"file:{kept(tmp_path, content)}", "the password")
    error: BaseException | None = caught.value
    while error is not None:
        assert VALUE not in repr(error)
        error = error.__cause__


def test_a_folder_a_pipe_and_nothing_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in ((".", "Is a directory"), ("pipe", "not a file"), ("x", "No such file")):
        with pytest.raises(DeviceError, match=message):
            read_secret(f"file:{tmp_path / name}", "the password")
    with pytest.raises(DeviceError, match="no such name"):
        read_secret("file:a\0b", "the password")


def test_the_secret_itself_in_place_of_its_file_is_not_repeated() -> None:
    for source in (VALUE, f"pass:{VALUE}", f"credential:/{VALUE}", ""):
        with pytest.raises(DeviceError, match="others could see it") as caught:
            read_secret(source, "the password")
        assert VALUE not in str(caught.value)
