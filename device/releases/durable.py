"""Every change that a release makes to the file system: each survives a power cut whole or has not happened.

Nothing else in this package writes, so that a test can kill an installation before every one of its steps.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from device.releases.refusals import NoSpace, ReadOnly

_CHUNK_BYTES = 1024 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def refusing(what: str, meanwhile: str = "what ran before goes on running") -> Iterator[None]:
    """Tell a full disk and a read-only one from other failures.

    Args:
        what: a file or folder, where the failure names none.
        meanwhile: how the board is.

    Raises:
        NoSpace: there is no room.
        ReadOnly: the file system takes no writes.
    """
    try:
        yield
    except OSError as err:
        where = err.filename or what
        if err.errno in _FULL:
            raise NoSpace(f"{where}: {err.strerror}; free some space; {meanwhile}") from err
        if err.errno == errno.EROFS:
            raise ReadOnly(
                f"{where}: the file system is read-only; remount it writable (mount -o remount,rw); {meanwhile}"
            ) from err
        raise


def make_folder(path: Path, mode: int = 0o755) -> None:
    """A folder and its parents."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=mode, exist_ok=True)
        path.chmod(mode)  # whatever the umask of whoever installs
        sync_folder(path.parent)


def write_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """``path`` holds the old content or all of the new."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(handle, mode)
        os.fsync(handle)
    fresh.replace(path)
    sync_folder(path.parent)


def copy_file(source: Path, target: Path, limit_bytes: int) -> tuple[str, int]:
    """Copy what can be read now; what was hashed is what was written.

    Returns:
        sha256 in hex and size in bytes of the copy. Of a source that is larger than the limit only as much is read
        as shows that it is.
    """
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as reader, target.open("xb") as writer:
        while size <= limit_bytes and (chunk := reader.read(_CHUNK_BYTES)):
            writer.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        writer.flush()
        os.fchmod(writer.fileno(), 0o644)
        os.fsync(writer.fileno())
    sync_folder(target.parent)
    return digest.hexdigest(), size


def sync_tree(folder: Path) -> None:
    """Files that others wrote there, and the folders."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    for path in (*folder.rglob("*"), folder):
        if path.is_dir() and not path.is_symlink():
            sync_folder(path)


def move(source: Path, target: Path) -> None:
    """To another name on the same file system, at once."""
    source.rename(target)
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def point(link: Path, target: Path) -> None:
    """A symbolic link leads to the old target or to the new one, at every moment to one of them."""
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
    sync_folder(link.parent)


def remove(path: Path) -> None:
    """A file, a link or a whole folder, where it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Names in it are on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
