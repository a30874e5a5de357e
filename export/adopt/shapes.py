"""Reads the shapes that a foreign model declares."""

from __future__ import annotations

from collections.abc import Sequence

from export.adopt.errors import AdoptError
from export.adopt.interface import Layout

_LEAST, _MOST = 8, 4096


def read_input_shape(shape: Sequence[int], size: int) -> tuple[Layout, int, int]:
    """Layout, height and width of a colour picture's tensor.

    Args:
        shape: as declared; a side that is left free is 0 or below.
        size: taken for a free height or width; 0 for none.

    Raises:
        AdoptError: not one colour picture, a free size that ``size`` does not fix, or one out of range.
    """
    shown = tuple(side if side > 0 else "free" for side in shape)
    if len(shape) != 4 or 3 not in (shape[3], shape[1]):
        raise AdoptError(f"the model takes {shown}; expected a colour picture, (1, height, width, 3) or (1, 3, ...)")
    if shape[0] > 1:
        raise AdoptError(f"the model takes {shown}, {shape[0]} pictures at once; convert it with a batch of one")
    layout = Layout.NHWC if shape[3] == 3 else Layout.NCHW
    sides = [side if side > 0 else size for side in (shape[1:3] if layout is Layout.NHWC else shape[2:4])]
    if 0 in sides:
        raise AdoptError(f"the model takes {shown}: it leaves the size free; say which one with --size, such as 224")
    if not all(_LEAST <= side <= _MOST for side in sides):
        raise AdoptError(f"the model takes {sides[0]} x {sides[1]} pixels; {_LEAST} to {_MOST} a side are possible")
    return layout, sides[0], sides[1]


def read_output_shape(shape: Sequence[int]) -> tuple[int, bool]:
    """Number of classes (0: not declared), and whether the shape is (1, classes) already.

    Args:
        shape: as declared, such as (1, 1000), (1000,) or (1, 1000, 1, 1); a free side is 0 or below.

    Raises:
        AdoptError: not one list of numbers.
    """
    rest = list(shape[1:] if len(shape) > 1 else shape)
    wide = [side for side in rest if side != 1]
    if (len(shape) > 1 and shape[0] > 1) or len(wide) > 1:
        raise AdoptError(
            f"the model puts out {tuple(shape)}; expected (1, classes): a detector or a feature extractor is no "
            f"classifier"
        )
    return max(0, wide[0]) if wide else len(rest), len(shape) == 2
