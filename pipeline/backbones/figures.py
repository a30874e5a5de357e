"""What the networks cost, counted once on a real build; tests/test_pipeline_backbones.py counts again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a network without its classification layer, at its default size.

    Attributes:
        parameters: trained ones; batch norm's statistics not counted.
        multiply_adds: of convolutions and dense layers, for one picture.
    """

    parameters: int | None
    multiply_adds: int | None


_FIGURES: dict[str, tuple[int, int]] = {
    "efficientnet-lite0": (3_371_008, 383_907_552),
    "efficientnet-lite1": (4_135_680, 598_905_232),
    "efficientnet-lite2": (4_811_072, 858_456_272),
    "efficientnet-lite3": (6_916_096, 1_382_041_872),
    "efficientnet-lite4": (11_725_568, 2_551_754_336),
    "mobilenetv1-0.25": (213_072, 40_774_272),
    "mobilenetv1-0.5": (818_592, 148_985_088),
    "mobilenetv1-0.75": (1_816_560, 324_632_448),
    "mobilenetv1-1.0": (3_206_976, 567_716_352),
    "mobilenetv2-0.35": (396_128, 58_005_808),
    "mobilenetv2-0.5": (687_680, 95_851_840),
    "mobilenetv2-0.75": (1_355_424, 207_789_792),
    "mobilenetv2-1.0": (2_223_872, 299_494_272),
    "mobilenetv2-1.3": (3_721_792, 507_710_560),
    "mobilenetv2-1.4": (4_315_776, 580_403_824),
    "mobilenetv2-1.0-torch": (2_223_872, 299_494_272),
    "mobilenetv3-small": (927_008, 54_896_576),
    "mobilenetv3-small-minimalistic": (428_888, 50_674_624),
    "mobilenetv3-large": (2_971_952, 214_080_960),
    "mobilenetv3-large-minimalistic": (1_413_208, 206_627_904),
    "efficientnetv2-b0": (5_858_704, 716_806_176),
    "resnet18": (11_176_512, 1_813_561_344),
    "resnet34": (21_284_672, 3_663_249_408),
    "resnet50": (23_534_592, 3_855_925_248),
    "resnet101": (42_552_832, 7_568_146_432),
    "resnet152": (58_219_520, 11_280_367_616),
    "resnet50-torch": (23_508_032, 4_087_136_256),
    "resnet101-torch": (42_500_160, 7_799_357_440),
    "resnet152-torch": (58_143_808, 11_511_578_624),
    "inceptionv3": (21_768_352, 5_711_168_096),
    "vgg16": (14_714_688, 15_346_630_656),
    "vgg19": (20_024_384, 19_508_428_800),
    "vgg16-torch": (14_714_688, 15_346_630_656),
    "vgg19-torch": (20_024_384, 19_508_428_800),
    "googlenet": (5_973_552, 1_581_647_872),
    "googlenet-bn": (5_599_904, 1_497_352_192),
    "alexnet": (57_003_840, 710_092_480),
    "lenet5": (61_156, 650_880),
}


def figures(name: str) -> Figures:
    """The figures of a backbone; None for a width that nobody has pretrained."""
    return Figures(*_FIGURES.get(name, (None, None)))
