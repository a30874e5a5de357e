"""Slots and values of the TFLite metadata schema 1.5.0, the ones that a classifier needs.

Source: ``metadata_schema.fbs`` of MediaPipe (mediapipe/tasks/metadata, Apache-2.0), where each is explained. A slot is
a field's place in its table; a union takes two, its type before its value. Written here because the package that holds
the generated code, mediapipe, brings another OpenCV that cannot be installed beside ours.
"""

from __future__ import annotations

from enum import IntEnum

METADATA_NAME = b"TFLITE_METADATA"
IDENTIFIER = b"M001"
# The oldest reader that understands all that we write.
MIN_PARSER_VERSION = "1.0.0"


class ModelMetadata(IntEnum):
    NAME = 0
    DESCRIPTION = 1
    VERSION = 2
    SUBGRAPHS = 3
    AUTHOR = 4
    LICENSE = 5
    ASSOCIATED_FILES = 6
    MIN_PARSER_VERSION = 7


class SubGraphMetadata(IntEnum):
    INPUTS = 2
    OUTPUTS = 3


class TensorMetadata(IntEnum):
    NAME = 0
    DESCRIPTION = 1
    CONTENT = 3
    PROCESS_UNITS = 4
    STATS = 5
    ASSOCIATED_FILES = 6


class Content(IntEnum):
    PROPERTIES_TYPE = 0
    PROPERTIES = 1


class ContentType(IntEnum):
    FEATURE = 1
    IMAGE = 2


class ImageProperties(IntEnum):
    COLOR_SPACE = 0
    DEFAULT_SIZE = 1


class ColorSpace(IntEnum):
    UNKNOWN = 0
    RGB = 1


class ImageSize(IntEnum):
    WIDTH = 0
    HEIGHT = 1


class ProcessUnit(IntEnum):
    OPTIONS_TYPE = 0
    OPTIONS = 1


class ProcessUnitType(IntEnum):
    NORMALIZATION = 1


class NormalizationOptions(IntEnum):
    MEAN = 0
    STD = 1


class Stats(IntEnum):
    MAX = 0
    MIN = 1


class AssociatedFile(IntEnum):
    NAME = 0
    DESCRIPTION = 1
    TYPE = 2


class AssociatedFileType(IntEnum):
    DESCRIPTIONS = 1
    TENSOR_AXIS_LABELS = 2
