"""How each step of a plan is trained. Imports no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.compression.clustering import Seeding


@dataclass(frozen=True, slots=True)
class TuneConfig:
    """How long and how fast, with AdamW and a cosine schedule.

    There is no weight decay: behind frozen batch norm nothing would make up for smaller kernels.

    Attributes:
        epochs: all of them are run; the best on validation is kept.
        learning_rate: at the peak, of kernels whose largest weights are 1.
        batch: photos per step.
        warmup_fraction: share of the steps that rise to the peak.
        averaging: momentum of the moving average of the weights, per step.
    """

    epochs: int
    learning_rate: float
    batch: int = 16
    warmup_fraction: float = 0.1
    averaging: float = 0.98

    def steps(self, photos: int) -> int:
        """Per epoch."""
        return max(1, photos // self.batch)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that is chosen about a compression.

    Attributes:
        ramp: while the sparsity rises.
        settle: at the target sparsity.
        assign: while weights may go over to another cluster.
        cluster: of the values that weights share, with every weight in its cluster.
        qat: with fake quantisation.
        seeding: of the clusters.
    """

    ramp: TuneConfig = TuneConfig(epochs=4, learning_rate=2e-3)
    settle: TuneConfig = TuneConfig(epochs=4, learning_rate=1e-3)
    assign: TuneConfig = TuneConfig(epochs=5, learning_rate=2e-3)
    cluster: TuneConfig = TuneConfig(epochs=2, learning_rate=1e-3)
    qat: TuneConfig = TuneConfig(epochs=4, learning_rate=2e-4)
    seeding: Seeding = Seeding.KMEANS_PLUS_PLUS
