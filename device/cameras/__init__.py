"""Cameras: one URI gives one FrameSource."""

from device.cameras.base import Frame, FrameSource
from device.cameras.uri import open_camera, parse_camera

__all__ = ["Frame", "FrameSource", "open_camera", "parse_camera"]
