"""A model in a process of its own: its answers, and what is said of one that cannot give any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundles import golden_inputs

from device.bundle import open_bundle
from device.contract import EngineKind
from device.engines.factory import load_engine
from device.errors import EngineError
from device.tryout import try_model


@pytest.mark.parametrize("variant", ["tflite-float32", "onnx-float32"])
def test_the_answers_are_those_of_this_process(colour_bundle: Path, variant: str) -> None:
    with open_bundle(colour_bundle) as bundle:
        entry = bundle.manifest.variant(variant)
        model = bundle.model(entry)
    tried = try_model(entry.engine, model, golden_inputs())
    with load_engine(entry.engine, model) as engine:
        expected = np.stack([engine.run(pixels) for pixels in golden_inputs()])
    np.testing.assert_allclose(tried.answers, expected, atol=1e-6)
    assert 0 < tried.latency_ms < 1000
    assert 10 < tried.rss_mb < 1000


@pytest.mark.parametrize("kind", list(EngineKind))
def test_what_is_no_model_is_refused_with_the_runtimes_word(kind: EngineKind) -> None:
    with pytest.raises(EngineError, match="cannot load the model"):
        try_model(kind, b"no model", golden_inputs())


def test_a_model_that_takes_too_long_is_ended(colour_bundle: Path) -> None:
    with open_bundle(colour_bundle) as bundle:
        entry = bundle.manifest.variants[0]
        model = bundle.model(entry)
    with pytest.raises(EngineError, match="no answer within 0 s"):
        try_model(entry.engine, model, golden_inputs(), time_limit_s=0.01)


def test_a_child_that_crashes_is_told_from_one_that_refuses(
    colour_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The runtime's package is replaced by one that crashes when it is imported.
    package = tmp_path / "ai_edge_litert"
    package.mkdir()
    (package / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with open_bundle(colour_bundle) as bundle:
        entry = bundle.manifest.variant("tflite-float32")
        model = bundle.model(entry)
    with pytest.raises(EngineError, match=r"crashed on the model in a process of its own \(SIGSEGV\)"):
        try_model(entry.engine, model, golden_inputs())
