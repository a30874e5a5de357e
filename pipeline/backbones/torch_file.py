"""Read the tensors of a PyTorch state dict (`torch.save`, legacy or zip) without PyTorch.

A `.pth` file is a pickle and a pickle is a program. This reader runs none: it accepts only the opcodes and
the few names that `torch.save` writes for a state dict, and checks every size against the file's own size
before it allocates. Formats: torch/serialization.py, `_legacy_save` and `_save`.
"""

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from pipeline.errors import WeightsError

Tensors = dict[str, np.ndarray]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_ZIP_MAGIC = b"PK\x03\x04"
_MAX_PICKLE_BYTES = 8 * 2**20
# hashing a tuple nested some 60,000 deep overflows the C stack; a state dict needs about four tuples a tensor
_MAX_TUPLES = 20_000

_DTYPES = {
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "BoolStorage": "|b1",
}
_TUPLES = {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_MEMO_WRITES = {"BINPUT", "LONG_BINPUT"}
_LITERALS = {"NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}
_CONTAINERS = {"EMPTY_DICT", "EMPTY_LIST", "SETITEM", "SETITEMS", "APPEND", "APPENDS"}
_CONTROL = {"PROTO", "STOP", "MARK", "BINGET", "LONG_BINGET", "GLOBAL", "REDUCE", "BUILD", "BINPERSID"}
# protocol 2 only: the length prefixes of later protocols make the C unpickler allocate before it reads
_OPCODES = _TUPLES | _MEMO_WRITES | _LITERALS | _CONTAINERS | _CONTROL
_DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class _Storage:
    """One flat buffer, named but not yet read."""

    key: str
    dtype: np.dtype[Any]
    elements: int

    @property
    def size_bytes(self) -> int:
        return self.elements * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class _TensorView:
    """A strided window on a storage; offset, shape and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.strides)
        if any(type(number) is not int or number < 0 for number in numbers) or len(self.shape) != len(self.strides):
            _refuse("a tensor's shape, strides or offset are not counts")
        reach = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True)) + 1
        # an expanded tensor (stride 0) would make a small file ask for any amount of memory
        if self.elements and (reach > self.storage.elements or self.elements > self.storage.elements):
            _refuse(f"a tensor of shape {self.shape} does not fit its storage of {self.storage.elements} elements")

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    def read(self, buffer: bytes) -> np.ndarray:
        """Copy the window out of its storage's bytes."""
        dtype = self.storage.dtype
        if not self.elements:
            return np.zeros(self.shape, dtype)
        flat = np.frombuffer(buffer, dtype, offset=self.offset * dtype.itemsize)
        strides = [step * dtype.itemsize for step in self.strides]
        return np.array(np.lib.stride_tricks.as_strided(flat, self.shape, strides), order="C")


class _RebuildTensor:
    """Stands in for torch._utils._rebuild_tensor_v2: keep the geometry, drop gradients and hooks."""

    __slots__ = ()  # nothing a BUILD opcode could overwrite

    def __call__(self, storage: object, offset: int, shape: Any, strides: Any, *_: object) -> _TensorView:
        if not isinstance(storage, _Storage):
            _refuse("a tensor without a storage")
        return _TensorView(storage, offset, tuple(shape), tuple(strides))


class _RebuildParameter:
    """Stands in for torch._utils._rebuild_parameter: a parameter is its tensor."""

    __slots__ = ()

    def __call__(self, data: object, *_: object) -> object:
        return data


_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    **{("torch", storage): storage for storage in _DTYPES},
}


class _StateDictUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _GLOBALS:
            _refuse(f"it asks for {module}.{name}, which no state dict needs")
        return _GLOBALS[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        # ("storage", type, key, device, elements), and in the legacy format a sixth: None unless a view
        kind, storage, key, _device, elements, *view = pid
        if kind != "storage" or any(view) or type(key) is not str or type(elements) is not int or elements < 0:
            _refuse("it has a storage that this reader does not know")
        return _Storage(key, np.dtype(_DTYPES[storage]), elements)


def read_state_dict(path: Path) -> Tensors:
    """Read every tensor of a state dict.

    path: a file written by `torch.save(model.state_dict(), path)`, in the zip or the legacy format.

    Returns: tensor name -> array, in the file's order, C-contiguous, little-endian, PyTorch's axis order.

    Raises:
        WeightsError: when the file cannot be read, is truncated, or holds anything but a plain state dict.
    """
    try:
        with path.open("rb") as file:
            size_bytes = path.stat().st_size
            is_zip = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
            file.seek(0)
            return _read_zip(file, size_bytes) if is_zip else _read_legacy(file, size_bytes)
    except _DAMAGE as err:
        raise WeightsError(
            f"{path}: not a PyTorch state dict that can be read ({err or type(err).__name__}); "
            "expected the file that torch.save(model.state_dict(), FILE) writes; download it again"
        ) from err


def _refuse(why: str) -> NoReturn:
    raise pickle.UnpicklingError(why)


def _read_zip(file: BinaryIO, size_bytes: int) -> Tensors:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        [pickle_name] = [name for name in members if name.endswith("/data.pkl")]
        root = pickle_name.removesuffix("data.pkl")
        if any(info.compress_type != zipfile.ZIP_STORED or info.file_size > size_bytes for info in members.values()):
            _refuse("it has compressed or oversized entries")
        if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
            _refuse("it is not little-endian")
        views = _views(_unpickle(io.BytesIO(archive.read(pickle_name))), size_bytes)
        buffers = {}
        for key, storage in _storages(views).items():
            buffers[key] = archive.read(f"{root}data/{key}")
            if len(buffers[key]) != storage.size_bytes:
                _refuse(f"storage {key} has {len(buffers[key])} bytes, expected {storage.size_bytes}")
    return {name: view.read(buffers[view.storage.key]) for name, view in views.items()}


def _read_legacy(file: BinaryIO, size_bytes: int) -> Tensors:
    if _unpickle(file) != _LEGACY_MAGIC or _unpickle(file) != _LEGACY_PROTOCOL:
        _refuse("it has no PyTorch magic number")
    if _unpickle(file).get("little_endian") is not True:
        _refuse("it is not little-endian")
    views = _views(_unpickle(file), size_bytes)
    storages = _storages(views)
    buffers = {}
    for key in _unpickle(file):
        storage = storages[key]
        [elements] = struct.unpack("<q", file.read(8))
        buffers[key] = file.read(storage.size_bytes)
        if elements != storage.elements or len(buffers[key]) != storage.size_bytes:
            _refuse(f"it ends early: storage {key} has {len(buffers[key])} bytes, expected {storage.size_bytes}")
    return {name: view.read(buffers[view.storage.key]) for name, view in views.items()}


def _unpickle(file: BinaryIO) -> Any:
    """Check one pickle's opcodes, load it, and leave the file just behind it."""
    start = file.tell()
    head = io.BytesIO(file.read(_MAX_PICKLE_BYTES))
    end = _check_opcodes(head)
    file.seek(start + end)
    return _StateDictUnpickler(io.BytesIO(head.getvalue()[:end])).load()


def _check_opcodes(stream: io.BytesIO) -> int:
    """Return the length of the pickle in bytes, or refuse it."""
    limit, tuples = len(stream.getvalue()), 0
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name not in _OPCODES:
            _refuse(f"it uses the pickle opcode {opcode.name}, which no state dict needs")
        tuples += opcode.name in _TUPLES
        # the C unpickler's memo is an array as long as its largest index
        if tuples > _MAX_TUPLES or (opcode.name in _MEMO_WRITES and int(argument or 0) > limit):
            _refuse("its pickle is larger than any state dict's")
    return stream.tell()


def _views(state: object, size_bytes: int) -> dict[str, _TensorView]:
    """Take the tensors out of a state dict; together they may not be larger than the file."""
    if not isinstance(state, Mapping):
        _refuse("it does not hold a dict of tensors")
    for name, view in state.items():
        if not isinstance(name, str) or not isinstance(view, _TensorView):
            _refuse("it holds something else than named tensors: save model.state_dict() alone")
    views = dict(state)
    if sum(view.elements * view.storage.dtype.itemsize for view in views.values()) > size_bytes:
        _refuse("it is too short for the tensors that it lists")
    return views


def _storages(views: Mapping[str, _TensorView]) -> dict[str, _Storage]:
    storages = {view.storage.key: view.storage for view in views.values()}
    if any(storages[view.storage.key] != view.storage for view in views.values()):
        _refuse("two tensors disagree about a storage they share")
    return storages
