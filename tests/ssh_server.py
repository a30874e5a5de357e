"""A real OpenSSH server of this user's own, on loopback, with keys made for the test; nothing is installed.

Where there is no ``sshd``, its Debian packages are fetched and unpacked into the user's cache.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.debian_packages import unpacked

_PACKAGES = ("openssh-server", "openssh-client", "libwrap0")
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


def start_ssh_server(
    folder: Path, file_limit_bytes: int = resource.RLIM_INFINITY, forced: str = "", names: Sequence[str] = ("board",)
) -> SshServer:
    """Start one and wait until it listens.

    Args:
        folder: for keys and configuration.
        file_limit_bytes: no session can write a larger file, as on a full disk.
        forced: what every session runs instead of what was asked for.
        names: that the client has for it.
    """
    root = _unpacked()
    sshd, ssh = (_program(root, name) for name in ("sshd", "ssh"))
    port = _free_port()
    server, config = prepare_ssh(folder, f"127.0.0.1:{port}", dict.fromkeys(names, f"127.0.0.1:{port}"))
    if forced:
        server.write_text(f"{server.read_text()}ForceCommand {forced}\n")
    environment = {**os.environ, "LD_LIBRARY_PATH": _libraries(root)}
    process = subprocess.Popen(
        [sshd, "-D", "-e", "-f", server],
        env=environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit_bytes, file_limit_bytes)),
    )
    _await(port, process)
    return SshServer(names[0], config, f"{ssh} -F {config}", folder / "host", process)


def prepare_ssh(folder: Path, listen: str, hosts: Mapping[str, str]) -> tuple[Path, Path]:
    """Keys and configuration, of a server and of a client that knows it.

    Args:
        folder: for all of it.
        listen: address and port of the server.
        hosts: addresses and ports of such servers by the names that the client gives them.

    Returns:
        the server's configuration and the client's.
    """
    keygen = _program(_unpacked(), "ssh-keygen")
    for key in ("host", "own"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    if os.geteuid() == 0:
        _prepare_root()
    server = folder / "sshd_config"
    server.write_text(
        f"ListenAddress {listen}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/own.pub\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"PermitRootLogin prohibit-password\nLogLevel ERROR\nMaxStartups 100\n"
    )
    (folder / "known_hosts").write_text(f"board {(folder / 'host.pub').read_text()}")
    config = folder / "config"
    config.write_text(
        "".join(
            f"Host {name}\n HostName {place.partition(':')[0]}\n Port {place.partition(':')[2]}\n"
            for name, place in hosts.items()
        )
        + f"Host *\n HostKeyAlias board\n IdentityFile {folder}/own\n"
        f" IdentitiesOnly yes\n UserKnownHostsFile {folder}/known_hosts\n GlobalKnownHostsFile none\n BatchMode yes\n"
    )
    return server, config


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
    if all(shutil.which(name, path=path) for name in ("sshd", "ssh", "ssh-keygen")):
        return Path("/")
    return unpacked("openssh", *_PACKAGES)


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
