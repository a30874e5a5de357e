"""What can be asked for, under names that decode: ``pruned50_clustered16_qat``. Imports no TensorFlow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from pipeline.backbones.base import Compression
from pipeline.backbones.registry import require
from pipeline.errors import PipelineError

_NAME = re.compile(r"(?:pruned(?P<percent>\d+)(?P<pattern>of4)?)?_?(?:clustered(?P<clusters>\d+))?_?(?P<qat>qat)?")
_HELP = (
    "parts, in this order, joined by '_': pruned10 to pruned95 (percent of the weights that become zero) or "
    "pruned2of4, clustered4 to clustered256 (values that a layer's weights may have), "
    "qat (quantisation-aware training); for example qat, pruned50 or clustered16_qat"
)


class Pattern(Enum):
    """Which weights of a kernel may become zero."""

    UNSTRUCTURED = "unstructured"
    TWO_OF_FOUR = "2of4"


@dataclass(frozen=True, slots=True)
class Pruning:
    """Magnitude pruning (Zhu and Gupta 2017, arXiv:1710.01878).

    Attributes:
        percent: of each kernel's weights that become zero.
        pattern: TWO_OF_FOUR: two of any four that follow one another along the input channels
            (Mishra et al. 2021, arXiv:2104.08378).
    """

    percent: int
    pattern: Pattern = Pattern.UNSTRUCTURED

    def __post_init__(self) -> None:
        if self.pattern is Pattern.TWO_OF_FOUR and self.percent != 50:
            raise PipelineError(f"pruning {self.percent} % in a 2-of-4 pattern: expected 50 %")
        if not 10 <= self.percent <= 95:
            raise PipelineError(f"pruned{self.percent}: expected {_HELP}")

    @property
    def name(self) -> str:
        """As in the name of a plan."""
        return "pruned2of4" if self.pattern is Pattern.TWO_OF_FOUR else f"pruned{self.percent}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to a network, in this order; each step preserves what the ones before it did.

    Attributes:
        pruning: weights that become zero; None: none.
        clusters: values that a kernel's weights share, zero among them where it is pruned; None: any number.
        qat: whether it is trained with the rounding of int8 in its graph.
    """

    pruning: Pruning | None = None
    clusters: int | None = None
    qat: bool = False

    def __post_init__(self) -> None:
        if self.pruning is None and self.clusters is None and not self.qat:
            raise PipelineError(f"nothing to compress: expected {_HELP}")
        if self.clusters is not None and not 4 <= self.clusters <= 256:
            raise PipelineError(f"clustered{self.clusters}: expected {_HELP}")

    @property
    def name(self) -> str:
        """What ``parse`` reads."""
        parts = (
            self.pruning.name if self.pruning else "",
            f"clustered{self.clusters}" if self.clusters else "",
            "qat" if self.qat else "",
        )
        return "_".join(part for part in parts if part)

    @property
    def before(self) -> Plan | None:
        """What the last step builds on: the same without it; None where it is the only one."""
        shorter = (self.pruning, self.clusters, False) if self.qat else (self.pruning, None, False)
        return Plan(*shorter) if any(shorter) and shorter != (self.pruning, self.clusters, self.qat) else None

    @property
    def needs(self) -> tuple[Compression, ...]:
        """What the backbone has to take."""
        asked = (
            (Compression.PRUNING, self.pruning is not None),
            (Compression.CLUSTERING, self.clusters is not None),
            (Compression.QAT, self.qat),
        )
        return tuple(compression for compression, wanted in asked if wanted)

    def require_backbone(self, name: str) -> None:
        """Refuse a backbone that cannot take this, before photos are read or anything is trained.

        Raises:
            PipelineError: names what it can take, and which backbones can take this.
        """
        for compression in self.needs:
            require(name, compression)


def parse(name: str) -> Plan:
    """Read a name such as ``qat``, ``pruned50``, ``pruned2of4`` or ``pruned50_clustered16_qat``.

    Raises:
        PipelineError: it is none; the message says how they are made up.
    """
    match = _NAME.fullmatch(name)
    if match is None or not name:
        raise PipelineError(f"compression '{name}': expected {_HELP}")
    percent, clusters = match["percent"], match["clusters"]
    pruning = None
    if percent and match["pattern"]:
        pruning = Pruning(50, Pattern.TWO_OF_FOUR) if percent == "2" else None
    elif percent:
        pruning = Pruning(int(percent))
    plan = Plan(pruning, int(clusters) if clusters else None, match["qat"] is not None)
    if plan.name != name:
        raise PipelineError(f"compression '{name}': expected {_HELP}")
    return plan
