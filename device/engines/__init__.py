"""Runtimes behind one protocol: ``open_engine`` loads a variant with the runtime that it names."""

from device.engines.base import Accelerator, Engine, as_probabilities
from device.engines.factory import available, not_installed, open_engine, prove

__all__ = ["Accelerator", "Engine", "as_probabilities", "available", "not_installed", "open_engine", "prove"]
