"""A config in words, for people. Imports no TensorFlow."""

from __future__ import annotations

from pipeline.augmentation.config import AugmentConfig, Preset, preset


def title(config: AugmentConfig) -> str:
    """The preset's name, "standard without flip", or "custom"."""
    for choice in Preset:
        if config == preset(choice):
            return choice.value
        if config == preset(choice).without_flip():
            return f"{choice.value} without flip"
    return "custom"


def describe(config: AugmentConfig) -> tuple[str, ...]:
    """One phrase for each change that can happen; empty when none can."""
    return (*_geometry(config), *_colour(config), *_damage(config), *_mixing(config))


def _geometry(config: AugmentConfig) -> list[str]:
    phrases = ["flip half of them"] if config.flip else []
    if config.crop_area < 1:
        phrases.append(f"crop {config.crop_area:.0%} to 100% of the area, aspect ×/{config.crop_aspect:.3g}")
    if config.rotation_degrees:
        phrases.append(f"rotate ±{config.rotation_degrees:g} degrees")
    if config.zoom > 1:
        phrases.append(f"zoom ×/{config.zoom:g}")
    if config.aspect > 1:
        phrases.append(f"aspect ×/{config.aspect:g}")
    if config.translation:
        phrases.append(f"move ±{config.translation:.0%} of the side")
    return phrases


def _colour(config: AugmentConfig) -> list[str]:
    gains = {
        "brightness": config.brightness,
        "contrast": config.contrast,
        "saturation": config.saturation,
        "colour of the light": config.channel_gain,
    }
    phrases = [f"{name} ±{value:.0%}" for name, value in gains.items() if value]
    if config.hue_degrees:
        phrases.append(f"hue ±{config.hue_degrees:g} degrees")
    return phrases


def _damage(config: AugmentConfig) -> list[str]:
    phrases = []
    if config.blur_sigma and config.blur_probability:
        phrases.append(f"blur {config.blur_probability:.0%}, sigma up to {config.blur_sigma:.1%} of the side")
    if config.noise_sigma and config.noise_probability:
        phrases.append(f"noise on {config.noise_probability:.0%}, sigma up to {config.noise_sigma:g} of 255")
    if config.cutout_side and config.cutout_probability:
        phrases.append(f"grey square of {config.cutout_side:.0%} of the side on {config.cutout_probability:.0%}")
    if config.randaugment_operations:
        count, magnitude = config.randaugment_operations, config.randaugment_magnitude
        phrases.append(f"RandAugment {count} operation{'s' * (count > 1)} at {magnitude:g} of 30")
    return phrases


def _mixing(config: AugmentConfig) -> list[str]:
    alphas = {"mixup": config.mixup_alpha, "cutmix": config.cutmix_alpha}
    return [f"{name} Beta({alpha:g}, {alpha:g})" for name, alpha in alphas.items() if alpha]
