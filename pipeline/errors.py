"""Exceptions. A message says what came, what was expected and what to do about it."""

from device.errors import EdgegraftError


class PipelineError(EdgegraftError):
    """The root of this package's errors."""


class DatasetError(PipelineError):
    """A folder of photos that cannot be trained or measured on."""


class WeightsError(PipelineError):
    """Pretrained weights that are missing, damaged or of another architecture."""


class RunError(PipelineError):
    """A Run folder that is missing, incomplete, of another schema, or in the way."""


class TrainingError(PipelineError):
    """Training that cannot go on."""
