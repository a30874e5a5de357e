"""A bundle put to work on a board over SSH: runtime, trust, bundle, and the board's own installer has the last word.

``waves.py`` does this on many.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device.errors import EdgegraftError, RemoteError, UsageError
from device.inventory import Board
from device.releases.refusals import HostKeyRefused, NoSpace, ReadOnly, Refusal
from device.service import unit_name
from device.ssh import Answer, Connection
from export.flash.board_places import HOME
from export.flash.board_scripts import (
    EDGEGRAFT,
    MAKE_RUNTIME,
    NOT_STORED,
    NOT_WHOLE,
    PREPARE,
    REMEMBER,
    STORE,
    USE_RUNTIME,
)
from export.flash.board_state import BoardState, parse_state
from export.flash.parcels import Parcel, Parcels
from export.flash.probe import BoardInfo, probe

_BUNDLE, _SIGNATURE, _ROOT, _RULES = "bundle.egb", "bundle.egb.sig", "root.json", "rules.toml"


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
        changed = flasher.flash()
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
        self._mark = f"asked-{board.unit}"

    def flash(self) -> bool:
        """Everything; whether the board changed anything."""
        wheels = self._parcels.wheels(self._info, self._say)
        files = self._files()
        there = self._prepared(wheels.key, files)
        if there.asked is None and not self._board.service:
            raise UsageError(f"{self._connection.destination}: the first time it needs --camera, e.g. --camera 0")
        wanted = [] if there.complete else [self._parcels.parcel(path, f"wheels/{path.name}") for path in wheels.paths]
        wanted += files
        # A part that a power cut has spoilt is found by the hash of the whole, and then there is none.
        if not self._send(wanted, there, last=False):
            self._send(wanted, self._prepared(wheels.key, files), last=True)
        if not there.complete:
            self._say(f"{self._connection.destination}: making the runtime")
            self._stored(self._run(MAKE_RUNTIME, wheels.key, self._info.program), "the runtime", "cannot be made there")
        if self._config.trust is not None:
            self._edgegraft(wheels.key, ["trust", "enroll", f"{HOME}/{_ROOT}", *self._named(), "--json"])
        changed = self._install(wheels.key, there.asked)
        if there.runtime != wheels.key:
            used = self._run(USE_RUNTIME, wheels.key, there.runtime)
            self._stored(used, "the runtime", "is at work, but not under /usr/local/bin")
        return changed

    def _files(self) -> list[Parcel]:
        signature = self._config.bundle.with_name(f"{self._config.bundle.name}.sig")
        wanted = {
            _BUNDLE: self._config.bundle,
            _SIGNATURE: signature if signature.exists() else None,
            _ROOT: self._config.trust,
            _RULES: self._board.rules,
        }
        return [self._parcels.parcel(path, name) for name, path in wanted.items() if path is not None]

    def _prepared(self, runtime: str, files: Sequence[Parcel]) -> BoardState:
        signed = "signed" if any(each.name == _SIGNATURE for each in files) else "unsigned"
        done = self._run(PREPARE, runtime, self._mark, unit_name(self._board.unit or None), signed)
        self._require_stored(done, "what is sent")
        return parse_state(done.output)

    def _send(self, files: Sequence[Parcel], there: BoardState, last: bool) -> bool:
        """What the board lacks, in one go; False where it did not arrive whole, and another try may help."""
        missing = [each for each in files if there.hashes.get(each.name) != each.sha256]
        if not missing:
            return True
        rests = [(each.path, min(there.parts.get(each.part, 0), each.path.stat().st_size)) for each in missing]
        wheels = sum(each.name.startswith("wheels/") for each in missing)
        if wheels:
            self._say(f"{self._connection.destination}: sending {wheels} wheels")
        arguments = [
            word
            for each, (path, start) in zip(missing, rests, strict=True)
            for word in (each.name, each.part, each.sha256, str(path.stat().st_size - start))
        ]
        done = self._run(STORE, *arguments, stdin=self._parcels.joined(rests))
        if done.code == NOT_WHOLE and not last:
            return False
        what = missing[0].path.name if len(missing) == 1 else f"{len(missing)} files"
        self._stored(done, what, "did not arrive whole")
        return True

    def _install(self, runtime: str, before: dict[str, Any] | None) -> bool:
        """The board's own installer; whether it changed anything."""
        config, board = self._config, self._board
        options = ["--allow-unsigned"] if config.allow_unsigned else []
        options += [f"--watch={config.watch_s:g}", *self._named(), f"{HOME}/{_BUNDLE}", "--json"]
        service = [*board.service, *([f"--rules={HOME}/{_RULES}"] if board.rules is not None else [])]
        rules = self._parcels.digest(board.rules) if board.rules is not None else ""
        # Where nothing is asked it is as it was; a new runtime is put to work with it.
        asked = (
            {"runtime": runtime, "service": service, "rules": rules}
            if service
            else {**(before or {}), "runtime": runtime}
        )
        # The same again must not even restart the service.
        if asked.get("service") and before != asked:
            self._say(f"{self._connection.destination}: installing the service")
            self._edgegraft(runtime, ["service", "install", *asked["service"], *options])
            self._run(REMEMBER, self._mark, stdin=json.dumps(asked).encode())
            return True
        self._say(f"{self._connection.destination}: installing")
        return bool(self._edgegraft(runtime, ["install", *options])["changed"])

    def _named(self) -> list[str]:
        return [f"--name={self._board.unit}"] if self._board.unit else []

    def _edgegraft(self, runtime: str, arguments: list[str]) -> dict[str, Any]:
        done = self._run(EDGEGRAFT, runtime, stdin=json.dumps(arguments).encode())
        if done.code:
            words = done.last.partition(": ")[2] or done.last
            raise _Failed(f"{self._connection.destination}: {words}", done.code)
        try:
            answer: dict[str, Any] = json.loads(done.output)
        except ValueError as err:
            raise RemoteError(f"{self._connection.destination}: its answer cannot be read ({done.last})") from err
        return answer

    def _stored(self, done: Answer, what: str, failure: str) -> None:
        self._require_stored(done, what)
        if done.code:
            raise RemoteError(f"{self._connection.destination}: {what} {failure} ({done.last}); try again")

    def _require_stored(self, done: Answer, what: str) -> None:
        """Raises NoSpace or ReadOnly where a script could not write, as the board's own installer would."""
        words = done.last.lower()
        if done.code != NOT_STORED and not (done.code and "no space left" in words):
            return
        kind = ReadOnly if "read-only" in words else NoSpace
        raise kind(f"{self._connection.destination}: {what} could not be stored ({done.last}); what ran there runs on")

    def _run(self, script: str, *arguments: str, stdin: bytes | Path = b"") -> Answer:
        return self._connection.run(script, *arguments, stdin=stdin, root=self._root)
