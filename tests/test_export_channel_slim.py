"""What an update of a real model costs, to the byte."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import msgspec
import numpy as np
from bundles import _variant, colour_manifest
from channels import QUICK
from static_server import static_server

from device.bundle import file_entry, open_bundle, pack_arrays, write_bundle
from device.channel.address import parse_source
from device.channel.client import ChannelClient
from device.channel.offer import file_for, release_for
from device.contract import EngineKind, PreprocessSpec
from device.engines.factory import load_engine
from export.channel.keys import FakeKeys
from export.channel.publish import publish
from export.channel.repository import Repository

NAME = "tflite-static-int8"


def mobilenet_bundle(path: Path, version: str, model: bytes, photos: list[Path], colours: dict[str, bytes]) -> Path:
    """An int8 MobileNetV2 with eight golden photos and a large report."""
    pictures = [cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB) for photo in photos]
    inputs = np.stack([cv2.resize(one, (224, 224), interpolation=cv2.INTER_AREA) for one in pictures]).astype(np.uint8)
    with load_engine(EngineKind.LITERT, model, 2) as engine:
        answers = np.stack([engine.run(one) for one in inputs])
        variant = _variant(NAME, EngineKind.LITERT, "model.tflite", model, engine.input, engine.output, 0.0)
    golden, report = pack_arrays({"inputs": inputs, NAME: answers}), b"<p>" * 200_000
    manifest, _ = colour_manifest(dict(list(colours.items())[:1]))
    manifest = msgspec.structs.replace(
        manifest,
        name="things",
        version=version,
        classes=tuple(f"class {number}" for number in range(answers.shape[1])),
        preprocess=PreprocessSpec(height=224, width=224),
        variants=(variant,),
        golden=msgspec.structs.replace(manifest.golden, file=file_entry("golden.npz", golden)),
        report=file_entry("report.html", report),
    )
    write_bundle(path, manifest, {"model.tflite": model, "golden.npz": golden, "report.html": report})
    return path


def test_an_update_moves_at_most_a_tenth_more_than_the_model(
    shared_data: Path, colour_models: dict[str, bytes], tmp_path: Path
) -> None:
    model = (shared_data / "weights" / "tf2_mobilenet_v2_1.0_224_ptq.tflite").read_bytes()
    photos = sorted((shared_data / "sets" / "imagenet_sample").rglob("*.jpg"))[:8]
    keys = FakeKeys(datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=9))
    repository = Repository(tmp_path / "channel", keys)

    def offer(version: str) -> None:
        publish(mobilenet_bundle(tmp_path / f"{version}.egb", version, model, photos, colour_models), repository)

    def fetched() -> Path:
        with ChannelClient(parse_source(site.url), tmp_path / "board", keys.roots[0], limits=QUICK) as client:
            return client.fetch(file_for(release_for("0" * 32, client.refresh(), None), NAME))

    offer("1.0.0")
    with static_server(repository.folder) as site:
        fetched()
        offer("1.1.0")
        site.forget()
        with open_bundle(fetched()) as slim:
            assert slim.manifest.version == "1.1.0"
            assert slim.model(slim.manifest.variant(NAME)) == model
            assert len(slim.golden()[0]) >= 3
        assert site.sent + site.received <= 1.1 * len(model)
        site.forget()
        with ChannelClient(parse_source(site.url), tmp_path / "board", keys.roots[0], limits=QUICK) as client:
            client.refresh()
        assert len(site.requests) <= 3
        assert site.sent + site.received < 10_000
