"""Polls of a board, from the channel on a real web server to its installer."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from broker import Listener, make_broker
from channels import QUICK, Publisher
from static_server import StaticServer, static_server

from device.bundle import open_bundle
from device.channel.address import parse_source
from device.channel.board_id import APPLICATION, board_id, derive
from device.channel.installing import BoardInstaller
from device.channel.offer import Offer, included
from device.channel.timer import CALENDAR, service_text, timer_text
from device.channel.update import FakeInstaller, UpdateConfig, Updated, update
from device.choosing import Chosen, choose_here
from device.releases.base import FakeService, Verdict
from device.releases.installer import Installer
from device.releases.refusals import Busy, Expired, KnownBad, TrialFailed, Unhealthy
from device.releases.store import Store
from device.trust.base import FakeVerifier
from device.trust.root import enroll

Poll = Callable[..., Updated]


@pytest.fixture
def publisher(tmp_path: Path, colour_models: dict[str, bytes]) -> Publisher:
    return Publisher(tmp_path / "channel", colour_models)


@pytest.fixture
def site(publisher: Publisher) -> Iterator[StaticServer]:
    publisher.publish("1.0.0")
    with static_server(publisher.folder) as server:
        yield server


@pytest.fixture
def installer(tmp_path: Path) -> FakeInstaller:
    return FakeInstaller(tmp_path / "store")


@pytest.fixture
def poll(publisher: Publisher, site: StaticServer, installer: FakeInstaller, tmp_path: Path) -> Poll:
    (tmp_path / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")

    def once(say: Callable[[str], None] = lambda line: None, check: bool = False, **options: Any) -> Updated:
        config = UpdateConfig(
            source=parse_source(site.url), store=installer.store, machine_id=tmp_path / "machine-id", limits=QUICK
        )
        return update(
            dataclasses.replace(config, **options), publisher.keys.roots[0], None if check else installer, say
        )

    return once


def choose(store: Path) -> Chosen:
    """As the trial of a real installer does: the choice is kept with the release."""
    current = (store / "current").resolve()
    with open_bundle(current / "bundle.egb") as bundle:
        return choose_here(bundle, current)


def test_first_whole_then_only_what_this_board_has_chosen(
    poll: Poll, publisher: Publisher, site: StaticServer, installer: FakeInstaller
) -> None:
    assert poll().updated
    variant = choose(installer.store).variant
    assert not poll().updated
    publisher.publish("1.1.0")
    site.forget()
    result = poll()
    assert (result.before, result.version, result.updated) == ("1.0.0", "1.1.0", True)
    assert installer.installed[1] == variant
    assert [path for path, _ in site.requests if "bundles" in path] == [
        path for path, _ in site.requests if path.endswith(f"colours-1.1.0.{variant}.egb.xz")
    ]
    publisher.publish("1.2.0")
    poll(all_variants=True)
    assert installer.installed[2].count(",") == 3, "asked for, the whole bundle comes"


def test_a_variant_that_does_not_do_any_more_leads_to_the_whole_bundle_once(
    poll: Poll, publisher: Publisher, site: StaticServer, installer: FakeInstaller
) -> None:
    poll()
    choose(installer.store)
    publisher.publish("1.1.0")
    installer.refusals = [TrialFailed("wrong answers")]
    assert poll().updated
    assert installer.installed[-1].count(",") == 3


def test_what_was_refused_for_good_is_not_fetched_again(
    poll: Poll, publisher: Publisher, site: StaticServer, installer: FakeInstaller
) -> None:
    poll()
    publisher.publish("1.1.0")
    installer.refusals = [Unhealthy("no frames")]
    with pytest.raises(Unhealthy):
        poll()
    site.forget()
    with pytest.raises(KnownBad, match="no frames"):
        poll()
    assert not [path for path, _ in site.requests if "bundles" in path]
    assert poll(again=True).updated


def test_check_only_looks(poll: Poll, installer: FakeInstaller) -> None:
    result = poll(check=True)
    assert (result.version, result.updated, installer.installed) == ("1.0.0", False, [])


def test_one_update_at_a_time(poll: Poll, installer: FakeInstaller) -> None:
    (installer.store / "channel").mkdir(parents=True)
    handle = os.open(installer.store / "channel", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(Busy):
        poll()
    os.close(handle)


def test_a_staged_release_reaches_some_boards_and_then_all(
    poll: Poll, publisher: Publisher, installer: FakeInstaller
) -> None:
    poll()
    publisher.publish("1.1.0", rollout_percent=0)
    assert poll().version == "1.0.0", "the one before is still offered"
    publisher.publish("1.1.0", rollout_percent=100)
    assert poll().updated


def test_a_rollout_grows_without_losing_a_board_and_draws_others_for_another_release() -> None:
    boards = [derive(uuid.UUID(int=number)) for number in range(4000)]

    def of(percent: int, version: str = "1.0.0") -> set[str]:
        offer = Offer(schema=1, name="a", version=version, sha256="0" * 64, size_bytes=1, rollout_percent=percent)
        return {board for board in boards if included(board, offer)}

    assert of(0) == set()
    assert of(100) == set(boards)
    assert of(5) < of(25) < of(60)
    assert 0.22 < len(of(25)) / len(boards) < 0.28
    assert len(of(25) & of(25, "1.0.1")) < len(of(25)) / 2


def test_the_board_id_is_what_systemd_derives_and_not_the_machine_id(tmp_path: Path) -> None:
    program = shutil.which("systemd-id128")
    machine = Path("/etc/machine-id")
    if not program or not machine.is_file() or len(machine.read_text().strip()) != 32:
        pytest.skip("no systemd-id128, or this machine has no id")
    command = [program, "machine-id", f"--app-specific={APPLICATION.hex}"]
    expected = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert board_id(tmp_path) == expected != machine.read_text().strip()


def test_a_board_without_a_machine_id_keeps_one_that_it_draws(tmp_path: Path) -> None:
    (tmp_path / "machine-id").write_text("uninitialized\n")
    first = board_id(tmp_path, tmp_path / "machine-id")
    assert first == board_id(tmp_path, tmp_path / "machine-id") != board_id(tmp_path / "other", tmp_path / "missing")


def test_states_are_reported_over_mqtt_when_they_change_and_until_they_arrive(
    poll: Poll, publisher: Publisher, installer: FakeInstaller, tmp_path: Path
) -> None:
    broker = make_broker(tmp_path / "broker")
    uri = f"mqtt://127.0.0.1:{broker.port}/fleet/greenhouse"
    said: list[str] = []
    board = poll(said.append).board
    broker.start()
    listener = Listener(broker.port)
    try:
        topic = f"fleet/greenhouse/{board}/update"
        poll(report=uri)
        poll(report=uri)
        publisher.publish("1.1.0")
        installer.refusals = [Unhealthy("no frames")]
        with pytest.raises(Unhealthy):
            poll(report=uri)
        bodies = [json.loads(body) for body in listener.wait(topic, lambda bodies: len(bodies) >= 2)]
    finally:
        listener.close()
        broker.stop()
    assert [(one["result"], one["version"], one["exit_code"]) for one in bodies] == [
        ("current", "1.0.0", 0),
        ("refused", "1.0.0", 21),
    ]
    assert listener.of("fleet/greenhouse/availability") == []


@pytest.mark.parametrize("every", CALENDAR)
def test_systemd_takes_the_timer_and_the_service(every: str, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    command = ["/bin/true", "update", "--channel=https://example.com/a%20b$c"]
    timer = tmp_path / "edgegraft-update.timer"
    timer.write_text(timer_text("edgegraft", every))
    service = tmp_path / "edgegraft-update.service"
    service.write_text(service_text("edgegraft", command, Path("/var/lib/edgegraft-releases/edgegraft"), True, {}))
    done = subprocess.run(["systemd-analyze", "verify", timer, service], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "edgegraft-update" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_the_boards_own_installer_tries_switches_and_keeps_the_choice_for_the_next_update(
    publisher: Publisher, site: StaticServer, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    service = FakeService([Verdict(True), Verdict(False, "no frames"), Verdict(True)])
    board = BoardInstaller(store, service)
    config = UpdateConfig(parse_source(site.url), store.root, limits=QUICK)
    root = publisher.keys.roots[0]
    assert update(config, root, board).updated
    first = store.current()
    assert first is not None
    assert first.record.signed
    publisher.publish("1.1.0")
    with pytest.raises(Unhealthy):
        update(config, root, board)
    assert store.current() == first
    site.forget()
    with pytest.raises(KnownBad):
        update(config, root, board)
    publisher.publish("1.2.0")
    assert update(config, root, board).updated
    second = store.current()
    assert second is not None
    assert second.record.version == "1.2.0"
    with open_bundle(second.bundle) as bundle:
        assert len(bundle.manifest.variants) == 1, "only the variant that this board chose came"
    rolled = Installer(store, service, FakeVerifier({})).rollback()
    assert rolled.version == "1.0.0"
    site.forget()
    with pytest.raises(KnownBad):
        update(config, root, board)
    assert not [path for path, _ in site.requests if "bundles" in path], "gone back by hand, it does not come again"


def test_keys_that_the_channel_replaced_count_no_more_for_bundles_by_hand(
    poll: Poll, publisher: Publisher, installer: FakeInstaller
) -> None:
    trust = installer.store / "trust"
    enroll(trust, publisher.keys.roots[0])
    poll()
    publisher.keys.rotate("targets")
    publisher.publish("1.1.0")
    poll()
    assert (trust / "root.json").read_bytes() == publisher.keys.roots[-1]


def test_a_clock_before_the_boards_own_enrolment_does_not_bring_an_expired_channel_back(
    poll: Poll, publisher: Publisher, installer: FakeInstaller
) -> None:
    trust = installer.store / "trust"
    enroll(trust, publisher.keys.roots[0])
    later = time.time() + 100 * 86_400
    os.utime(trust / "root.json", (later, later))
    with pytest.raises(Expired):
        poll()
    assert not installer.installed
