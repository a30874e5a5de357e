"""What only a workstation has."""

from __future__ import annotations

import importlib.util

from pipeline.errors import PipelineError


def require_tensorflow() -> None:
    """Fail at once where training cannot work, before photos are drawn or read; nothing is imported.

    Raises:
        PipelineError: TensorFlow or tf_keras is not installed here.
    """
    for name in ("tensorflow", "tf_keras"):
        if importlib.util.find_spec(name) is None:
            raise PipelineError(f"{name} is not installed here; run: pip install 'edgegraft[train]'")
