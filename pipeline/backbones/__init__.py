"""Networks without their heads, pretrained where there are weights, behind one registry."""

from pipeline.backbones.base import Backbone, Compression, Normalisation, WeightSource
from pipeline.backbones.catalogue import backbone_rows, backbone_table
from pipeline.backbones.registry import find_backbone, resolve

__all__ = [
    "Backbone",
    "Compression",
    "Normalisation",
    "WeightSource",
    "backbone_rows",
    "backbone_table",
    "find_backbone",
    "resolve",
]
