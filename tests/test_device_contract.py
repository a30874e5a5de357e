"""The manifest: what a board accepts from outside, and what it says when it does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from bundles import colour_manifest

from device.contract import MANIFEST_LIMIT_BYTES, Manifest, manifest_bytes, parse_manifest
from device.errors import ContractError


@pytest.fixture(scope="module")
def manifest(colour_models: dict[str, bytes]) -> Manifest:
    return colour_manifest(colour_models)[0]


@pytest.fixture
def refusal(manifest: Manifest) -> Callable[[Callable[[dict[str, Any]], None]], str]:
    """What is said about the manifest after an edit."""

    def parse(edit: Callable[[dict[str, Any]], None]) -> str:
        tree = json.loads(manifest_bytes(manifest))
        edit(tree)
        with pytest.raises(ContractError) as caught:
            parse_manifest(json.dumps(tree).encode())
        return str(caught.value)

    return parse


def test_what_was_written_is_read_back_equal(manifest: Manifest) -> None:
    assert parse_manifest(manifest_bytes(manifest)) == manifest


def test_a_person_can_read_the_manifest(manifest: Manifest) -> None:
    lines = manifest_bytes(manifest).decode().splitlines()
    assert ' "name": "colours",' in lines
    assert max(map(len, lines)) < 200


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (lambda tree: tree.update(colour="red"), "colour"),
        (lambda tree: tree["preprocess"].update(gamma=2), "gamma"),
        (lambda tree: tree["variants"][0]["file"].update(url="http://x"), "url"),
        (lambda tree: tree["variants"][0].pop("decision"), "decision"),
        (lambda tree: tree["golden"].pop("file"), "file"),
        (lambda tree: tree.update(classes="red"), "$.classes"),
        (lambda tree: tree.update(classes=["red", ""]), "$.classes"),
        (lambda tree: tree.update(version="1.2"), "$.version"),
        (lambda tree: tree.update(name="Colours!"), "$.name"),
        (lambda tree: tree.update(name="../colours"), "$.name"),
        (lambda tree: tree["preprocess"].update(height=7), "$.preprocess.height"),
        (lambda tree: tree["preprocess"].update(height=16.0), "$.preprocess.height"),
        (lambda tree: tree["preprocess"].update(fit="zoom"), "$.preprocess.fit"),
        (lambda tree: tree["preprocess"].update(fill=[0, 0, 256]), "$.preprocess.fill"),
        (lambda tree: tree["variants"][0]["decision"].update(temperature=0), "$.variants[0].decision.temperature"),
        (
            lambda tree: tree["variants"][0]["decision"].update(unknown_threshold=1.01),
            "$.variants[0].decision.unknown_threshold",
        ),
        (lambda tree: tree["variants"][0].update(engine="tensorrt"), "$.variants[0].engine"),
        (lambda tree: tree["variants"][0]["file"].update(sha256="A" * 64), "$.variants[0].file.sha256"),
        (lambda tree: tree["variants"][0]["file"].update(sha256=""), "$.variants[0].file.sha256"),
        (lambda tree: tree["variants"][0]["file"].update(size_bytes=-1), "$.variants[0].file.size_bytes"),
        (lambda tree: tree["golden"].update(tolerance="0.1"), "$.golden.tolerance"),
    ],
)
def test_an_odd_field_is_refused_and_named(
    refusal: Callable[..., str], edit: Callable[[dict[str, Any]], None], where: str
) -> None:
    assert where in refusal(edit)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda tree: tree.update(classes=["red", "green", "red"]), "lists a class twice: red"),
        (lambda tree: tree.update(classes=["red"]), "1 class(es); a classifier needs two"),
        (lambda tree: tree.update(variants=[]), "lists no variant"),
        (lambda tree: tree["variants"].append(tree["variants"][0]), "lists a variant twice: tflite-float32"),
        (lambda tree: tree["report"].update(name="GOLDEN.npz"), "lists a file twice: golden.npz"),
        (lambda tree: tree["preprocess"].update(width=24), "the preprocessing gives (1, 16, 24, 3) uint8"),
        (lambda tree: tree["variants"][1]["input"].update(dtype="float32"), "takes (1, 16, 16, 3) float32"),
        (lambda tree: tree.update(classes=["red", "green"]), "the labels belong to another model"),
    ],
)
def test_parts_that_contradict_one_another_are_refused(
    refusal: Callable[..., str], edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    assert message in refusal(edit)


def test_a_newer_manifest_says_update_and_an_older_one_says_export(refusal: Callable[..., str]) -> None:
    def newer(tree: dict[str, Any]) -> None:
        tree.update(schema=4, a_field_of_the_future=True)

    assert refusal(newer) == ("manifest.json has schema 4, this edgegraft reads 3; update edgegraft on this machine")
    assert refusal(lambda tree: tree.update(schema=0)).endswith("export the bundle again")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x01\x02",
        b"null",
        b"[1, 2]",
        b'{"schema": "1"}',
        b'{"schema": 3}',
        b'{"schema": 3, "name": "\xff\xfe"}',
        b'{"schema": 3, "name": ' + b"[" * 100_000,
        b'{"schema": 3, "name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=["empty", "binary", "null", "list", "text as schema", "only a schema", "not utf-8", "cut", "deep"],
)
def test_what_is_no_manifest_is_refused_without_a_crash(data: bytes) -> None:
    with pytest.raises(ContractError, match=r"manifest\.json"):
        parse_manifest(data)


def test_a_giant_manifest_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(ContractError, match=f"at most {MANIFEST_LIMIT_BYTES} are allowed"):
        parse_manifest(b" " * (MANIFEST_LIMIT_BYTES + 1))


def test_a_variant_that_is_not_there_is_answered_with_those_that_are(manifest: Manifest) -> None:
    assert manifest.variant("onnx-float32").engine.value == "onnx"
    with pytest.raises(ContractError, match="no variant 'int4' in bundle 'colours'; it has: tflite-float32, tflite-"):
        manifest.variant("int4")
