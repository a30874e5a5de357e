"""A bundle put to work on a board over SSH: runtime, trust, bundle, and the board's own installer has the last word.

``waves.py`` does this on many.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device.console import printable
from device.errors import EdgegraftError, RemoteError, UsageError
from device.releases.refusals import HostKeyRefused, NoSpace, ReadOnly, Refusal
from device.service import unit_name
from device.ssh import Answer, Connection
from export.flash.board_places import HOME, RUNTIMES
from export.flash.inventory import Board
from export.flash.parcels import Parcels
from export.flash.probe import BoardInfo, probe

_HOME = HOME
_RUNTIMES = RUNTIMES
_NEVER = "never"
_NOT_STORED = 98
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
# A connection costs more than all that it does here.
_ASKED = f"""\
cd {_HOME} || exit 98
[ "$2" = signed ] || rm -f bundle.egb.sig
cat "$1" 2>/dev/null && exit
[ -e "/etc/systemd/system/$3.service" ] && echo '{{}}' || echo {_NEVER}
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
echo "was $(readlink edgegraft || true)"
ln -sfn "$place/bin/edgegraft" edgegraft.new && mv -T edgegraft.new edgegraft
"""
# The whole service is on the disk before it counts as installed. For root only: a camera's address may hold a secret.
_REMEMBER = f"""\
umask 077 && sync && cd {_HOME} && cat >"$1.new" && sync "$1.new" && mv "$1.new" "$1" && sync -f .
"""
# Kept: the one at work, the one before, and whatever a unit of ours names; another service may be older.
_SWEEP = f"""\
cd {_RUNTIMES} || exit 0
for each in *; do
    [ -d "$each" ] && [ "$each" != "$1" ] && [ "$each" != "$2" ] || continue
    grep -rqsF "{_RUNTIMES}/$each/" /etc/systemd/system/edgegraft* || rm -rf "./$each"
done
"""
# Arguments come on standard input: a process list shows none of them.
_PROGRAM = "import json, sys; from device.cli import main; sys.exit(main(json.load(sys.stdin)))"
_WAS = re.compile(rf"^was {_RUNTIMES}/([0-9a-f]{{16}})/", re.MULTILINE)
_EDGEGRAFT = f'exec {_RUNTIMES}/"$1"/bin/python -c "{_PROGRAM}"'


@dataclass(frozen=True, slots=True)
class SshConfig:
    """What to put on boards.

    Attributes:
        bundle: its signature lies beside it as ``<bundle>.sig``.
        release: its name and version.
        trust: root metadata to enrol, or None.
        allow_unsigned: let the board take a bundle without a signature.
        watch_s: for how long the board watches the release before it is kept.
        dry_run: look, and change nothing.
    """

    bundle: Path
    release: str
    trust: Path | None = None
    allow_unsigned: bool = False
    watch_s: float = 40.0
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Flashed:
    """How it went on one board.

    Attributes:
        board: its destination.
        model: what it says that it is.
        release: name and version that it was given.
        changed: something was changed there.
        exit_code: that of ``device.releases.refusals``, 0 where it is well.
        message: for people.
        reached: it answered; else nothing is known of it.
        wave: in which it was, from 1 on.
    """

    board: str
    model: str = ""
    release: str = ""
    changed: bool = False
    exit_code: int = 0
    message: str = ""
    reached: bool = True
    wave: int = 1

    @property
    def line(self) -> str:
        """For people."""
        return f"{self.board}: {self.message.removeprefix(f'{self.board}: ')}"


def flash_board(
    config: SshConfig, board: Board, parcels: Parcels, say: Callable[[str], None] = lambda line: None
) -> Flashed:
    """One board, from looking at it to its own verdict; a refusal is an answer too. Run again it changes nothing."""
    connection = Connection(board.destination)
    try:
        info = probe(connection)
    except EdgegraftError as err:
        away = isinstance(err, RemoteError | HostKeyRefused)
        return Flashed(board.destination, exit_code=err.exit_code, message=str(err), reached=not away)
    say(f"{board.destination}: {info.model}, {info.system}, Python {info.python}, {info.free_mb} MB free")
    if config.dry_run:
        message = f"can take {config.release}; nothing was changed"
        return Flashed(board.destination, info.model, config.release, message=message)
    flasher = _Flasher(connection, info, config, board, parcels, say)
    try:
        runtime = flasher.runtime()
        flasher.enroll(runtime)
        changed = flasher.install(runtime)
        flasher.sweep(runtime)
    except EdgegraftError as err:
        return Flashed(board.destination, info.model, config.release, exit_code=err.exit_code, message=str(err))
    verb = "is at work" if changed else "unchanged"
    return Flashed(board.destination, info.model, config.release, changed, 0, f"{config.release} {verb}")


class _Failed(Refusal):
    """The board's own edgegraft ended so."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code


class _Flasher:
    def __init__(
        self,
        connection: Connection,
        info: BoardInfo,
        config: SshConfig,
        board: Board,
        parcels: Parcels,
        say: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._info = info
        self._config = config
        self._board = board
        self._parcels = parcels
        self._say = say
        self._root = "sudo" if info.root == "sudo" else ""
        self._before = ""

    def runtime(self) -> str:
        """Make it where it is not there; its key."""
        wheels = self._parcels.wheels(self._info, self._say)
        prepared = self._run(_PREPARE, wheels.key)
        self._require_stored(prepared, "what is sent")
        there = prepared.output
        if "complete" not in there.split():
            missing = [path for path in wheels.paths if f"{self._parcels.digest(path)}  {path.name}" not in there]
            self._say(f"{self._connection.destination}: sending {len(missing)} wheels")
            for path in missing:
                self._send(path, f"wheels/{path.name}")
            self._say(f"{self._connection.destination}: making the runtime")
        done = self._run(_RUNTIME, wheels.key, self._info.program)
        if done.code:
            raise RemoteError(f"{self._connection.destination}: the runtime cannot be made there: {done.last}")
        found = _WAS.search(done.output)
        self._before = found[1] if found else ""
        return wheels.key

    def sweep(self, runtime: str) -> None:
        """Remove runtimes that nothing needs, where there was another one before."""
        if self._before != runtime:
            self._run(_SWEEP, runtime, self._before)

    def enroll(self, runtime: str) -> None:
        """Have the board believe the root, where one is given."""
        if self._config.trust is not None:
            self._send(self._config.trust, "root.json")
            self._edgegraft(runtime, ["trust", "enroll", f"{_HOME}/root.json", *self._named(), "--json"])

    def install(self, runtime: str) -> bool:
        """The board's own installer; whether it changed anything."""
        config, board = self._config, self._board
        self._send(config.bundle, "bundle.egb")
        signature = config.bundle.with_name(f"{config.bundle.name}.sig")
        if signature.exists():
            self._send(signature, "bundle.egb.sig")
        mark = f"asked-{board.unit}"
        before = self._asked(mark, "signed" if signature.exists() else "unsigned")
        options = ["--allow-unsigned"] if config.allow_unsigned else []
        options += [f"--watch={config.watch_s:g}", *self._named(), f"{_HOME}/bundle.egb", "--json"]
        service = list(board.service)
        if board.rules is not None:
            self._send(board.rules, "rules.toml")
            service.append(f"--rules={_HOME}/rules.toml")
        rules = self._parcels.digest(board.rules) if board.rules is not None else ""
        asked = {"runtime": runtime, "service": service, "rules": rules}
        if not service:
            if before is None:
                raise UsageError(f"{self._connection.destination}: the first time it needs --camera, e.g. --camera 0")
            # As it is there; a new runtime is put to work with it.
            asked = {**before, "runtime": runtime}
        # The same again must not even restart the service.
        if asked.get("service") and before != asked:
            self._say(f"{self._connection.destination}: installing the service")
            self._edgegraft(runtime, ["service", "install", *asked["service"], *options])
            self._run(_REMEMBER, mark, stdin=json.dumps(asked).encode())
            return True
        self._say(f"{self._connection.destination}: installing")
        return bool(self._edgegraft(runtime, ["install", *options])["changed"])

    def _asked(self, mark: str, signed: str) -> dict[str, Any] | None:
        """With what the service was installed, empty where nobody remembers; None where there is none."""
        text = self._run(_ASKED, mark, signed, unit_name(self._board.unit or None)).output.strip()
        if text == _NEVER:
            return None
        try:
            asked: dict[str, Any] = json.loads(text)
        except ValueError:
            return {}
        return asked if isinstance(asked, dict) else {}

    def _named(self) -> list[str]:
        return [f"--name={self._board.unit}"] if self._board.unit else []

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
        digest = self._parcels.digest(path)
        have = self._run(_HAVE, name, digest).output.strip()
        if have == "whole":
            return
        with path.open("rb") as stream:
            stream.seek(min(int(have) if have.isdigit() else 0, path.stat().st_size))
            rest = stream.read()
        done = self._run(_APPEND, name, digest, stdin=rest)
        self._require_stored(done, path.name)
        if done.code:
            raise RemoteError(
                f"{self._connection.destination}: {path.name} did not arrive whole ({printable(done.last)}); try again"
            )

    def _require_stored(self, done: Answer, what: str) -> None:
        """Raises NoSpace or ReadOnly where a script could not write, as the board's own installer would."""
        if done.code != _NOT_STORED:
            return
        kind = ReadOnly if "read-only" in done.last.lower() else NoSpace
        raise kind(f"{self._connection.destination}: {what} could not be stored ({done.last}); what ran there runs on")

    def _run(self, script: str, *arguments: str, stdin: bytes = b"") -> Answer:
        return self._connection.run(script, *arguments, stdin=stdin, root=self._root)
