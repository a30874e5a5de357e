"""Decoded photos on disk: decoded once, right after a kill, right under two writers."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from device.contract import PreprocessSpec
from device.preprocess import preprocess_bytes
from pipeline.cache import PixelCache, cache_root
from pipeline.dataset import Dataset, list_folder
from pipeline.errors import PipelineError
from pipeline.ingest import ingest

MakeFolder = Callable[..., Path]
SPEC = PreprocessSpec(height=16, width=24)
ROW = 16 * 24 * 3


def _ingest(root: Path, cache: Path, spec: PreprocessSpec = SPEC) -> tuple[Dataset, PixelCache]:
    pixels = PixelCache(cache, spec)
    return ingest(list_folder(root), pixels, spec), pixels


def _assert_right(dataset: Dataset, cache: PixelCache, spec: PreprocessSpec = SPEC) -> None:
    pixels = cache.pixels()
    for photo in dataset.photos:
        np.testing.assert_array_equal(pixels[photo.row], preprocess_bytes(photo.path.read_bytes(), spec))


def _file(cache: Path, name: str) -> Path:
    [path] = cache.rglob(name)
    return path


def test_a_photo_is_decoded_once(make_folder: MakeFolder, tmp_path: Path) -> None:
    root, cache = make_folder({"a": 4, "b": 3}), tmp_path / "cache"
    first, pixels = _ingest(root, cache)
    _assert_right(first, pixels)
    before = [_file(cache, name).read_bytes() for name in ("pixels.u8", "index.txt")]
    second, _ = _ingest(root, cache)
    assert second == first
    assert [_file(cache, name).read_bytes() for name in ("pixels.u8", "index.txt")] == before
    assert len(before[0]) == 7 * ROW


def test_what_is_in_the_cache_is_taken_from_there(make_folder: MakeFolder, tmp_path: Path) -> None:
    root, cache = make_folder({"a": 1, "b": 1}), tmp_path / "cache"
    first, _ = _ingest(root, cache)
    with _file(cache, "pixels.u8").open("r+b") as stream:
        stream.write(bytes([7]) * ROW)
    again, pixels = _ingest(root, cache)
    assert again == first
    assert (pixels.pixels()[0] == 7).all()


def test_new_photos_are_appended_and_old_rows_stay(make_folder: MakeFolder, tmp_path: Path) -> None:
    root, cache = make_folder({"b": 3, "c": 3}), tmp_path / "cache"
    first, _ = _ingest(root, cache)
    (root / "c" / "000.png").rename(root / "c" / "zzz.png")
    make_folder({"a": 2}, root="more")
    (tmp_path / "more" / "a").rename(root / "a")
    second, pixels = _ingest(root, cache)
    rows = {photo.sha256: photo.row for photo in second.photos}
    assert {photo.sha256: photo.row for photo in first.photos}.items() <= rows.items()
    assert sorted(rows.values()) == list(range(8))
    _assert_right(second, pixels)


@pytest.mark.parametrize("pixels_lost", [0, 1, ROW // 2, ROW - 1, ROW, ROW + 1, 5 * ROW])
@pytest.mark.parametrize("index_lost", [0, 1, 64, 65, 66, 5 * 65])
def test_a_tail_that_a_kill_left_is_cut_off_and_written_again(
    make_folder: MakeFolder, tmp_path: Path, pixels_lost: int, index_lost: int
) -> None:
    root, cache = make_folder({"a": 3, "b": 2}), tmp_path / "cache"
    _ingest(root, cache)
    for name, lost in (("pixels.u8", pixels_lost), ("index.txt", index_lost)):
        path = _file(cache, name)
        os.truncate(path, path.stat().st_size - lost)
    dataset, pixels = _ingest(root, cache)
    _assert_right(dataset, pixels)
    assert _file(cache, "pixels.u8").stat().st_size == 5 * ROW
    assert _file(cache, "index.txt").stat().st_size == 5 * 65


_WRITER = """
import sys, os, signal
from pathlib import Path
import numpy as np
from device.contract import PreprocessSpec
from pipeline.cache import PixelCache
cache, stop_after, fill = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with PixelCache(cache, PreprocessSpec(height=16, width=24)).writer() as writer:
    for number in range(100):
        digest = f"{number:064x}"
        if digest not in writer.rows:
            writer.add(digest, np.full((16, 24, 3), number, np.uint8))
        if number == stop_after:
            writer._pixels.write(bytes([fill]) * 100)
            writer._pixels.flush()
            os.kill(os.getpid(), signal.SIGKILL)
"""


def _start_writer(cache: Path, stop_after: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _WRITER, str(cache), str(stop_after), "255"])


def test_sigkill_in_the_middle_of_a_row(tmp_path: Path) -> None:
    assert _start_writer(tmp_path, 40).wait() == -9
    assert _file(tmp_path, "pixels.u8").stat().st_size == 41 * ROW + 100
    assert _start_writer(tmp_path, -1).wait() == 0
    _assert_hundred_rows(tmp_path)


def test_two_processes_at_once_write_every_photo_once(tmp_path: Path) -> None:
    writers = [_start_writer(tmp_path, -1) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    _assert_hundred_rows(tmp_path)


def _assert_hundred_rows(root: Path) -> None:
    cache = PixelCache(root, SPEC)
    rows, pixels = cache.rows(), cache.pixels()
    assert len(rows) == len(pixels) == 100
    assert all((pixels[row] == int(digest, 16)).all() for digest, row in rows.items())


def test_another_preprocessing_has_its_own_pixels(make_folder: MakeFolder, tmp_path: Path) -> None:
    root, cache = make_folder({"a": 2, "b": 2}), tmp_path / "cache"
    _ingest(root, cache)
    other = PreprocessSpec(height=16, width=24, fill=(1, 2, 3))
    dataset, pixels = _ingest(root, cache, other)
    assert len(list(cache.rglob("pixels.u8"))) == 2
    _assert_right(dataset, pixels, other)


def test_an_empty_cache_has_no_rows(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path, SPEC)
    assert cache.rows() == {}
    assert cache.pixels().shape == (0, 16, 24, 3)


def test_a_cache_folder_that_cannot_be_made_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PipelineError, match=r"file/pixels/[0-9a-f]{16}: Not a directory; .*EDGEGRAFT_CACHE"):
        PixelCache(tmp_path / "file", SPEC)


def test_a_cache_folder_that_cannot_be_written_names_the_way_out(make_folder: MakeFolder, tmp_path: Path) -> None:
    root, cache = make_folder({"a": 2, "b": 2}), tmp_path / "cache"
    folder = PixelCache(cache, SPEC)._folder
    (folder / "lock").mkdir()  # root may write everywhere: a folder where the lock file goes stops it too
    with pytest.raises(PipelineError, match=r"EDGEGRAFT_CACHE"):
        _ingest(root, cache)


def test_the_cache_folder_is_the_users_choice(tmp_path: Path) -> None:
    script = "from pipeline.cache import cache_root; print(cache_root())"
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    for extra, expected in (
        ({}, tmp_path / ".cache" / "edgegraft"),
        ({"XDG_CACHE_HOME": "/x"}, Path("/x/edgegraft")),
        ({"XDG_CACHE_HOME": "/x", "EDGEGRAFT_CACHE": "/y"}, Path("/y")),
    ):
        printed = subprocess.run([sys.executable, "-c", script], env=bare | extra, capture_output=True, text=True)
        assert printed.stdout.strip() == str(expected)
    assert cache_root() == Path(os.environ["EDGEGRAFT_CACHE"])


def test_rows_are_found_by_the_hash_of_the_file(make_folder: MakeFolder, tmp_path: Path) -> None:
    dataset, cache = _ingest(make_folder({"a": 2, "b": 1}), tmp_path / "cache")
    expected = {hashlib.sha256(photo.path.read_bytes()).hexdigest(): photo.row for photo in dataset.photos}
    assert cache.rows() == expected
