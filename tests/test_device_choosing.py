"""A machine's own choice: measured once, kept, and measured again when anything that it hangs on has changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundles import colour_manifest, onnx_model, plain_picture, replaced, write_colour_bundle

from device.bundle import open_bundle, pack_arrays, write_bundle
from device.choosing import Chosen, choose_here, default_state_folder, fewest_threads, kept_choice
from device.classifier import open_classifier
from device.contract import Choice
from device.engines import Accelerator
from device.engines.factory import default_threads
from device.errors import EngineError


@pytest.fixture(scope="module")
def measured(colour_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Chosen, list[str]]:
    """A state folder with a choice for the bundle, that choice, and what was told meanwhile."""
    state, told = tmp_path_factory.mktemp("machine") / "state", list[str]()
    with open_bundle(colour_bundle) as bundle:
        return state, choose_here(bundle, state, told.append), told


@pytest.fixture
def state(measured: tuple[Path, Chosen, list[str]], tmp_path: Path) -> Path:
    """A copy of that folder."""
    import shutil

    return Path(shutil.copytree(measured[0], tmp_path / "state"))


def kept_file(state: Path) -> Path:
    (path,) = (state / "choices").iterdir()
    return path


@pytest.fixture(scope="module")
def one_variant(colour_models: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with little to try."""
    models = {"tflite-float32": colour_models["tflite-float32"]}
    return write_colour_bundle(tmp_path_factory.mktemp("one") / "one.egb", models)


def asked(bundle_path: Path, state: Path) -> list[str]:
    """What is told when the choice is asked for: nothing where the kept one is good."""
    told = list[str]()
    with open_bundle(bundle_path) as bundle:
        choose_here(bundle, state, told.append)
    return told


def test_every_variant_is_tried_and_the_fastest_chosen(measured: tuple[Path, Chosen, list[str]]) -> None:
    state, chosen, told = measured
    names = ["tflite-float32", "tflite-static-int8", "onnx-float32", "onnx-static-int8"]
    assert [one.variant for one in chosen.tried] == names
    latency = {one.variant: one.latency_ms for one in chosen.tried if one.latency_ms is not None}
    assert sorted(latency) == sorted(names)
    assert chosen.variant == min(latency, key=latency.__getitem__)
    assert chosen.accelerator is Accelerator.CPU
    assert 1 <= chosen.threads <= default_threads()
    assert "colours 1.2.3 is new on this machine" in told[0]
    assert f"{chosen.variant} on cpu" in told[-1]
    assert kept_file(state).name == "colours.json"
    assert [path.suffix for path in kept_file(state).parent.iterdir()] == [".json"]


def test_the_second_start_measures_nothing(colour_bundle: Path, state: Path) -> None:
    before = kept_file(state).read_bytes()
    assert asked(colour_bundle, state) == []
    assert kept_file(state).read_bytes() == before


def test_a_choice_that_root_made_is_read_by_the_service(one_variant: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with open_bundle(one_variant) as bundle:
            choose_here(bundle, tmp_path / "release")
    finally:
        os.umask(before)
    (kept,) = (tmp_path / "release/choices").iterdir()
    assert (kept.parent.stat().st_mode & 0o777, kept.stat().st_mode & 0o777) == (0o755, 0o644)


def test_the_classifier_takes_what_was_chosen(colour_bundle: Path, state: Path) -> None:
    text = json.loads(kept_file(state).read_text())
    text["chosen"].update(variant="onnx-static-int8", threads=1)
    kept_file(state).write_text(json.dumps(text))
    with open_classifier(colour_bundle, state=state) as classifier:
        assert (classifier.variant.name, classifier.threads) == ("onnx-static-int8", 1)
        assert classifier.classify(plain_picture("blue")).answer.label == "blue"
    with open_classifier(colour_bundle, threads=2, state=state) as classifier:
        assert (classifier.variant.name, classifier.threads) == ("onnx-static-int8", 2)
    with open_classifier(colour_bundle, "tflite-float32", state=state) as classifier:
        assert classifier.variant.name == "tflite-float32"


def test_without_a_state_folder_it_is_the_first_as_ever(colour_bundle: Path) -> None:
    with open_classifier(colour_bundle) as classifier:
        assert (classifier.variant.name, classifier.threads) == ("tflite-float32", default_threads())


def test_the_bundles_rule_decides(colour_models: dict[str, bytes], tmp_path: Path) -> None:
    from msgspec.structs import replace

    manifest, files = colour_manifest(colour_models)
    best = "onnx-static-int8"
    variants = tuple(
        one if one.name == best else replace(one, measured=replace(one.measured, accuracy=0.5))
        for one in manifest.variants
    )
    rule = Choice(frames_per_second=1.0)
    write_bundle(tmp_path / "rule.egb", replace(manifest, variants=variants, choice=rule), files)
    with open_bundle(tmp_path / "rule.egb") as bundle:
        assert choose_here(bundle, tmp_path).variant == best


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"",
        lambda text: b"\0" * 100,
        lambda text: text[: len(text) // 2],
        lambda text: text.replace(b'"schema": 1', b'"schema": 99'),
        lambda text: text.replace(b'"key"', b'"kee"'),
        lambda text: text.replace(b'"accelerator": "cpu"', b'"accelerator": "abacus"'),
        lambda text: text.replace(b'"threads": ', b'"threads": 99999'),
        lambda text: text.replace(b'"variant": "', b'"variant": "../'),
        lambda text: text.replace(b'"latency_ms": ', b'"latency_ms": -'),
        lambda text: text.replace(b"{", b'{"extra": 1,', 1),
        lambda text: b"[" * 100_000,
        lambda text: text + b" " * 2**20,
    ],
)
def test_what_is_no_choice_is_not_taken_for_one(
    colour_bundle: Path, state: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = kept_file(state)
    with open_bundle(colour_bundle) as bundle:
        assert kept_choice(bundle.manifest, state) is not None
        path.write_bytes(damage(path.read_bytes()))
        assert kept_choice(bundle.manifest, state) is None


def test_a_pipe_or_a_link_in_its_place_is_not_read(colour_bundle: Path, state: Path) -> None:
    path = kept_file(state)
    good = path.rename(path.with_suffix(".elsewhere"))
    with open_bundle(colour_bundle) as bundle:
        path.symlink_to(good)
        assert kept_choice(bundle.manifest, state) is None
        path.unlink()
        os.mkfifo(path)  # to be read it would want somebody who writes
        assert kept_choice(bundle.manifest, state) is None


def test_a_damaged_choice_is_made_again_and_kept(one_variant: Path, tmp_path: Path) -> None:
    path = tmp_path / "choices" / "colours.json"
    path.parent.mkdir()
    path.write_bytes(b"{")
    assert asked(one_variant, tmp_path) != []
    assert json.loads(path.read_text())["chosen"]["variant"] == "tflite-float32"
    assert asked(one_variant, tmp_path) == []


def test_another_bundle_of_the_same_name_or_fewer_cores_want_another_choice(
    colour_bundle: Path, state: Path, tmp_path: Path
) -> None:
    path = tmp_path / "other.egb"
    path.write_bytes(replaced(colour_bundle, "onnx-float32.onnx", onnx_model(scale=7.5)))
    with open_bundle(path) as bundle:
        assert kept_choice(bundle.manifest, state) is None
    cores = os.sched_getaffinity(0)
    if len(cores) == 1:
        pytest.skip("needs two cores")
    with open_bundle(colour_bundle) as bundle:
        os.sched_setaffinity(0, {min(cores)})
        try:
            assert kept_choice(bundle.manifest, state) is None
        finally:
            os.sched_setaffinity(0, cores)
        assert kept_choice(bundle.manifest, state) is not None


def test_a_kept_choice_that_fails_is_made_again(one_variant: Path, tmp_path: Path) -> None:
    asked(one_variant, tmp_path)
    path = tmp_path / "choices" / "colours.json"
    path.write_text(path.read_text().replace('"accelerator": "cpu"', '"accelerator": "cuda"', 1))
    told = list[str]()
    with open_classifier(one_variant, state=tmp_path, tell=told.append) as classifier:
        assert classifier.accelerator == "cpu"
    assert "not on cuda; choosing again" in told[0]
    assert json.loads(path.read_text())["chosen"]["accelerator"] == "cpu"


def test_where_nothing_can_be_kept_the_choice_still_holds(one_variant: Path, tmp_path: Path) -> None:
    (tmp_path / "choices").write_text("a file where a folder should be")
    assert "cannot be kept" in asked(one_variant, tmp_path)[-1]


def test_a_variant_with_wrong_answers_is_not_chosen_however_fast(colour_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "wrong.egb"
    path.write_bytes(replaced(colour_bundle, "onnx-float32.onnx", onnx_model(scale=-8.0)))
    with open_bundle(path) as bundle:
        chosen = choose_here(bundle, tmp_path)
    (wrong,) = (one for one in chosen.tried if one.variant == "onnx-float32")
    assert wrong.latency_ms is None
    assert "does not compute it rightly" in wrong.error
    assert chosen.variant != "onnx-float32"


def test_where_none_is_right_all_reasons_are_given(one_variant: Path, tmp_path: Path) -> None:
    with open_bundle(one_variant) as bundle:
        inputs, answers = bundle.golden()
    arrays = {"inputs": inputs, **{name: np.roll(answer, 1, axis=1) for name, answer in answers.items()}}
    path = tmp_path / "wrong.egb"
    path.write_bytes(replaced(one_variant, "golden.npz", pack_arrays(arrays)))
    with pytest.raises(
        EngineError, match=r"wrong\.egb: no variant gives the right answers here: tflite-float32 on cpu"
    ):
        open_classifier(path, state=tmp_path / "state")


@pytest.mark.parametrize(
    ("latency_ms", "threads"),
    [
        ({1: 10.0}, 1),
        ({1: 10.0, 2: 5.0, 3: 4.0, 4: 3.0}, 4),
        ({1: 10.0, 2: 5.0, 3: 4.7, 4: 4.6}, 2),
        ({1: 10.0, 2: 9.2}, 1),
        ({1: 10.0, 2: 12.0, 4: 30.0}, 1),
    ],
)
def test_fewer_threads_are_preferred_where_more_gain_little(latency_ms: dict[int, float], threads: int) -> None:
    assert fewest_threads(latency_ms) == (threads, latency_ms[threads])


def test_the_state_folder_is_the_services_else_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/pi")
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    assert default_state_folder() == Path("/home/pi/.local/state/edgegraft")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_state_folder() == Path("/state/edgegraft")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edgegraft:/var/lib/other")
    assert default_state_folder() == Path("/var/lib/edgegraft")
