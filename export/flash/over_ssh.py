"""A bundle put to work on a board over SSH: runtime, trust, bundle, and the board's own installer has the last word."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from device.bundle import open_bundle
from device.console import printable
from device.errors import EdgegraftError, RemoteError, UsageError
from device.releases.refusals import NoSpace, Refusal, Unsigned
from device.service import unit_name
from device.ssh import Answer, Connection
from export.flash.board_places import HOME, RUNTIMES, runtime_key
from export.flash.probe import BoardInfo, probe
from export.flash.wheelhouse import build_wheelhouse

_HOME = HOME
_RUNTIMES = RUNTIMES
_PREPARE = f"""\
mkdir -p {_HOME}/wheels && chmod 700 {_HOME} && cd {_HOME}/wheels || exit 98
test -e {_RUNTIMES}/"$1"/.complete && echo complete
sha256sum -- *.whl 2>/dev/null; true
"""
# What came before the connection broke is kept; how much of it there is, is said first.
_HAVE = f"""\
cd {_HOME} || exit 98
if [ "$(sha256sum <"$1" 2>/dev/null)" = "$2  -" ]; then echo whole; else stat -c %s "$1.part" 2>/dev/null || echo 0; fi
"""
_APPEND = f"""\
cd {_HOME} && cat >>"$1.part" || exit 98
[ "$(sha256sum <"$1.part")" = "$2  -" ] || {{ rm -f "$1.part"; exit 97; }}
sync "$1.part" && mv "$1.part" "$1"
"""
# Beside the one at work, and the name is switched to it when it is whole: cut off, the old one goes on.
_RUNTIME = f"""\
set -e
place={_RUNTIMES}/$1
if [ ! -e "$place/.complete" ]; then
    rm -rf "$place"
    mkdir -p {_RUNTIMES}
    "$2" -m venv --without-pip "$place"
    set -- "$1" {_HOME}/wheels/pip-*.whl
    "$place/bin/python" "$2/pip" install --no-index --find-links {_HOME}/wheels --no-cache-dir --quiet \\
        --disable-pip-version-check --root-user-action ignore 'edgegraft[board]'
    sync && touch "$place/.complete" && sync
    echo made
fi
mkdir -p /usr/local/bin && cd /usr/local/bin
ln -sfn "$place/bin/edgegraft" edgegraft.new && mv -T edgegraft.new edgegraft
"""
_HAS_UNIT = """test -e "/etc/systemd/system/$1.service" && echo there; true"""
# The whole service is on the disk before it counts as installed. For root only: a camera's address may hold a secret.
_REMEMBER = f"""\
umask 077 && sync && cd {_HOME} && cat >"$1.new" && sync "$1.new" && mv "$1.new" "$1" && sync -f .
"""
# Arguments come on standard input: a process list shows none of them.
_PROGRAM = "import json, sys; from device.cli import main; sys.exit(main(json.load(sys.stdin)))"
_EDGEGRAFT = f'exec {_RUNTIMES}/"$1"/bin/python -c "{_PROGRAM}"'


@dataclass(frozen=True, slots=True)
class SshConfig:
    """What to put on boards.

    Attributes:
        bundle: its signature lies beside it as ``<bundle>.sig``.
        service: options of ``edgegraft service install``; empty where the service is there and stays as it is.
        unit: ``--name`` of the service, or "".
        rules: a file of decision rules, or None.
        trust: root metadata to enrol, or None.
        allow_unsigned: let the board take a bundle without a signature.
        watch_s: for how long the board watches the release before it is kept.
        dry_run: look, and change nothing.
    """

    bundle: Path
    service: tuple[str, ...] = ()
    unit: str = ""
    rules: Path | None = None
    trust: Path | None = None
    allow_unsigned: bool = False
    watch_s: float = 40.0
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Flashed:
    """How it went on one board; ``exit_code`` is that of ``device.releases.refusals``, 0 where it is well."""

    board: str
    model: str = ""
    release: str = ""
    changed: bool = False
    exit_code: int = 0
    message: str = ""


def flash_board(config: SshConfig, destination: str, say: Callable[[str], None] = lambda line: None) -> Flashed:
    """One board, from looking at it to its own verdict. Run again it changes nothing.

    Raises:
        EdgegraftError: why not; what ran there before runs on.
    """
    connection = Connection(destination)
    info = probe(connection)
    say(f"{destination}: {info.model}, {info.system}, Python {info.python}, {info.free_mb} MB free")
    with open_bundle(config.bundle) as bundle:
        release = f"{bundle.manifest.name} {bundle.manifest.version}"
    if config.dry_run:
        return Flashed(destination, info.model, release, message=f"can take {release}; nothing was changed")
    flasher = _Flasher(connection, info, config, say)
    runtime = flasher.runtime()
    flasher.enroll(runtime)
    changed = flasher.install(runtime)
    verb = "is at work" if changed else "unchanged"
    return Flashed(destination, info.model, release, changed, 0, f"{release} {verb}")


def flash_boards(config: SshConfig, boards: Sequence[str], say: Callable[[str], None]) -> list[Flashed]:
    """One after the other; a board that fails does not hold up the next.

    Raises:
        Unsigned: no board would take the bundle.
    """
    signature = config.bundle.with_name(f"{config.bundle.name}.sig")
    if not signature.exists() and not config.allow_unsigned:
        raise Unsigned(
            f"{config.bundle}: no {signature.name} beside it; 'edgegraft keys sign' makes one, or pass --allow-unsigned"
        )
    done = []
    for board in boards:
        try:
            done.append(flash_board(config, board, say))
        except EdgegraftError as err:
            done.append(Flashed(board, exit_code=err.exit_code, message=str(err)))
    return done


class _Failed(Refusal):
    """The board's own edgegraft ended so."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code


class _Flasher:
    def __init__(self, connection: Connection, info: BoardInfo, config: SshConfig, say: Callable[[str], None]) -> None:
        self._connection = connection
        self._info = info
        self._config = config
        self._say = say
        self._root = "sudo" if info.root == "sudo" else ""

    def runtime(self) -> str:
        """Make it where it is not there; its key."""
        with tempfile.TemporaryDirectory() as scratch:
            info = self._info
            wheels = build_wheelhouse(Path(scratch), info.python, info.machine, glibc=info.glibc, on_line=self._say)
            digests = {wheel.name: sha256(wheel.read_bytes()).hexdigest() for wheel in wheels}
            key = runtime_key(info.program, info.python, wheels)
            there = self._run(_PREPARE, key).output
            if "complete" not in there.split():
                missing = [wheel for wheel in wheels if f"{digests[wheel.name]}  {wheel.name}" not in there]
                self._say(f"{self._connection.destination}: sending {len(missing)} wheels")
                for wheel in missing:
                    self._send(wheel, f"wheels/{wheel.name}")
                self._say(f"{self._connection.destination}: making the runtime")
        done = self._run(_RUNTIME, key, info.program)
        if done.code:
            raise RemoteError(f"{self._connection.destination}: the runtime cannot be made there: {done.last}")
        return key

    def enroll(self, runtime: str) -> None:
        """Have the board believe the root, where one is given."""
        if self._config.trust is not None:
            self._send(self._config.trust, "root.json")
            self._edgegraft(runtime, ["trust", "enroll", f"{_HOME}/root.json", *self._named(), "--json"])

    def install(self, runtime: str) -> bool:
        """The board's own installer; whether it changed anything."""
        config = self._config
        self._send(config.bundle, "bundle.egb")
        signature = config.bundle.with_name(f"{config.bundle.name}.sig")
        if signature.exists():
            self._send(signature, "bundle.egb.sig")
        else:
            self._run("rm -f -- " + shlex.quote(f"{_HOME}/bundle.egb.sig"))
        options = ["--allow-unsigned"] if config.allow_unsigned else []
        options += [f"--watch={config.watch_s:g}", *self._named(), f"{_HOME}/bundle.egb", "--json"]
        known = self._asked()
        service = list(config.service)
        if config.rules is not None:
            self._send(config.rules, "rules.toml")
            service.append(f"--rules={_HOME}/rules.toml")
        if not service and known is not None and known["runtime"] != runtime:
            service = known["service"]  # the service goes on with the new runtime
        if not service and known is None and not self._run(_HAS_UNIT, unit_name(config.unit or None)).output.strip():
            raise UsageError(f"{self._connection.destination}: the first time it needs --camera, e.g. --camera 0")
        # The same again must not even restart the service.
        asked = {"runtime": runtime, "service": service}
        if service and known != asked:
            self._say(f"{self._connection.destination}: installing the service")
            self._edgegraft(runtime, ["service", "install", *service, *options])
            self._run(_REMEMBER, f"asked-{config.unit}", stdin=json.dumps(asked).encode())
            return True
        self._say(f"{self._connection.destination}: installing")
        return bool(self._edgegraft(runtime, ["install", *options])["changed"])

    def _asked(self) -> dict[str, Any] | None:
        """With what the service was installed; None where it was not, or not by us."""
        text = self._run(f'cat "{_HOME}/$1" 2>/dev/null; true', f"asked-{self._config.unit}").output
        try:
            asked: dict[str, Any] = json.loads(text)
        except ValueError:
            return None
        return asked if isinstance(asked, dict) and asked.keys() == {"runtime", "service"} else None

    def _named(self) -> list[str]:
        return [f"--name={self._config.unit}"] if self._config.unit else []

    def _edgegraft(self, runtime: str, arguments: list[str]) -> dict[str, Any]:
        done = self._run(_EDGEGRAFT, runtime, stdin=json.dumps(arguments).encode())
        if done.code:
            words = done.last.partition(": ")[2] or done.last
            raise _Failed(f"{self._connection.destination}: {words}", done.code)
        try:
            answer: dict[str, Any] = json.loads(done.output)
        except ValueError as err:
            raise RemoteError(f"{self._connection.destination}: its answer cannot be read ({done.last})") from err
        return answer

    def _send(self, path: Path, name: str) -> None:
        """Whole, or the rest of it; the hash of the whole decides."""
        digest = sha256(path.read_bytes()).hexdigest()
        have = self._run(_HAVE, name, digest).output.strip()
        if have == "whole":
            return
        with path.open("rb") as stream:
            stream.seek(min(int(have) if have.isdigit() else 0, path.stat().st_size))
            rest = stream.read()
        done = self._run(_APPEND, name, digest, stdin=rest)
        if done.code == 98:
            raise NoSpace(f"{self._connection.destination}: {path.name} could not be stored ({done.last})")
        if done.code:
            raise RemoteError(
                f"{self._connection.destination}: {path.name} did not arrive whole ({printable(done.last)}); try again"
            )

    def _run(self, script: str, *arguments: str, stdin: bytes = b"") -> Answer:
        return self._connection.run(script, *arguments, stdin=stdin, root=self._root)
