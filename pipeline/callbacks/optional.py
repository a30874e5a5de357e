"""Packages that one callback alone needs. Imports no TensorFlow."""

from __future__ import annotations

import importlib
from types import ModuleType

from pipeline.errors import PipelineError


def load_optional(module: str, package: str) -> ModuleType:
    """Import a module of a package that is not among our requirements.

    Raises:
        PipelineError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as err:
        raise PipelineError(
            f"the Python package '{package}' is not installed ({err}); 'pip install {package}'"
        ) from err
