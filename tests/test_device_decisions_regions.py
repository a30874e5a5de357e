"""Parts of a picture."""

from __future__ import annotations

import numpy as np
import pytest

from device.cameras.spec import Region
from device.decisions import crop

PICTURE = np.arange(48 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 64, 3)


def test_a_quarter_is_a_quarter_and_no_copy() -> None:
    part = crop(PICTURE, Region("shelf", 0.5, 0.25, 0.25, 0.5))
    assert np.array_equal(part, PICTURE[12:36, 32:48])
    assert np.shares_memory(part, PICTURE)


@pytest.mark.parametrize("count", [2, 3, 5, 7, 64])
def test_regions_that_touch_share_no_pixel_and_leave_none_out(count: int) -> None:
    parts = [crop(PICTURE, Region(str(n), n / count, 0.0, 1 / count, 1.0)) for n in range(count)]
    assert np.array_equal(np.concatenate(parts, axis=1), PICTURE)


@pytest.mark.parametrize(
    "region",
    [
        Region("point", 0.5, 0.5, 0.0, 0.0),
        Region("corner", 1.0, 1.0, 0.001, 0.001),
        Region("outside", 2.0, -3.0, 0.5, 0.5),
        Region("too large", 0.9, 0.9, 5.0, 5.0),
    ],
)
@pytest.mark.parametrize("shape", [(48, 64), (1, 1), (2, 3)])
def test_there_is_always_a_pixel_and_never_one_from_outside(region: Region, shape: tuple[int, int]) -> None:
    part = crop(np.zeros((*shape, 3), np.uint8), region)
    assert 0 < part.shape[0] <= shape[0]
    assert 0 < part.shape[1] <= shape[1]
