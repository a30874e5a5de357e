"""50,000 damaged or forged bundles, signatures and roots: none is taken, none crashes, none fills the memory."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device.bundle import open_bundle
from device.errors import BundleError, ContractError
from device.releases.refusals import Refusal
from device.trust.root import enroll, parse_root
from device.trust.tuf_verifier import TufVerifier
from export.keys.folder import root_chain
from tests.bundles import reseal
from tests.signatures import make_keys, sign, verified

pytestmark = pytest.mark.long

# Together with what tests/faults has of hand-made ones: 50,000 and more.
_BUNDLES, _RESEALED, _SIGNATURES, _ROOTS = 20_000, 10_000, 12_000, 10_000
_GROWTH_LIMIT_MB = 200


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    before = _peak_mb()
    yield
    assert _peak_mb() - before < _GROWTH_LIMIT_MB


def test_mutated_bundles(colour_bundle: Path, tmp_path: Path) -> None:
    original = colour_bundle.read_bytes()
    taken = _taken(original, _BUNDLES, 6, lambda data: _opened(tmp_path / "b.egb", data))
    assert taken == []


def test_mutated_bundles_with_the_checksum_made_right(colour_bundle: Path, tmp_path: Path) -> None:
    """The parser itself: what it takes says the same as the original, for no byte of a manifest or model is free."""
    original = colour_bundle.read_bytes()
    with open_bundle(colour_bundle) as bundle:
        manifest = bundle.manifest
        files = {entry.name: bundle.read(entry) for entry in manifest.files()}

    def differs(data: bytes) -> bool:
        path = tmp_path / "b.egb"
        path.write_bytes(reseal(data))
        with open_bundle(path) as opened:
            same_files = all(opened.read(entry) == files.get(entry.name) for entry in opened.manifest.files())
            return not same_files

    assert _taken(original, _RESEALED, 7, differs) == []


def test_mutated_signatures(colour_bundle: Path, tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "keys")
    bundle = tmp_path / "b.egb"
    bundle.write_bytes(colour_bundle.read_bytes())
    signature = sign(bundle, keys)
    enroll(tmp_path / "trust", root_chain(keys)[0])
    verifier = TufVerifier(tmp_path / "trust")
    known = verified(verifier, bundle)

    def accepted(data: bytes) -> bool:
        signature.write_bytes(data)
        # A changed blank or a root that is known already changes nothing of what is signed.
        return verified(verifier, bundle) != known

    assert _taken(signature.read_bytes(), _SIGNATURES, 8, accepted) == []


def test_mutated_roots(tmp_path: Path) -> None:
    original = root_chain(make_keys(tmp_path / "keys"))[0]
    signed = parse_root(original).signed

    def accepted(data: bytes) -> bool:
        return parse_root(data).signed != signed

    assert _taken(original, _ROOTS, 9, accepted) == []


def _opened(path: Path, data: bytes) -> bool:
    path.write_bytes(data)
    with open_bundle(path):
        return True


def _taken(original: bytes, count: int, seed: int, accepted: Callable[[bytes], bool]) -> list[str]:
    """Kinds of mutation that got through; whatever else is raised fails the test."""
    chance = random.Random(seed)
    taken = []
    for number in range(count):
        kind = chance.choice(_KINDS)
        data = kind(original, chance)
        if data == original:
            continue
        try:
            if accepted(data):
                taken.append(f"{kind.__name__} {number}")
        except (Refusal, BundleError, ContractError):
            pass
    return taken


def _flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _truncate(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _cut_out(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.randrange(1, 4096) :]


def _insert(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + chance.randbytes(chance.randrange(1, 64)) + data[start:]


def _swap(data: bytes, chance: random.Random) -> bytes:
    first, second = sorted(chance.sample(range(len(data) - 64), 2))
    changed = bytearray(data)
    changed[first : first + 32], changed[second : second + 32] = data[second : second + 32], data[first : first + 32]
    return bytes(changed)


def _zero(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    length = min(len(data) - start, chance.choice((1, 4, 512, 4096)))
    return data[:start] + bytes(length) + data[start + length :]


def _digits(data: bytes, chance: random.Random) -> bytes:
    """Another number: sizes, versions, offsets, years."""
    places = [index for index, byte in enumerate(data[:20_000]) if 48 <= byte <= 57]
    changed = bytearray(data)
    changed[chance.choice(places)] = chance.randrange(48, 58)
    return bytes(changed)


_KINDS = (_flip, _truncate, _cut_out, _insert, _swap, _zero, _digits)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
