"""A bundle opened: calibrated probabilities for outside deciders, an answer for those who want one, what it runs on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundles import CLASSES, colour_manifest, golden_inputs, plain_picture
from msgspec.structs import replace

from device.bundle import write_bundle
from device.classifier import open_classifier
from device.contract import ColourOrder, Decision
from device.errors import PhotoError


def test_probabilities_answer_and_times_of_a_picture(colour_bundle: Path) -> None:
    with open_classifier(colour_bundle, threads=1) as classifier:
        assert (classifier.threads, classifier.accelerator) == (1, "cpu")
        for colour in CLASSES:
            classified = classifier.classify(plain_picture(colour))
            assert (classified.probabilities.shape, classified.probabilities.dtype) == ((3,), np.float32)
            assert classified.probabilities.sum() == pytest.approx(1.0, abs=1e-6)
            assert classified.answer.label == colour
            assert classified.answer.probability == pytest.approx(float(classified.probabilities.max()))
            assert classified.preprocess_ms > 0
            assert classified.infer_ms > 0
        assert classifier.classify(plain_picture("grey")).answer.label is None


def test_the_colour_order_is_the_callers(colour_bundle: Path) -> None:
    with open_classifier(colour_bundle) as classifier:
        assert classifier.classify(plain_picture("red"), ColourOrder.RGB).answer.label == "blue"


def test_probabilities_are_calibrated_once(colour_models: dict[str, bytes], tmp_path: Path) -> None:
    manifest, files = colour_manifest({"tflite-float32": colour_models["tflite-float32"]})
    (variant,) = manifest.variants
    soft = replace(variant, decision=Decision(temperature=2.0, unknown_threshold=0.5))
    for name, one in (("plain", variant), ("soft", soft)):
        write_bundle(tmp_path / f"{name}.egb", replace(manifest, variants=(one,)), files)
    picture = np.ascontiguousarray(np.full((20, 20, 3), (90, 110, 140), np.uint8))
    with open_classifier(tmp_path / "plain.egb") as hard, open_classifier(tmp_path / "soft.egb") as softened:
        first, second = hard.classify(picture), softened.classify(picture)
    expected = np.sqrt(first.probabilities) / np.sqrt(first.probabilities).sum()
    np.testing.assert_allclose(second.probabilities, expected, atol=1e-5)
    assert second.answer.probability == pytest.approx(float(expected.max()), abs=1e-5)
    assert first.answer.label == "red"


def test_earlier_probabilities_stay_what_they_were(colour_bundle: Path) -> None:
    with open_classifier(colour_bundle) as classifier:
        first = classifier.classify(plain_picture("red"))
        kept = first.probabilities.copy()
        classifier.classify(plain_picture("green"))
    assert np.array_equal(first.probabilities, kept)


def test_what_is_no_picture_is_an_error_and_the_next_is_answered(colour_bundle: Path) -> None:
    with open_classifier(colour_bundle) as classifier:
        with pytest.raises(PhotoError, match=r"expected \(height, width, 3\) uint8"):
            classifier.classify(golden_inputs())
        assert classifier.classify(plain_picture("blue")).answer.label == "blue"


def test_a_small_model_is_copied_once_per_thread_and_a_large_one_never(colour_bundle: Path) -> None:
    with open_classifier(colour_bundle, threads=3) as classifier:
        copies = classifier.copies()
        assert [copy.threads for copy in copies] == [1, 1, 1]
        for copy in copies:
            copy.close()
        file = replace(classifier.variant.file, size_bytes=100 * 1024**2)
        classifier.variant = replace(classifier.variant, file=file)
        assert classifier.copies() == []
    with open_classifier(colour_bundle, threads=1) as classifier:
        assert classifier.copies() == []
