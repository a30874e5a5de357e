"""Channels (5, 12 to 14, and servers that are cut off, dead, slow, endless, or hold something else)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from channels import QUICK, Publisher
from static_server import StaticServer, static_server

from device.channel.address import parse_source
from device.channel.errors import ChannelError
from device.channel.limits import Limits
from device.channel.offer import Listed, file_for, release_for
from device.channel.update import FakeInstaller, UpdateConfig, update
from device.errors import UsageError
from device.releases.refusals import Damaged, Expired, Older, Untrusted
from export.channel.repository import Lifetimes

BOARD = "0" * 32


@pytest.fixture
def publisher(tmp_path: Path, colour_models: dict[str, bytes]) -> Publisher:
    return Publisher(tmp_path / "channel", colour_models)


@pytest.fixture
def site(publisher: Publisher) -> Iterator[StaticServer]:
    publisher.publish("1.0.0")
    with static_server(publisher.folder) as server:
        yield server


def fetch(publisher: Publisher, site: StaticServer, folder: Path, limits: Limits = QUICK) -> Path:
    with publisher.board(site, folder, limits=limits) as client:
        return client.fetch(file_for(release_for(BOARD, client.refresh(), None), None))


def listed(publisher: Publisher, site: StaticServer, folder: Path) -> Listed:
    with publisher.board(site, folder) as client:
        return file_for(release_for(BOARD, client.refresh(), None), None)


def test_05_a_transfer_that_is_cut_goes_on_where_it_was(
    publisher: Publisher, site: StaticServer, tmp_path: Path
) -> None:
    whole = publisher.bundle("1.0.0").read_bytes()
    listed(publisher, site, tmp_path / "board")
    site.forget()
    site.faults.cut_after = [len(whole) // 2]
    assert fetch(publisher, site, tmp_path / "board").read_bytes() == whole
    assert site.sent < len(whole) + 8_000, "nothing is fetched twice"
    assert [status for path, status in site.requests if "bundles" in path] == [200, 206]


def test_05_the_next_poll_goes_on_where_the_last_one_gave_up(
    publisher: Publisher, site: StaticServer, tmp_path: Path
) -> None:
    whole = publisher.bundle("1.0.0").read_bytes()
    site.faults.cut_after = [len(whole) // 2, 0, 0, 0]
    with pytest.raises(ChannelError, match=f"{len(whole) // 2} of {len(whole)} bytes are kept"):
        fetch(publisher, site, tmp_path / "board", Limits(attempts=2, pause_s=0.01))
    site.faults.cut_after.clear()
    site.forget()
    assert fetch(publisher, site, tmp_path / "board").read_bytes() == whole
    assert site.sent < len(whole) // 2 + 8_000


def test_05_a_server_without_ranges_starts_again(publisher: Publisher, site: StaticServer, tmp_path: Path) -> None:
    whole = publisher.bundle("1.0.0").read_bytes()
    site.faults.without_ranges = True
    listed(publisher, site, tmp_path / "board")
    site.faults.cut_after = [len(whole) // 2]
    assert fetch(publisher, site, tmp_path / "board").read_bytes() == whole


def test_05_a_part_that_was_spoiled_on_the_disk_is_found_and_fetched_anew(
    publisher: Publisher, site: StaticServer, tmp_path: Path
) -> None:
    target = listed(publisher, site, tmp_path / "board").target
    partial = tmp_path / "board" / "fetch" / f"{target.hashes['sha256']}.part"
    partial.parent.mkdir()
    partial.write_bytes(b"\0" * 1000)
    with pytest.raises(Damaged):
        fetch(publisher, site, tmp_path / "board")
    assert fetch(publisher, site, tmp_path / "board").read_bytes() == publisher.bundle("1.0.0").read_bytes()


def test_06_wrong_bytes_of_a_target_are_refused(publisher: Publisher, site: StaticServer, tmp_path: Path) -> None:
    for path in (publisher.folder / "bundles").iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(Damaged) as caught:
        fetch(publisher, site, tmp_path / "board")
    assert caught.value.exit_code == 10
    assert not list((tmp_path / "board" / "fetch").iterdir())


def test_12_an_older_version_than_the_one_at_work_is_refused(
    publisher: Publisher, site: StaticServer, tmp_path: Path, colour_models: dict[str, bytes]
) -> None:
    publisher.publish("2.0.0")
    installer = FakeInstaller(tmp_path / "store")

    def config(url: str) -> UpdateConfig:
        return UpdateConfig(source=parse_source(url), store=installer.store, limits=QUICK)

    update(config(site.url), publisher.keys.roots[0], installer)
    behind = Publisher(tmp_path / "behind" / "channel", colour_models)
    behind.keys = publisher.keys
    behind.folder.parent.mkdir()
    behind.publish("1.0.0")
    with static_server(behind.folder) as other, pytest.raises(Older, match="does not go back") as caught:
        update(config(other.url), publisher.keys.roots[0], installer)
    assert caught.value.exit_code == 13
    assert len(installer.installed) == 1


def test_12_old_metadata_in_place_of_the_new_is_refused(
    publisher: Publisher, site: StaticServer, tmp_path: Path
) -> None:
    shutil.copytree(publisher.folder, tmp_path / "yesterday")
    publisher.publish("1.1.0")
    fetch(publisher, site, tmp_path / "board")
    shutil.copyfile(tmp_path / "yesterday" / "timestamp.json", publisher.folder / "timestamp.json")
    with pytest.raises(Older) as caught:
        fetch(publisher, site, tmp_path / "board")
    assert caught.value.exit_code == 13


def test_14_an_expired_channel_installs_nothing(tmp_path: Path, colour_models: dict[str, bytes]) -> None:
    publisher = Publisher(tmp_path / "channel", colour_models, Lifetimes(timestamp_days=-1))
    publisher.publish("1.0.0")
    installer = FakeInstaller(tmp_path / "store")
    with static_server(publisher.folder) as site, pytest.raises(Expired, match="--renew") as caught:
        update(UpdateConfig(parse_source(site.url), installer.store), publisher.keys.roots[0], installer)
    assert caught.value.exit_code == 14
    assert not installer.installed


def test_14_an_expired_root_is_refused(tmp_path: Path, colour_models: dict[str, bytes]) -> None:
    from export.channel.keys import FakeKeys

    publisher = Publisher(tmp_path / "channel", colour_models)
    publisher.keys = FakeKeys(datetime.now(timezone.utc).replace(microsecond=0) - timedelta(days=1))
    publisher.publish("1.0.0")
    with static_server(publisher.folder) as site, pytest.raises(Expired):
        listed(publisher, site, tmp_path / "board")


def test_a_dead_server_changes_nothing(publisher: Publisher, site: StaticServer, tmp_path: Path) -> None:
    site.stop()
    with pytest.raises(ChannelError, match="not reached") as caught:
        fetch(publisher, site, tmp_path / "board")
    assert caught.value.exit_code == 27


def test_endless_answers_are_cut_off(publisher: Publisher, site: StaticServer, tmp_path: Path) -> None:
    target = listed(publisher, site, tmp_path / "board").target
    site.faults.endless = True
    site.forget()
    with pytest.raises(ChannelError):
        listed(publisher, site, tmp_path / "other")
    # What a client takes at most, and what the sockets of both sides hold.
    assert site.sent < 20_000_000
    with publisher.board(site, tmp_path / "board") as client, pytest.raises(Damaged, match="more than"):
        client._fetcher.resume(target.get_prefixed_paths()[0], tmp_path / "part", target.length, lambda count: None)
    assert (tmp_path / "part").stat().st_size == 0


def test_a_server_that_drips_is_left(publisher: Publisher, site: StaticServer, tmp_path: Path) -> None:
    site.faults.drip_s = 0.01
    with pytest.raises(ChannelError, match="too slow"):
        listed(publisher, site, tmp_path / "board")


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_changed_metadata_is_refused(publisher: Publisher, site: StaticServer, tmp_path: Path, name: str) -> None:
    path = publisher.folder / name
    whole = path.read_bytes()
    for data in (whole.replace(b'"version":1', b'"version":2', 1), whole[:-20], b"", b"<html>login</html>"):
        path.write_bytes(data)
        with pytest.raises((Untrusted, Damaged, Older, ChannelError)):
            listed(publisher, site, tmp_path / "board")
    path.write_bytes(whole)
    assert listed(publisher, site, tmp_path / "board").offer.version == "1.0.0"


def test_41_secrets_do_not_stand_in_addresses() -> None:
    for url in ("https://user:hush@example.com/a", "https://hush@example.com/a", "ftp://hush/", "https://a/?sig=hush"):
        with pytest.raises(UsageError) as caught:
            parse_source(url)
        assert "hush" not in str(caught.value)
