"""Pretrained networks without their heads, behind one registry."""

from pipeline.backbones.base import Backbone, Normalisation
from pipeline.backbones.registry import find_backbone

__all__ = ["Backbone", "Normalisation", "find_backbone"]
