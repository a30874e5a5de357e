"""A machine's own choice among a bundle's variants: measured once, kept, and measured again when something changed."""

from __future__ import annotations

import hashlib
import os
import platform
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from device.bench import machine_model
from device.bundle import Bundle
from device.choice import Candidate, choose, explain
from device.contract import Contract, Manifest, Variant, manifest_bytes, require_schema
from device.engines import Accelerator, available, not_installed
from device.engines.factory import accelerators, default_threads
from device.engines.trial import Golden, time_variant
from device.errors import ContractError, EngineError

_SCHEMA = 1
_FILE_LIMIT_BYTES = 256 * 1024
# A hang is told from a slow board; TensorRT tries out kernels for minutes before the first answer.
TIME_LIMIT_S = 60.0
_BUILD_LIMIT_S = 900.0
# Once one is right, what is left of the first start's patience decides whether others are tried.
_PATIENCE_S = 30.0
# Fewer threads leave cores to the camera and the rest of the board, where more gain nothing to speak of.
_WORTH_A_THREAD = 1.10
_RUNTIMES = ("edgegraft", "ai-edge-litert", "onnxruntime", "onnxruntime-gpu")
_ACCELERATOR_DEVICES = ("/dev/apex_0", "/dev/nvidia0", "/dev/nvhost-gpu")

Threads = Annotated[int, Meta(ge=1, le=256)]
Milliseconds = Annotated[float, Meta(gt=0.0)]


class Tried(Contract, frozen=True):
    """One variant in one place. ``latency_ms`` is the median of one classification; without it ``error`` says why."""

    variant: str
    accelerator: Accelerator
    latency_ms: Milliseconds | None = None
    error: str = ""


class Chosen(Contract, frozen=True):
    """What to run here.

    Attributes:
        variant: by name.
        accelerator: where.
        threads: of the runtime on the CPU.
        latency_ms: of one classification so, its median.
        tried: everything that was, in the bundle's order of preference.
    """

    variant: str
    accelerator: Accelerator
    threads: Threads
    latency_ms: Milliseconds
    tried: tuple[Tried, ...]


class _Kept(Contract, frozen=True):
    schema: int
    key: str
    chosen: Chosen


def default_state_folder() -> Path:
    """Where this user's state is kept: a systemd service's own folder, else the XDG one."""
    service = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if service:
        return Path(service)
    home = os.environ.get("XDG_STATE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state") / "edgegraft"


def cache_folder(state: Path) -> Path:
    """Where TensorRT keeps what it built."""
    return state / "tensorrt"


def choose_here(
    bundle: Bundle,
    state: Path,
    tell: Callable[[str], None] = lambda line: None,
    again: bool = False,
    time_limit_s: float = TIME_LIMIT_S,
) -> Chosen:
    """The choice that is kept, or else: prove and time every variant, choose by the bundle's rule, and keep it.

    Args:
        bundle: open.
        state: a folder of this user's; made when there is something to keep.
        tell: takes a line before something that takes time, and one with the outcome.
        again: measure although a choice is kept.
        time_limit_s: after which a try that hangs is ended.

    Raises:
        BundleError: the bundle's files are not what its manifest says.
        EngineError: no variant gives the right answers here; the message says why of each.
    """
    # A release brings the choice that was made when it was tried; its folder is not the service's to write.
    kept = None if again else kept_choice(bundle.manifest, state) or kept_choice(bundle.manifest, bundle.path.parent)
    if kept is not None:
        return kept
    _require_a_runtime(bundle)
    started = time.monotonic()
    chosen = _measure(bundle, _Trials(bundle, cache_folder(state), time_limit_s), tell)
    tell(
        f"chosen in {time.monotonic() - started:.0f} s: {chosen.variant} on {chosen.accelerator.value}, "
        f"{chosen.threads} thread(s), {chosen.latency_ms:.1f} ms ({explain(bundle.manifest.choice)})"
    )
    try:
        _write(_path(bundle.manifest, state), _Kept(schema=_SCHEMA, key=_key(bundle.manifest), chosen=chosen))
    except OSError as err:
        tell(f"the choice cannot be kept ({err}); it is made again at the next start")
    return chosen


def kept_choice(manifest: Manifest, state: Path) -> Chosen | None:
    """The choice that is kept; None where there is none for this bundle on this machine, or what lies there is none.

    Args:
        manifest: the bundle's.
        state: see ``choose_here``.
    """
    path = _path(manifest, state)
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > _FILE_LIMIT_BYTES:
            return None
        data = path.read_bytes()
        require_schema(data, _SCHEMA, path.name, "")
        kept = msgspec.json.decode(data, type=_Kept)
        manifest.variant(kept.chosen.variant)
    except (OSError, ContractError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return kept.chosen if kept.key == _key(manifest) else None


def _path(manifest: Manifest, state: Path) -> Path:
    return state / "choices" / f"{manifest.name}.json"


def _measure(bundle: Bundle, trials: _Trials, tell: Callable[[str], None]) -> Chosen:
    started = time.monotonic()
    tried: list[Tried] = []
    about = bundle.manifest
    for variant, accelerator in _places(bundle):
        if len(tried) == 1 and tried[0].latency_ms:  # said only once it is sure that an answer comes of it
            tell(f"{about.name} {about.version} is new on this machine: trying its variants")
        if accelerator is Accelerator.TENSORRT:
            tell(f"TensorRT builds {variant.name} for this GPU; that takes minutes, once")
        enough = time.monotonic() - started > _PATIENCE_S and any(one.latency_ms for one in tried)
        tried.append(_passed_over(variant, accelerator) if enough else trials.one(variant, accelerator))
    best = _best(bundle, tried)
    threads, latency_ms = trials.threads(best)
    return Chosen(
        variant=best.variant, accelerator=best.accelerator, threads=threads, latency_ms=latency_ms, tried=tuple(tried)
    )


class _Trials:
    """Tries of a bundle's variants in processes of their own."""

    def __init__(self, bundle: Bundle, cache: Path, time_limit_s: float) -> None:
        self._bundle = bundle
        self._cache = cache
        self._time_limit_s = time_limit_s
        self._inputs, self._expected = bundle.golden()

    def one(self, variant: Variant, accelerator: Accelerator) -> Tried:
        """With as many threads as would be used untold."""
        try:
            (latency_ms,) = self._times_ms(variant, accelerator, (default_threads(),))
        except EngineError as err:
            return Tried(variant=variant.name, accelerator=accelerator, error=str(err))
        return Tried(variant=variant.name, accelerator=accelerator, latency_ms=latency_ms)

    def threads(self, best: Tried) -> tuple[int, float]:
        """How many threads serve the best one, and its milliseconds with them."""
        untold = (default_threads(), best.latency_ms or 0.0)
        if best.accelerator is not Accelerator.CPU or default_threads() == 1:
            return untold
        counts = tuple(range(1, default_threads() + 1))
        try:
            times_ms = self._times_ms(self._bundle.manifest.variant(best.variant), best.accelerator, counts)
        except EngineError:
            return untold  # it was right a moment ago; what ails it shows when it is opened
        return fewest_threads(dict(zip(counts, times_ms, strict=True)))

    def _times_ms(self, variant: Variant, accelerator: Accelerator, counts: tuple[int, ...]) -> tuple[float, ...]:
        golden = Golden(self._inputs, self._expected[variant.name], self._bundle.manifest.golden.tolerance)
        limit_s = _BUILD_LIMIT_S if accelerator is Accelerator.TENSORRT else self._time_limit_s
        return time_variant(
            variant, self._bundle.model(variant), golden, counts, accelerator, self._cache, time_limit_s=limit_s
        )


def fewest_threads(latency_ms: Mapping[int, float]) -> tuple[int, float]:
    """The smallest count of threads that is within 10 % of the fastest, and its milliseconds."""
    fastest = min(latency_ms.values())
    return min((count, ms) for count, ms in latency_ms.items() if ms <= _WORTH_A_THREAD * fastest)


def _places(bundle: Bundle) -> Iterator[tuple[Variant, Accelerator]]:
    for variant in bundle.manifest.variants:
        if available(variant.engine):
            for accelerator in accelerators(variant.engine, bundle.model(variant)):
                yield variant, accelerator


def _require_a_runtime(bundle: Bundle) -> None:
    engines = {variant.engine for variant in bundle.manifest.variants}
    if not any(available(engine) for engine in engines):
        raise EngineError(f"{bundle.path}: no variant can run, {'; '.join(sorted(map(not_installed, engines)))}")


def _passed_over(variant: Variant, accelerator: Accelerator) -> Tried:
    return Tried(variant=variant.name, accelerator=accelerator, error=f"not tried: {_PATIENCE_S:.0f} s were over")


def _best(bundle: Bundle, tried: Sequence[Tried]) -> Tried:
    manifest = bundle.manifest
    candidates = [
        Candidate(str(number), one.latency_ms, manifest.variant(one.variant).measured.accuracy)
        for number, one in enumerate(tried)
        if one.latency_ms is not None
    ]
    name = choose(candidates, manifest.choice)
    if name is None:
        reasons = "; ".join(f"{one.variant} on {one.accelerator.value}: {one.error}" for one in tried)
        raise EngineError(f"{bundle.path}: no variant gives the right answers here: {reasons}")
    return tried[int(name)]


def _key(manifest: Manifest) -> str:
    """Another bundle, another machine or another version of what runs it has another key."""
    content = hashlib.sha256(manifest_bytes(manifest)).hexdigest()  # it lists the sha256 of every file
    about = {
        "bundle": content,
        "machine": machine_model(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "runtimes": {name: _version(name) for name in _RUNTIMES},
        "devices": [device for device in _ACCELERATOR_DEVICES if Path(device).exists()],
    }
    return hashlib.sha256(msgspec.json.encode(about, order="sorted")).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _write(path: Path, kept: _Kept) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        # A release's choice is made by root and read by the service, whatever the umask of whoever installs.
        path.parent.chmod(0o755)
        with partial.open("wb") as stream:
            os.fchmod(stream.fileno(), 0o644)
            stream.write(msgspec.json.format(msgspec.json.encode(kept), indent=1))
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
