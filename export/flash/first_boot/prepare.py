"""A card made ready: all is checked first, then the payload is written, and last what makes cloud-init use it."""

from __future__ import annotations

import json
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from device.bundle import open_bundle
from device.errors import UsageError
from device.releases.refusals import Unsigned, UnsuitableCard, Untrusted
from device.trust.choose import verifier_for
from device.trust.root import enroll
from device.trust.signature import signature_path
from export.errors import ExportError
from export.flash.board_places import SYSTEM_PYTHON, runtime_key
from export.flash.first_boot import board_script, seed
from export.flash.first_boot.card import FOLDER, Card, ImageCard, MountedCard
from export.flash.first_boot.system import System, recognise
from export.flash.wheelhouse import build_wheelhouse

# For folders, and for the log that the board leaves.
_SPARE_BYTES = 2 << 20
_SEEDS = ("network-config", "meta-data", "cmdline.txt", "user-data")
_MARK = f"{FOLDER}/prepared.json"


@dataclass(frozen=True, slots=True)
class CardConfig:
    """What to put on which card.

    Attributes:
        bundle: its signature lies beside it as ``<bundle>.sig``.
        boot, image: the mounted boot partition, or a raw image or disk; one of both.
        service: options of ``edgegraft service install``, each as ``--name=value``.
        unit: ``--name`` of the service, or "".
        rules: a file of decision rules to take along, or None.
        person: who may log in.
        wifi: to join, or None.
        trust: the root of trust to enrol, or None.
        allow_unsigned: let the board run a bundle without a signature.
        replace: throw away a user-data that nothing can be added to.
        python: of the system, where its card does not tell.
        wheelhouse: ready wheels, or None: they are fetched.
        dry_run: check everything, write nothing.
    """

    bundle: Path
    boot: Path | None = None
    image: Path | None = None
    service: tuple[str, ...] = ()
    unit: str = ""
    rules: Path | None = None
    person: seed.Person = field(default_factory=seed.Person)
    wifi: seed.Wifi | None = None
    trust: Path | None = None
    allow_unsigned: bool = False
    replace: bool = False
    python: str = ""
    wheelhouse: Path | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was done.

    Attributes:
        card: where.
        system: that was recognised, for people.
        python: of the system.
        instance: the fresh id by which cloud-init knows the card.
        payload_bytes, free_bytes: put onto it, and what it had free.
        written: False for a dry run.
    """

    card: str
    system: str
    python: str
    instance: str
    payload_bytes: int
    free_bytes: int
    written: bool


def prepare_card(config: CardConfig, say: Callable[[str], None] = lambda line: None) -> Prepared:
    """Check, then write. Cut off anywhere, it is done again from the start, with what the card held at first.

    Raises:
        UsageError: options that contradict one another, or are none.
        UnsuitableCard: the wrong disk, an unknown system, or too little space; nothing was written.
        Unsigned, Untrusted: a board would refuse the bundle.
        ExportError: the wheels cannot be had, or the card cannot be written.
    """
    if (config.boot is None) == (config.image is None):
        raise UsageError("give one of --boot DIR and --image FILE")
    seed.check_person(config.person)
    small = _small_files(config)
    card: Card = MountedCard(config.boot) if config.boot is not None else ImageCard(config.image or Path())
    system = recognise(card, config.python)
    instance = f"edgegraft-{uuid.uuid4()}"
    seeds = _seeds(card, config, instance, system)
    with tempfile.TemporaryDirectory() as scratch:
        wheels = _wheels(config, system, Path(scratch), say)
        small["options.json"] = _options(config, system, wheels)
        payload = {**{path.name: path.stat().st_size for path in wheels}, **{n: len(d) for n, d in small.items()}}
        cluster, free = card.room()
        need = sum(-(-size // cluster) * cluster for size in payload.values()) + _SPARE_BYTES
        if need > free:
            raise UnsuitableCard(
                f"{card.where}: {free / 1e6:.0f} MB free on the boot partition, {need / 1e6:.0f} MB are needed; "
                "take an image with a larger boot partition, or boot it and use: edgegraft flash B.egb --ssh user@board"
            )
        if not config.dry_run:
            say(f"{card.where}: {system.name}; writing {need / 1e6:.0f} MB")
            _write(card, small, wheels, seeds)
    return Prepared(card.where, system.name, system.python, instance, sum(payload.values()), free, not config.dry_run)


def _small_files(config: CardConfig) -> dict[str, bytes]:
    with open_bundle(config.bundle):
        pass  # checked from the first byte to the last
    signature = signature_path(config.bundle)
    if not signature.exists() and not config.allow_unsigned:
        raise Unsigned(f"{config.bundle}: no {signature.name} beside it; sign it, or pass --allow-unsigned")
    if signature.exists() and config.trust is None and not config.allow_unsigned:
        raise Untrusted(f"{config.bundle}: signed, but the board would not know by whom; pass --trust ROOT.json")
    _verify(config)
    files = {
        "first_boot.py": Path(board_script.__file__).read_bytes(),
        "bundle.egb": config.bundle.read_bytes(),
    }
    taken = {"bundle.egb.sig": signature if signature.exists() else None, "root.json": config.trust}
    for name, path in {**taken, "rules.toml": config.rules}.items():
        if path is not None:
            try:
                files[name] = path.read_bytes()
            except OSError as err:
                raise UsageError(f"{path}: {err.strerror}") from err
    return files


def _options(config: CardConfig, system: System, wheels: list[Path]) -> bytes:
    """What the board's part is told."""
    digests = [(wheel.name, sha256(wheel.read_bytes()).hexdigest()) for wheel in wheels]
    options = {
        "service": config.service,
        "name": config.unit,
        "allow_unsigned": config.allow_unsigned,
        "rules": sha256(config.rules.read_bytes()).hexdigest() if config.rules is not None else "",
        "short_wait": system.waits_for_links,
        "runtime": runtime_key(SYSTEM_PYTHON, system.python, digests),
        "prepared_at": int(time.time()),
    }
    return json.dumps(options).encode()


def _verify(config: CardConfig) -> None:
    """The board's own question, asked here with the same code: there nobody may be looking."""
    with tempfile.TemporaryDirectory() as scratch:
        trust = Path(scratch) / "trust"
        if config.trust is not None:
            try:
                enroll(trust, config.trust.read_bytes())
            except OSError as err:
                raise UsageError(f"--trust {config.trust}: {err.strerror}") from err
        content = config.bundle.read_bytes()
        verifier = verifier_for(trust, config.allow_unsigned)
        verifier.verify(config.bundle, sha256(content).hexdigest(), len(content))


def _wheels(config: CardConfig, system: System, scratch: Path, say: Callable[[str], None]) -> list[Path]:
    if config.wheelhouse is None:
        return build_wheelhouse(scratch, system.python, glibc=system.glibc, on_line=say)
    wheels = sorted(config.wheelhouse.glob("*.whl"))
    lacks = [name for name in ("edgegraft", "pip") if not any(each.name.startswith(f"{name}-") for each in wheels)]
    if lacks:
        raise ExportError(f"{config.wheelhouse}: no wheel of {' and '.join(lacks)} in it")
    return wheels


def _seeds(card: Card, config: CardConfig, instance: str, system: System) -> dict[str, bytes]:
    """What the seed's files will hold; those that stay as they are, are left out."""
    before = {name: _original(card, name) for name in _SEEDS}
    where = card.where
    user = seed.user_data(before["user-data"] or b"", config.person, config.wifi is not None, where, config.replace)
    after = {
        "network-config": seed.network_config(before["network-config"], config.wifi, where, not system.waits_for_links),
        "meta-data": seed.meta_data(before["meta-data"] or b"", instance, where),
        "cmdline.txt": seed.command_line(before["cmdline.txt"] or b"", instance, config.wifi, where),
        "user-data": user,
    }
    if before["cmdline.txt"] is None:
        after["cmdline.txt"] = None
    # One that an interrupted preparation has changed is put back.
    wanted = {name: data if data is not None else before[name] for name, data in after.items()}
    return {name: data for name, data in wanted.items() if data is not None and data != card.read(name)}


def _original(card: Card, name: str) -> bytes | None:
    kept = None if card.read(_MARK) is not None else card.read(f"{FOLDER}/before/{name}")
    return kept if kept is not None else card.read(name)


def _write(card: Card, small: dict[str, bytes], wheels: list[Path], seeds: dict[str, bytes]) -> None:
    originals = {name: data for name in _SEEDS if (data := _original(card, name)) is not None}
    card.remove(FOLDER if card.read(_MARK) is not None else f"{FOLDER}/wheelhouse")
    for name, data in originals.items():
        card.write(f"{FOLDER}/before/{name}", data)
    card.sync()
    digests = []
    for wheel in wheels:
        card.copy(wheel, f"{FOLDER}/wheelhouse/{wheel.name}")
        digests.append(f"{sha256(wheel.read_bytes()).hexdigest()}  wheelhouse/{wheel.name}")
    for name, data in small.items():
        card.write(f"{FOLDER}/{name}", data)
        digests.append(f"{sha256(data).hexdigest()}  {name}")
    card.write(f"{FOLDER}/files.sha256", ("\n".join(digests) + "\n").encode())
    card.sync()
    for name in _SEEDS:
        if name in seeds:
            card.write(name, seeds[name])
    card.write(_MARK, b"{}\n")
    card.sync()
    card.remove(f"{FOLDER}/before")
