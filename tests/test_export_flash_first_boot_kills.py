"""A preparation that is killed anywhere: the same command makes a whole card of it, with what Imager had asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from device.bundle import write_bundle
from export.flash.first_boot import prepare
from export.flash.first_boot.card import MountedCard
from export.flash.first_boot.prepare import CardConfig, prepare_card
from tests.bundles import colour_manifest, colour_models
from tests.cards import IMAGER_CMDLINE, IMAGER_USER_DATA, PI_OS, tiny_wheelhouse, write_folder


class Killed(BaseException):
    """As a signal: nothing catches it."""


class CutOff(MountedCard):
    """A real card that stops before its n-th change."""

    left = 0

    def _count(self) -> None:
        type(self).left -= 1
        if type(self).left < 0:
            raise Killed

    def write(self, name: str, data: bytes) -> None:
        self._count()
        # The most that mtools do, which have no rename: the file is gone before the new one is there.
        (Path(self.where) / name).unlink(missing_ok=True)
        self._count()
        super().write(name, data)

    def copy(self, source: Path, name: str) -> None:
        self._count()
        super().copy(source, name)

    def remove(self, name: str) -> None:
        self._count()
        super().remove(name)


@pytest.mark.parametrize("before", [0, 1])
def test_killed_before_every_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    write_bundle(tmp_path / "colours.egb", *colour_manifest(colour_models()))
    wheels = tiny_wheelhouse(tmp_path / "wheels")
    kills = 0
    while True:
        seeds = {"user-data": IMAGER_USER_DATA, "cmdline.txt": IMAGER_CMDLINE}
        folder = write_folder(tmp_path / f"card-{kills}", {**PI_OS, **seeds})
        config = CardConfig(tmp_path / "colours.egb", boot=folder, allow_unsigned=True, wheelhouse=wheels)
        for _ in range(before):
            prepare_card(config)
        CutOff.left = kills
        with monkeypatch.context() as patched:
            patched.setattr(prepare, "MountedCard", CutOff)
            try:
                prepare_card(config)
                break
            except Killed:
                kills += 1
        done = prepare_card(config)
        found = yaml.safe_load((folder / "user-data").read_bytes())
        assert found["users"] == yaml.safe_load(IMAGER_USER_DATA)["users"], kills
        assert len(found["bootcmd"]) == 1
        line = (folder / "cmdline.txt").read_text()
        assert f"ds=nocloud;i={done.instance}" in line
        assert "root=PARTUUID" in line
        assert done.instance in (folder / "meta-data").read_text()
        assert not (folder / "edgegraft/before").exists()
    assert kills > 25
