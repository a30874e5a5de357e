"""Decisions: from each frame's probabilities to an answer that can be acted upon, and which frames are worth asking."""

from device.decisions.decider import Decided, Decider
from device.decisions.motion import MotionGate
from device.decisions.pace import FrameRateCap, PowerConfig, PowerLevel, PowerMode
from device.decisions.regions import crop
from device.decisions.rules import EXAMPLE, ClassRule, Rules, RulesError, Smoothing, load_rules

__all__ = [
    "EXAMPLE",
    "ClassRule",
    "Decided",
    "Decider",
    "FrameRateCap",
    "MotionGate",
    "PowerConfig",
    "PowerLevel",
    "PowerMode",
    "Rules",
    "RulesError",
    "Smoothing",
    "crop",
    "load_rules",
]
