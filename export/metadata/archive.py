"""Files that travel at the end of a TFLite model: a zip appended to it, which leaves the model itself readable."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

from export.metadata.errors import MetadataError

# Labels of every class of ImageNet-21k take 0.5 MB.
FILE_LIMIT_BYTES = 8 * 1024 * 1024
_ENTRY_LIMIT = 64
# One fixed time stamp: equal content gives an equal file.
_TIME_STAMP = (1980, 1, 1, 0, 0, 0)
# What zipfile raises on headers made by a hostile hand.
_UNREADABLE = (
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
)
# bz2 and lzma are unpacked by zipfile without a limit.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def append_files(model: bytes, files: Mapping[str, bytes]) -> bytes:
    """The model with files behind it, uncompressed: MediaPipe reads them in place."""
    buffer = io.BytesIO()
    buffer.write(model)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _TIME_STAMP), data)
    return buffer.getvalue()


def read_file(model: bytes, name: str) -> bytes | None:
    """One of the files behind a model; ``None`` where there is no such file.

    Raises:
        MetadataError: the zip is damaged, or the file is larger than ``FILE_LIMIT_BYTES`` when unpacked.
    """
    if not zipfile.is_zipfile(io.BytesIO(model)):
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            entries = archive.infolist()
            if len(entries) > _ENTRY_LIMIT:
                raise ValueError(f"{len(entries)} files, at most {_ENTRY_LIMIT} are expected")
            info = next((entry for entry in entries if entry.filename == name), None)
            if info is None:
                return None
            if info.compress_type not in _METHODS:
                raise ValueError("packed by a method other than store and deflate")
            # Not what the header says counts, but what comes out.
            with archive.open(info) as stream:
                data = stream.read(FILE_LIMIT_BYTES + 1)
    except _UNREADABLE as err:
        raise MetadataError(f"{name!r} in the model file cannot be read ({err}); get or export the file again") from err
    if len(data) > FILE_LIMIT_BYTES:
        raise MetadataError(
            f"{name!r} in the model file is larger than {FILE_LIMIT_BYTES} bytes; that is no label file"
        )
    return data
