"""A real OpenSSH server of this user's own, on loopback, with keys made for the test; nothing is installed.

Where there is no ``sshd``, its Debian packages are fetched and unpacked into the user's cache.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

_PACKAGES = ("openssh-server", "openssh-client", "libwrap0")
_CACHE = Path.home() / ".cache" / "edgegraft-tests" / "openssh"
_START_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class SshServer:
    """One that listens.

    Attributes:
        destination: for ``ssh``, a name in ``config``.
        config: of the client: key, port, known host.
        command: the client with that configuration, as ``EDGEGRAFT_SSH`` takes it.
        host_key: the server's, private.
        process: the server.
    """

    destination: str
    config: Path
    command: str
    host_key: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End it; sessions that are open go on."""
        self.process.kill()
        self.process.wait()


def start_ssh_server(folder: Path, file_limit_bytes: int = resource.RLIM_INFINITY) -> SshServer:
    """Start one and wait until it listens.

    Args:
        folder: for keys and configuration.
        file_limit_bytes: no session can write a larger file, as on a full disk.
    """
    root = _unpacked()
    sshd, ssh, keygen = (_program(root, name) for name in ("sshd", "ssh", "ssh-keygen"))
    host_key, own_key = folder / "host", folder / "own"
    for key in (host_key, own_key):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    if os.geteuid() == 0:
        _prepare_root()
    port = _free_port()
    server = folder / "sshd_config"
    server.write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {host_key}\nAuthorizedKeysFile {folder}/own.pub\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"PermitRootLogin prohibit-password\nLogLevel ERROR\n"
    )
    (folder / "known_hosts").write_text(f"board {(folder / 'host.pub').read_text()}")
    config = folder / "config"
    config.write_text(
        f"Host board\n HostName 127.0.0.1\n Port {port}\n HostKeyAlias board\n IdentityFile {own_key}\n"
        f" IdentitiesOnly yes\n UserKnownHostsFile {folder}/known_hosts\n GlobalKnownHostsFile none\n BatchMode yes\n"
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": _libraries(root)}
    process = subprocess.Popen(
        [sshd, "-D", "-e", "-f", server],
        env=environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit_bytes, file_limit_bytes)),
    )
    _await(port, process)
    return SshServer("board", config, f"{ssh} -F {config}", host_key, process)


def _prepare_root() -> None:
    """Run by root, sshd insists on the folder and the user that its package makes at its installation."""
    Path("/run/sshd").mkdir(exist_ok=True)
    if subprocess.run(["getent", "passwd", "sshd"], capture_output=True, check=False).returncode:
        add = ["useradd", "--system", "--home-dir", "/run/sshd", "--shell", "/usr/sbin/nologin", "sshd"]
        subprocess.run(add, check=True)


def _program(root: Path, name: str) -> str:
    for place in (root / "usr/sbin" / name, root / "usr/bin" / name):
        if place.is_file():
            return str(place)
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    assert found, f"no {name}"
    return found


def _unpacked() -> Path:
    """The folder of the unpacked packages; made where programs are missing and it does not exist."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
    if all(shutil.which(name, path=path) for name in ("sshd", "ssh", "ssh-keygen")) or _CACHE.is_dir():
        return _CACHE
    if shutil.which("apt-get") is None:
        pytest.skip("needs sshd and ssh, and there is no apt-get to fetch them with")
    _CACHE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE.parent) as scratch:
        fetch = ["apt-get", "download", *_PACKAGES]
        if subprocess.run(fetch, cwd=scratch, capture_output=True, check=False).returncode:
            update = ["apt-get", "update"] if os.geteuid() == 0 else ["sudo", "-n", "apt-get", "update"]
            subprocess.run(update, capture_output=True, check=False)
            subprocess.run(fetch, cwd=scratch, capture_output=True, check=True)
        unpacked = Path(scratch) / "unpacked"
        for package in Path(scratch).glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, unpacked], check=True)
        # Whole or not at all: an interrupted run leaves none.
        unpacked.rename(_CACHE)
    return _CACHE


def _libraries(root: Path) -> str:
    return ":".join(str(folder) for folder in sorted((root / "usr/lib").glob("*-linux-gnu")))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"sshd does not listen, it ended with {process.wait()}")
