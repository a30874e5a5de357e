"""The bundle (``.egb``): one plain zip, stored uncompressed. This file alone knows the format.

Layout: ``manifest.json`` first, then exactly the files that it lists, all in one flat folder. The archive's
comment holds a sha256 over every byte before it, headers included, so that any flipped bit is found before
anything is parsed; the manifest holds a sha256 for every file, checked again on the very bytes that are used.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from device.closing import Closing
from device.contract import MANIFEST_LIMIT_BYTES, FileEntry, Manifest, Variant, manifest_bytes, parse_manifest
from device.errors import BundleError, ContractError

BUNDLE_LIMIT_BYTES = 2 * 1024**3
MANIFEST_NAME = "manifest.json"

_SEAL_PREFIX = b"edgegraft-sha256:"
_SEAL_BYTES = len(_SEAL_PREFIX) + 64
_ENTRY_LIMIT = 64
_CHUNK_BYTES = 1024 * 1024
_UTF8_NAME = 0x800
_ZIP_START = b"PK\x03\x04"
_REMEDY = "copy it again or export it again"
# What zipfile raises on headers made by a hostile hand: seeks before the start, unknown flags, names that are no text.
_UNREADABLE = (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, ValueError, struct.error)
# One fixed time stamp: equal content gives an equal file.
_TIME_STAMP = (1980, 1, 1, 0, 0, 0)


def write_bundle(path: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Write a bundle, atomically: ``path`` holds the old file or the whole new one, also after a power cut.

    Args:
        path: where to; by custom it ends in ``.egb``.
        manifest: lists every file with size and sha256.
        files: content by name, exactly the manifest's files.

    Raises:
        BundleError: files and manifest do not match.
        OSError: the file cannot be written.
    """
    _check_complete(manifest, files)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w+b") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
                archive.writestr(zipfile.ZipInfo(MANIFEST_NAME, _TIME_STAMP), manifest_bytes(manifest))
                for name in sorted(files):
                    archive.writestr(zipfile.ZipInfo(name, _TIME_STAMP), files[name])
                archive.comment = _SEAL_PREFIX + b"0" * 64
            _write_seal(stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class Bundle(Closing):
    """A bundle that has been checked whole and is held open: what was checked is what is read.

    Use as a context manager. Files are read from the open handle, so replacing the file on disk changes nothing,
    and each is compared with its sha256 again when it is read.
    """

    def __init__(self, path: Path, stream: BinaryIO, archive: zipfile.ZipFile, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._stream = stream
        self._archive = archive

    def read(self, entry: FileEntry) -> bytes:
        """The content of a file of the manifest.

        Raises:
            BundleError: it is not what the manifest says.
        """
        data = _read_entry(self._archive, entry.name, entry.size_bytes)
        _require_digest(self.path, entry, hashlib.sha256(data).hexdigest())
        return data

    def model(self, variant: Variant) -> bytes:
        """The variant's model file."""
        return self.read(variant.file)

    def golden(self) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.float32]]]:
        """Golden inputs and the expected answer of every variant.

        Returns:
            inputs (n, height, width, 3) uint8 RGB, and by variant name (n, classes) float32 probabilities.

        Raises:
            BundleError: arrays are missing or of the wrong shape.
        """
        arrays = _read_arrays(self.path, self.read(self.manifest.golden.file))
        spec, classes = self.manifest.preprocess, len(self.manifest.classes)
        inputs: NDArray[Any] = arrays.pop("inputs", np.empty(0))
        if inputs.dtype != np.uint8 or inputs.shape[1:] != (spec.height, spec.width, 3) or len(inputs) == 0:
            raise BundleError(f"{self.path}: golden inputs are {inputs.shape} {inputs.dtype}; {_REMEDY}")
        for variant in self.manifest.variants:
            expected: NDArray[Any] = arrays.get(variant.name, np.empty(0))
            if expected.shape != (len(inputs), classes) or expected.dtype != np.float32:
                raise BundleError(f"{self.path}: golden answers of '{variant.name}' are {expected.shape}; {_REMEDY}")
            if not np.isfinite(expected).all():
                raise BundleError(f"{self.path}: golden answers of '{variant.name}' hold NaN or infinity; {_REMEDY}")
        return inputs, arrays

    def close(self) -> None:
        """Close the file; reading is over."""
        self._archive.close()
        self._stream.close()


def open_bundle(path: Path) -> Bundle:
    """Check a bundle from the first byte to the last and open it.

    Raises:
        BundleError: no such file, cut short, changed, or entries that the manifest does not list, lists twice or
            describes differently. Nothing has been parsed but the manifest.
        ContractError: the manifest itself is malformed or of another schema.
    """
    if not path.is_file():
        raise BundleError(f"{path}: no such file; 'edgegraft export RUN --out {path}' makes one")
    stream = path.open("rb")
    try:
        _check_seal(path, stream)
        archive = _open_archive(path, stream)
        infos = _check_entries(path, archive)
        manifest = parse_manifest(_read_entry(archive, MANIFEST_NAME, infos[MANIFEST_NAME].file_size))
        _check_listing(path, manifest, infos)
        bundle = Bundle(path, stream, archive, manifest)
        for entry in manifest.files():
            _check_digest(path, archive, entry)
    except ContractError as err:
        stream.close()
        raise ContractError(f"{path}: {err}") from err
    except BaseException:
        stream.close()
        raise
    return bundle


def file_entry(name: str, data: bytes) -> FileEntry:
    """Describe a file that is about to be written into a bundle."""
    return FileEntry(name=name, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


def pack_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Arrays as the bytes of an uncompressed ``.npz``."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _check_complete(manifest: Manifest, files: Mapping[str, bytes]) -> None:
    listed = {entry.name: entry for entry in manifest.files()}
    if set(listed) != set(files):
        raise BundleError(f"the manifest lists {sorted(listed)}, but {sorted(files)} are to be written")
    for name, entry in listed.items():
        if entry != file_entry(name, files[name]):
            raise BundleError(f"{name}: size or sha256 in the manifest is not the file's")


def _write_seal(stream: BinaryIO) -> None:
    length = stream.seek(0, os.SEEK_END) - _SEAL_BYTES
    digest = _sha256_of(stream, length)
    stream.seek(length)
    stream.write(_SEAL_PREFIX + digest.encode())


def _check_seal(path: Path, stream: BinaryIO) -> None:
    size = stream.seek(0, os.SEEK_END)
    if size > BUNDLE_LIMIT_BYTES:
        raise BundleError(f"{path}: {size} bytes; a bundle has at most {BUNDLE_LIMIT_BYTES}")
    length = max(0, size - _SEAL_BYTES)
    stream.seek(0)
    start = stream.read(len(_ZIP_START))
    stream.seek(length)
    seal = stream.read(_SEAL_BYTES)
    if start != _ZIP_START:
        raise BundleError(f"{path}: not a bundle; 'edgegraft export RUN --out FILE.egb' makes one")
    if not seal.startswith(_SEAL_PREFIX):
        raise BundleError(
            f"{path}: the checksum at its end is missing, the file is cut short or was changed; {_REMEDY}"
        )
    found = _sha256_of(stream, length)
    if seal[len(_SEAL_PREFIX) :] != found.encode():
        raise BundleError(f"{path}: the file's checksum does not match, it was damaged or changed; {_REMEDY}")


def _check_digest(path: Path, archive: zipfile.ZipFile, entry: FileEntry) -> None:
    # In chunks: on a board the largest variant need not fit into memory, only the one that is used.
    digest = hashlib.sha256()
    try:
        with archive.open(entry.name) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except _UNREADABLE as err:
        raise BundleError(f"{path}: {entry.name} cannot be read ({err}); {_REMEDY}") from err
    _require_digest(path, entry, digest.hexdigest())


def _require_digest(path: Path, entry: FileEntry, found: str) -> None:
    if found != entry.sha256:
        raise BundleError(f"{path}: {entry.name} has sha256 {found}, listed is {entry.sha256}; {_REMEDY}")


def _sha256_of(stream: BinaryIO, length: int) -> str:
    digest = hashlib.sha256()
    stream.seek(0)
    while length > 0:
        chunk = stream.read(min(length, _CHUNK_BYTES))
        if not chunk:
            break
        digest.update(chunk)
        length -= len(chunk)
    return digest.hexdigest()


def _open_archive(path: Path, stream: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(stream)
    except _UNREADABLE as err:
        raise BundleError(f"{path}: not a bundle ({err}); {_REMEDY}") from err


def _check_entries(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Refuse everything that a plain flat archive has no use for, before any content is read."""
    infos = archive.infolist()
    if len(infos) > _ENTRY_LIMIT:
        raise BundleError(f"{path}: {len(infos)} entries; a bundle has at most {_ENTRY_LIMIT}")
    seen: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        if info.filename in seen:
            raise BundleError(f"{path}: {info.filename!r} is there twice; {_REMEDY}")
        # orig_filename: zipfile itself cuts a name at NUL and would hide the rest.
        if info.orig_filename != info.filename or not _is_plain(info):
            raise BundleError(f"{path}: {info.orig_filename!r} is not a plain stored file; {_REMEDY}")
        seen[info.filename] = info
    if MANIFEST_NAME not in seen or infos[0].filename != MANIFEST_NAME:
        raise BundleError(f"{path}: {MANIFEST_NAME} is not its first entry; {_REMEDY}")
    if seen[MANIFEST_NAME].file_size > MANIFEST_LIMIT_BYTES:
        raise BundleError(f"{path}: {MANIFEST_NAME} is too large; {_REMEDY}")
    return seen


def _is_plain(info: zipfile.ZipInfo) -> bool:
    mode = info.external_attr >> 16
    regular = stat.S_IFMT(mode) in (0, stat.S_IFREG) and info.filename[-1:] not in ("", "/")
    stored = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
    return regular and stored and not info.flag_bits & ~_UTF8_NAME


def _check_listing(path: Path, manifest: Manifest, infos: Mapping[str, zipfile.ZipInfo]) -> None:
    listed = {entry.name: entry.size_bytes for entry in manifest.files()}
    extra = sorted(set(infos) - set(listed) - {MANIFEST_NAME})
    missing = sorted(set(listed) - set(infos))
    if extra or missing:
        what = f"unlisted {extra}" if extra else f"missing {missing}"
        raise BundleError(f"{path}: its files are not those of its manifest: {what}; {_REMEDY}")
    for name, size in listed.items():
        if infos[name].file_size != size:
            raise BundleError(f"{path}: {name} has {infos[name].file_size} bytes, listed are {size}; {_REMEDY}")


def _read_entry(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    try:
        with archive.open(name) as entry:
            return entry.read(size)
    except _UNREADABLE as err:
        raise BundleError(f"{archive.filename or 'bundle'}: {name} cannot be read ({err}); {_REMEDY}") from err


def _read_arrays(path: Path, data: bytes) -> dict[str, NDArray[Any]]:
    try:
        arrays = np.load(io.BytesIO(data), allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile) or arrays.zip is None:
            raise ValueError("one array came, expected several")
        with arrays:
            if not all(_is_plain(info) for info in arrays.zip.infolist()):
                raise ValueError("the arrays are compressed; a small file could fill the memory")
            return {name: arrays[name] for name in arrays.files}
    # MemoryError and OverflowError: an array that claims to be larger than its file.
    except (*_UNREADABLE, KeyError, MemoryError, OverflowError, TypeError) as err:
        raise BundleError(f"{path}: golden inputs cannot be read ({err}); {_REMEDY}") from err
