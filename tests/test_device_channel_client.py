"""A board at a channel, through a real web server: what it fetches, and what it costs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker import make_certificates
from channels import Publisher
from static_server import StaticServer, static_server

from device.bundle import open_bundle
from device.channel.address import parse_source
from device.channel.client import ChannelClient, ChannelVerifier
from device.channel.errors import ChannelError
from device.channel.limits import Limits, Pace
from device.channel.offer import file_for, release_for
from device.releases.refusals import Damaged, Untrusted
from export.channel.publish import renew

BOARD = "0" * 32


@pytest.fixture
def publisher(tmp_path: Path, colour_models: dict[str, bytes]) -> Publisher:
    return Publisher(tmp_path / "channel", colour_models)


@pytest.fixture
def site(publisher: Publisher) -> Iterator[StaticServer]:
    publisher.publish("1.0.0")
    with static_server(publisher.folder) as server:
        yield server


def test_first_poll_fetches_the_whole_bundle_as_it_was_published(
    publisher: Publisher, site: StaticServer, tmp_path: Path
) -> None:
    with publisher.board(site, tmp_path / "board") as client:
        release = release_for(BOARD, client.refresh(), None)
        fetched = client.fetch(file_for(release, None))
    assert fetched.read_bytes() == publisher.bundle("1.0.0").read_bytes()


def test_poll_of_an_unchanged_channel_is_two_small_requests(
    publisher: Publisher, site: StaticServer, tmp_path: Path
) -> None:
    with publisher.board(site, tmp_path / "board") as client:
        client.refresh()
    site.forget()
    with publisher.board(site, tmp_path / "board") as client:
        client.refresh()
    assert site.requests == [("/2.root.json", 404), ("/timestamp.json", 200)]
    assert site.sent + site.received < 4000
    renew(publisher.repository)
    site.forget()
    with publisher.board(site, tmp_path / "board") as client:
        client.refresh()
    assert site.requests == [("/2.root.json", 404), ("/timestamp.json", 200)]


def test_a_board_that_has_chosen_fetches_a_valid_bundle_of_its_variant_only(
    publisher: Publisher, site: StaticServer, tmp_path: Path
) -> None:
    with publisher.board(site, tmp_path / "board") as client:
        listed = file_for(release_for(BOARD, client.refresh(), "colours"), "tflite-static-int8")
        site.forget()
        fetched = client.fetch(listed)
    with open_bundle(fetched) as slim, open_bundle(publisher.bundle("1.0.0")) as whole:
        (variant,) = slim.manifest.variants
        assert (slim.manifest.name, slim.manifest.version) == ("colours", "1.0.0")
        assert variant == whole.manifest.variant("tflite-static-int8")
        inputs, answers = slim.golden()
        count = len(inputs)
        assert 3 <= count <= 6
        assert (inputs == whole.golden()[0][:count]).all()
        assert (answers[variant.name] == whole.golden()[1][variant.name][:count]).all()
    assert site.sent < publisher.bundle("1.0.0").stat().st_size / 3


def test_a_variant_that_a_release_lacks_leads_to_the_whole_bundle(
    publisher: Publisher, site: StaticServer, tmp_path: Path
) -> None:
    with publisher.board(site, tmp_path / "board") as client:
        listed = file_for(release_for(BOARD, client.refresh(), "colours"), "tflite-int16x8")
    assert listed.offer.variant is None


def test_keys_are_followed_along_the_chain_of_roots(publisher: Publisher, site: StaticServer, tmp_path: Path) -> None:
    with publisher.board(site, tmp_path / "board") as client:
        client.refresh()
    for role in ("timestamp", "targets", "root"):
        publisher.keys.rotate(role)
    notes = publisher.publish("1.1.0").notes
    assert notes, "whoever publishes is told that the older listing is not continued"
    with publisher.board(site, tmp_path / "board") as client:
        release = release_for(BOARD, client.refresh(), "colours")
        assert client.roots == list(publisher.keys.roots)
    assert {one.offer.version for one in release} == {"1.1.0"}


def test_metadata_of_other_keys_is_refused(
    publisher: Publisher, site: StaticServer, tmp_path: Path, colour_models: dict[str, bytes]
) -> None:
    other = Publisher(tmp_path / "other", colour_models)
    other.publish("1.0.0")
    with (
        static_server(other.folder) as theirs,
        publisher.board(theirs, tmp_path / "board") as client,
        pytest.raises(Untrusted, match="not signed by keys"),
    ):
        client.refresh()


def test_what_is_installed_is_exactly_what_was_offered(
    publisher: Publisher, site: StaticServer, tmp_path: Path
) -> None:
    with publisher.board(site, tmp_path / "board") as client:
        offer = file_for(release_for(BOARD, client.refresh(), None), None).offer
    verifier = ChannelVerifier(offer, "http://example")
    verified = verifier.verify(Path("b.egb"), offer.sha256, offer.size_bytes)
    assert (verified.signed, verified.name, verified.version) == (True, "colours", "1.0.0")
    for sha256, size in ((offer.sha256[::-1], offer.size_bytes), (offer.sha256, offer.size_bytes + 1)):
        with pytest.raises(Untrusted):
            verifier.verify(Path("b.egb"), sha256, size)


def test_a_login_is_sent_to_the_channel_only_and_never_shown(tmp_path: Path, publisher: Publisher) -> None:
    publisher.publish("1.0.0")
    (tmp_path / "login").write_text("board:hush-hush\n")
    (tmp_path / "login").chmod(0o600)
    make_certificates(tmp_path)
    with static_server(publisher.folder, tmp_path) as site, static_server(publisher.folder, tmp_path) as elsewhere:
        site.faults.login = "Basic Ym9hcmQ6aHVzaC1odXNo"
        source = parse_source(site.url, f"file:{tmp_path / 'login'}", tmp_path / "ca.pem")
        assert "hush" not in repr(source)
        with ChannelClient(source, tmp_path / "board", publisher.keys.roots[0]) as client:
            assert client.refresh()
        site.faults.redirect = elsewhere.url.rstrip("/") + "{path}"
        with ChannelClient(source, tmp_path / "board", publisher.keys.roots[0]) as client:
            assert client.refresh()
        assert elsewhere.headers
        assert not any("Authorization" in headers for headers in elsewhere.headers)
        source = parse_source(site.url, None, tmp_path / "ca.pem")
        site.faults.redirect = ""
        client = ChannelClient(source, tmp_path / "board", publisher.keys.roots[0])
        with client, pytest.raises(ChannelError, match="answers 401"):
            client.refresh()


def test_redirects_lead_neither_in_circles_nor_elsewhere_than_the_web(
    publisher: Publisher, site: StaticServer, tmp_path: Path
) -> None:
    for target, message in (("{path}", "redirects"), ("file:///etc/passwd", "not followed")):
        site.faults.redirect = target
        with publisher.board(site, tmp_path / "board") as client, pytest.raises(ChannelError, match=message):
            client.refresh()


def test_a_rate_is_kept_to_by_waiting() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    pace = Pace(100_000, Limits(), clock=lambda: now[0], sleep=sleep)
    for _ in range(100):
        pace.took(10_000)
    assert now[0] == pytest.approx(10.0, rel=0.15)


def test_wrong_sizes_inside_a_packed_file_are_found_before_the_disk_is_full(
    publisher: Publisher, site: StaticServer, tmp_path: Path
) -> None:
    import msgspec

    with publisher.board(site, tmp_path / "board") as client:
        listed = file_for(release_for(BOARD, client.refresh(), "colours"), "onnx-float32")
        small = msgspec.structs.replace(listed.offer, size_bytes=100)
        with pytest.raises(Damaged, match="101 bytes"):
            client.fetch(type(listed)(small, listed.target))
    assert sum(path.stat().st_size for path in (tmp_path / "board" / "fetch").iterdir()) <= listed.target.length


def test_old_files_on_their_way_are_removed_for_the_new(
    publisher: Publisher, site: StaticServer, tmp_path: Path
) -> None:
    fetched = []
    for version in ("1.0.0", "1.1.0"):
        publisher.publish(version)
        with publisher.board(site, tmp_path / "board") as client:
            fetched.append(client.fetch(file_for(release_for(BOARD, client.refresh(), "colours"), None)))
    assert [path.exists() for path in fetched] == [False, True]
    assert len(list(itertools.chain((tmp_path / "board" / "fetch").iterdir()))) == 1
