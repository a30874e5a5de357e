"""Row 4: a bundle that is cut short, by a full stick or a broken copy, is refused wherever it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from device.bundle import open_bundle
from device.errors import BundleError


def test_a_bundle_cut_short_anywhere_is_refused(colour_bundle: Path, tmp_path: Path) -> None:
    data = colour_bundle.read_bytes()
    path = tmp_path / "cut.egb"
    ends = {0, 1, 3, 4, 30, len(data) - 82, len(data) - 81, len(data) - 64, len(data) - 1, *range(0, len(data), 97)}
    for end in sorted(ends):
        path.write_bytes(data[:end])
        with pytest.raises(BundleError) as caught:
            open_bundle(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        expected = "not a bundle; 'edgegraft export" if end < 4 else "cut short or was changed; copy it again or export"
        assert expected in message, end


def test_a_bundle_with_something_behind_its_end_is_refused(colour_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.egb"
    for extra in (b"\n", b"\0" * 100, colour_bundle.read_bytes()):
        path.write_bytes(colour_bundle.read_bytes() + extra)
        with pytest.raises(BundleError, match="copy it again or export it again"):
            open_bundle(path)


def test_a_hole_in_the_middle_is_refused(colour_bundle: Path, tmp_path: Path) -> None:
    # As a file system leaves it after a power cut: the length is right, a block is zeros.
    data = bytearray(colour_bundle.read_bytes())
    data[4096:8192] = bytes(4096)
    path = tmp_path / "hole.egb"
    path.write_bytes(data)
    with pytest.raises(BundleError, match="checksum does not match, it was damaged or changed; copy it again"):
        open_bundle(path)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_the_command_says_so_in_one_line(
    edgegraft: Callable[..., object], colour_bundle: Path, tmp_path: Path, share: float
) -> None:
    data = colour_bundle.read_bytes()
    (tmp_path / "cut.egb").write_bytes(data[: int(len(data) * share)])
    for command in (("run", "cut.egb", "--camera", "scene:"), ("bench", "cut.egb")):
        result = edgegraft(*command)
        assert (result.returncode, result.stdout) == (1, "")  # type: ignore[attr-defined]
        (line,) = result.stderr.splitlines()  # type: ignore[attr-defined]
        assert line.startswith(f"edgegraft {command[0]}: cut.egb: ")
