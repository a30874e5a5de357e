"""The workstation's side: commands as a person types them, real keys, bundles from photos to a broken version."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from board.broken import broken_model
from device.bundle import file_entry, open_bundle, write_bundle
from device.contract import Manifest
from device.scene import draw_dataset

HOST = "greenhouse"
USER = "ada"
_PROGRAM = str(Path(sys.executable).with_name("edgegraft"))
_LIMIT_S = 1800


@dataclass(frozen=True, slots=True)
class Typed:
    """What came of a command."""

    code: int
    output: str
    said: str
    seconds: float

    @property
    def last(self) -> str:
        """The last line of what it printed or said."""
        return ((self.output.strip() or self.said.strip()).splitlines() or ["no word"])[-1]

    def json(self) -> dict[str, Any]:
        """The object that it printed."""
        found: dict[str, Any] = json.loads(self.output)
        return found


# Drawn signs and two minutes of training: int8 may cost more than with photos.
_EXPORT = ("--target", "pi4", "--max-drop", "15", "--max-class-drop", "60")


class Workstation:
    """A folder with photos, keys, bundles and an SSH configuration of its own.

    Args:
        folder: for all of it.
        say: is told every command.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self._say = say
        self._ssh_config = folder / "ssh_config"
        self._environment = {
            **os.environ,
            "EDGEGRAFT_SSH": f"ssh -F {self._ssh_config}",
            "EDGEGRAFT_PASSPHRASE": "passphrase of the online key",
            "EDGEGRAFT_ROOT_PASSPHRASE": "passphrase of the root key",
        }

    def type(self, *arguments: str | Path) -> Typed:
        """Run ``edgegraft`` to its end."""
        begin = time.monotonic()
        process = self.begin(*arguments)
        output, said = process.communicate(timeout=_LIMIT_S)
        return Typed(process.returncode, output, said, time.monotonic() - begin)

    def must(self, *arguments: str | Path) -> Typed:
        """The same, where nothing may go wrong.

        Raises:
            RuntimeError: it failed.
        """
        done = self.type(*arguments)
        if done.code:
            raise RuntimeError(f"edgegraft {arguments[0]} ended with {done.code}: {done.output}{done.said}")
        return done

    def begin(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start it, in a process group of its own."""
        words = [str(each).replace(f"{self.folder}/", "") for each in arguments]
        self._say(f"$ edgegraft {shlex.join(words)}")
        return subprocess.Popen(
            [_PROGRAM, *map(str, words)],
            cwd=self.folder,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def make_keys(self) -> None:
        """The offline root, the online key, and a key to log in with."""
        self.must("keys", "create", "keys")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "login"], check=True)

    def train(self, size: int) -> None:
        """Photos to a signed first version."""
        draw_dataset(self.folder / "photos", 24, seed=5)
        self.must("train", "photos", "--out", "run", "--budget", "fast", "--no-flip", "--size", str(size))
        self.must("export", "run", "--out", "signs.egb", *_EXPORT)
        self.must("keys", "sign", "signs.egb", "--keys", "keys")

    def bundle(self, version: str) -> Path:
        """The file of a version."""
        return self.folder / ("signs.egb" if version == "1.0.0" else f"signs-{version}.egb")

    def export_version(self, version: str) -> None:
        """A version as a person makes one, signed in the same go."""
        self.must("export", "run", "--out", self.bundle(version), *_EXPORT, "--version", version, "--sign", "keys")

    def next_version(self, version: str) -> Path:
        """The same classifier under another version, signed."""
        with open_bundle(self.folder / "signs.egb") as opened:
            files = {entry.name: opened.read(entry) for entry in opened.manifest.files()}
        return self._write(msgspec.structs.replace(opened.manifest, version=version), files)

    def broken_version(self, version: str) -> Path:
        """One that is right in every test and useless before a camera, signed all the same."""
        first = self.folder / "signs.egb"
        with open_bundle(first) as opened:
            manifest = opened.manifest
            files = {entry.name: opened.read(entry) for entry in manifest.files()}
        (variant,) = (one for one in manifest.variants if one.name == "tflite-float32")
        model = broken_model(first, variant.name)
        for one in manifest.variants:
            del files[one.file.name]
        files[variant.file.name] = model
        variant = msgspec.structs.replace(variant, file=file_entry(variant.file.name, model))
        return self._write(msgspec.structs.replace(manifest, version=version, variants=(variant,)), files)

    def _write(self, manifest: Manifest, files: dict[str, bytes]) -> Path:
        out = self.bundle(manifest.version)
        write_bundle(out, manifest, files)
        self.must("keys", "sign", out, "--keys", "keys")
        return out

    def know(self, port: int, host_keys: list[str]) -> None:
        """Write the SSH configuration: where the board is, and the host keys that it showed on its console."""
        known = self.folder / "known_hosts"
        known.write_text("".join(f"{HOST} {key}\n" for key in host_keys))
        self._ssh_config.write_text(
            f"Host {HOST}\n HostName 127.0.0.1\n Port {port}\n User {USER}\n HostKeyAlias {HOST}\n"
            f" IdentityFile {self.folder}/login\n IdentitiesOnly yes\n UserKnownHostsFile {known}\n"
            f" StrictHostKeyChecking yes\n BatchMode yes\n ConnectTimeout 20\n LogLevel ERROR\n"
        )

    def ssh(self, script: str, limit_s: float = 180) -> subprocess.CompletedProcess[str]:
        """A script on the board, past edgegraft."""
        command = ["ssh", "-F", str(self._ssh_config), HOST, script]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 255, "", "it does not answer")
