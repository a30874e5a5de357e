"""Named tensors out of a file that someone else has made, PyTorch's or safetensors. Imports no PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401  makes bfloat16 known to NumPy
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from pipeline.backbones.torch_file import read_state_dict
from pipeline.errors import WeightsError

Tensors = dict[str, np.ndarray]


def read_state(path: Path) -> Tensors:
    """Read every tensor of a file of weights. Nothing in the file is executed.

    Args:
        path: ``.pth`` or ``.pt`` as ``torch.save(model.state_dict(), path)`` writes it, or ``.safetensors``.

    Returns:
        tensor name -> array in the file's axis order and dtype, little-endian.

    Raises:
        WeightsError: missing, another ending, damaged, cut short, or not only tensors.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise WeightsError(
            f"{path}: ends in '{path.suffix}', expected one of {', '.join(_READERS)}; rename or convert it"
        )
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    return reader(path)


def _read_safetensors(path: Path) -> Tensors:
    try:
        # The library checks the header against the file's length before it allocates.
        return dict(load_file(path))
    # A dtype that NumPy lacks, such as float8, is an AttributeError of NumPy's.
    except (SafetensorError, OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as err:
        raise WeightsError(
            f"{path}: not a safetensors file that can be read ({err or type(err).__name__}); "
            f"download it again, or save it anew with float32 tensors"
        ) from err


_READERS: Mapping[str, Callable[[Path], Tensors]] = {
    ".pth": read_state_dict,
    ".pt": read_state_dict,
    ".safetensors": _read_safetensors,
}
