"""A drawn world of traffic signs: the demo's training set and the virtual camera ``scene:``."""

from device.scene.dataset import draw_dataset
from device.scene.film import Film, Shot
from device.scene.signs import CLASSES, NOTHING, SIGNS
from device.scene.world import View, render, sample_view

__all__ = ["CLASSES", "NOTHING", "SIGNS", "Film", "Shot", "View", "draw_dataset", "render", "sample_view"]
