"""T9: a learning rate that blows the network up: it stops, says so, and keeps the best there was, or says plainly that
there was none.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from trainings import draw_shapes

from pipeline.run import open_run

Edgegraft = Callable[..., subprocess.CompletedProcess[str]]


def test_fine_tuning_keeps_the_head(
    edgegraft: Edgegraft, shape_photos: Path, mobilenet_weights: Path, tmp_path: Path
) -> None:
    options = ("--backbone", "mobilenetv2-0.35", "--weights", mobilenet_weights, "--size", "96")
    ran = edgegraft("train", shape_photos, "--out", "run", *options, "--learning-rate", "1e6", "--json")
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    result = json.loads(ran.stdout)
    kept = {stage["name"]: stage["kept"] for stage in result["stages"]}
    assert (kept["head"], kept["top"], kept["deep"]) == (True, False, False)
    assert "not better, not kept" in ran.stderr
    [head] = [stage for stage in result["stages"] if stage["name"] == "head"]
    assert result["validation"]["accuracy"] == head["validation_accuracy"]
    assert result["test"]["accuracy"] > 0.5
    assert math.isfinite(open_run(tmp_path / "run").record.decision.temperature)


FROM_SCRATCH = ("--backbone", "lenet5", "--weights", "none", "--epochs", "6")


def test_from_scratch_nothing_learned_is_no_run(edgegraft: Edgegraft, shape_photos: Path, tmp_path: Path) -> None:
    # With a network that saturates it takes some steps of this size until the sums overflow.
    ran = edgegraft("train", shape_photos, "--out", "run", *FROM_SCRATCH, "--learning-rate", "1e30", "--json")
    assert (ran.returncode, ran.stdout) == (1, ""), ran.stderr
    *_, said, last = ran.stderr.splitlines()
    assert re.fullmatch(
        r"scratch: the loss became nan in epoch \d, batch \d; the best weights before that are kept", said
    )
    assert last == "edgegraft train: the loss became NaN before anything was learned; give a lower --learning-rate"
    assert not (tmp_path / "run" / "run.json").exists()


def test_from_scratch_there_may_be_nothing_to_keep(edgegraft: Edgegraft, tmp_path: Path) -> None:
    # Some steps in an epoch: the first one's loss is that of the weights as they were drawn.
    photos = draw_shapes(tmp_path / "photos", 100)
    ran = edgegraft("train", photos, "--out", "run", *FROM_SCRATCH, "--learning-rate", "1e38", "--json")
    assert (ran.returncode, ran.stdout) == (1, ""), ran.stderr
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("edgegraft train: the loss of stage 'scratch' became NaN in its first epoch; ")
    assert "give a lower --learning-rate" in last
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "run" / "run.json").exists()
