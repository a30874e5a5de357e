"""Names of compressions: what they stand for, what they build on, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.backbones.base import Compression
from pipeline.compression.config import Pattern, Plan, Pruning, parse
from pipeline.errors import PipelineError


@pytest.mark.parametrize(
    ("name", "plan"),
    [
        ("qat", Plan(qat=True)),
        ("pruned50", Plan(Pruning(50))),
        ("pruned2of4", Plan(Pruning(50, Pattern.TWO_OF_FOUR))),
        ("clustered16", Plan(clusters=16)),
        ("pruned80_qat", Plan(Pruning(80), qat=True)),
        ("clustered16_qat", Plan(clusters=16, qat=True)),
        ("pruned2of4_clustered32", Plan(Pruning(50, Pattern.TWO_OF_FOUR), 32)),
        ("pruned50_clustered16_qat", Plan(Pruning(50), 16, qat=True)),
    ],
)
def test_a_name_decodes_and_comes_back(name: str, plan: Plan) -> None:
    assert parse(name) == plan
    assert plan.name == name


@pytest.mark.parametrize(
    "name",
    ["", "int8", "QAT", "qat_pruned50", "pruned", "pruned5", "pruned99", "pruned050", "pruned3of4", "clustered3",
     "clustered512", "pruned50clustered16", "pruned50_", "_qat", "pruned50_pruned50", "clustered016"],
)  # fmt: skip
def test_any_other_name_is_refused_with_what_there_is(name: str) -> None:
    with pytest.raises(PipelineError, match=r"pruned10 to pruned95 .* clustered4 to clustered256 .* for example qat"):
        parse(name)


def test_every_step_builds_on_the_one_before() -> None:
    names, plan = [], parse("pruned50_clustered16_qat")
    while plan is not None:
        names.append(plan.name)
        plan = plan.before
    assert names == ["pruned50_clustered16_qat", "pruned50_clustered16", "pruned50"]
    assert parse("qat").before is parse("clustered16").before is None
    assert parse("clustered16_qat").before == parse("clustered16")


def test_a_plan_needs_what_its_steps_need() -> None:
    assert parse("qat").needs == (Compression.QAT,)
    assert parse("pruned50_clustered16_qat").needs == (Compression.PRUNING, Compression.CLUSTERING, Compression.QAT)


def test_a_backbone_that_cannot_is_refused_by_name() -> None:
    parse("pruned50_clustered16").require_backbone("mobilenetv3-small")
    with pytest.raises(PipelineError, match=r"mobilenetv3-small cannot take qat, only float16, .*; backbones that can"):
        parse("pruned50_qat").require_backbone("mobilenetv3-small")


def test_looking_at_plans_and_at_what_is_kept_needs_no_tensorflow() -> None:
    code = (
        "import sys, pipeline.compression.compress, pipeline.compression.photos; "
        "print('tensorflow' in sys.modules, 'tf_keras' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False"]
