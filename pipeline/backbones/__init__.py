"""Pretrained networks without their heads, behind one registry."""

from pipeline.backbones.registry import Backbone, Normalisation, find_backbone

__all__ = ["Backbone", "Normalisation", "find_backbone"]
