"""The pages in a real browser: what a person sees and clicks, on a phone and at a desk; screenshots are kept."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import DESKTOP, PATIENCE_MS, PHONE, Visitor, chromium
from live_world import LiveWorld
from playwright.sync_api import Error

from device.cameras.spec import Region
from device.capture import CaptureSession
from device.collection import Collection
from device.status import DriftStatus, Health, State
from device.web.address import WebAddress, WebConfig
from device.web.app import WebServer
from device.web.capture import CaptureServer, serve_capture

LOOPBACK = WebAddress("127.0.0.1", 0)
TOKEN = "correct-horse-battery"
LONG = (
    "Leucanthemum vulgare subsp. pallens var. extraordinarily long",
    "Donaudampfschifffahrtsgesellschaft" * 2,
    "ورد",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


def innocent(visitor: Visitor) -> None:
    """No complaint on the console, nothing asked of another host, nothing wider than the window."""
    assert visitor.complaints == []
    assert visitor.strangers == []
    assert visitor.overflow() <= 0
    visitor.close()


def seen(page: Any, script: str) -> None:
    """Wait until it is so. Playwright's own waiting would need 'unsafe-eval', which the page forbids."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < end:
        try:
            if page.evaluate(script):
                return
        except Error as err:  # the page is just being replaced by another
            if "context was destroyed" not in str(err):
                raise
        page.wait_for_timeout(50)
    raise AssertionError(f"it did not come to be: {script}")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_picture_answer_bars_history_and_saving(browser: Any, tmp_path: Path, size: dict[str, int], dark: bool) -> None:
    world = LiveWorld()
    world.past(110, "bench")
    world.shown = "rose"
    name = f"live-{'phone' if size is PHONE else 'desktop'}-{'dark' if dark else 'light'}"
    with world.running(), WebServer(world.monitor, WebConfig(LOOPBACK), Collection(tmp_path / "photos")) as server:
        server.start()
        visitor = Visitor(browser, server.url, size, dark)
        page = visitor.page
        seen(page, "document.querySelector('#label').textContent === 'rose'")
        seen(page, "document.querySelector('#picture').naturalWidth === 640")
        first = page.locator("#bars li").first
        assert first.inner_text().split("\n")[0] == "rose"
        assert first.locator(".fill").bounding_box()["width"] > 0.8 * first.locator(".track").bounding_box()["width"]
        assert page.locator("#bars li:visible").count() == 5
        assert page.locator("#state").inner_text() == "ok"
        assert "51 °C" in page.locator("#facts").inner_text()
        seen(page, "document.querySelector('#legend').textContent.includes('tulip')")
        seen(page, "document.querySelector('#rate-now').textContent.endsWith('/s')")
        page.get_by_role("button", name="rose").click()
        seen(page, "document.querySelector('#said').textContent.startsWith('saved rose/')")
        # The very same picture cannot lie in two classes: wait for another.
        before = page.evaluate("document.querySelector('#picture').src")
        seen(page, f"document.querySelector('#picture').src !== {json.dumps(before)}")
        page.get_by_label("New class").fill("peony")
        page.get_by_label("New class").press("Enter")
        page.get_by_role("button", name="peony").wait_for()
        visitor.shoot(tmp_path, name)
        world.shown = "daisy"
        seen(page, "document.querySelector('#label').textContent === 'daisy'")
        seen(page, "document.querySelector('#spoken').textContent === 'daisy'")
        seen(page, "document.querySelector('#events').textContent.includes('changed to daisy')")
        innocent(visitor)
    assert {path.parent.name for path in tmp_path.glob("photos/*/*.jpg")} == {"rose", "peony"}


def test_trouble_is_told(browser: Any, tmp_path: Path) -> None:
    world = LiveWorld(
        state=State.DEGRADED,
        reasons=("camera bench: no frame for 12 s; opened again in 8 s",),
        health=Health(cpu_celsius=83.0, throttled=True, under_voltage=True, warnings=("the supply is too weak",)),
        drift=(DriftStatus(camera="bench", warnings=("the picture is darker than in training: clean the lens",)),),
    )
    with world.running(), WebServer(world.monitor, WebConfig(LOOPBACK)) as server:
        server.start()
        visitors = [Visitor(browser, server.url, size) for size in (PHONE, DESKTOP)]
        for visitor in visitors:
            seen(visitor.page, "document.querySelector('#label').textContent === 'rose'")
        world.frozen = True
        for visitor, name in zip(visitors, ("phone", "desktop"), strict=True):
            page = visitor.page
            told = page.locator("#notices").inner_text()
            assert all(text in told for text in ("no frame for 12 s", "supply is too weak", "clean the lens"))
            assert page.locator("#state").inner_text() == "degraded"
            assert page.locator("#save").is_hidden()
            seen(page, "/^picture is [0-9]+ s old$/.test(document.querySelector('#stale').textContent)")
            visitor.shoot(tmp_path, f"degraded-{name}")
            innocent(visitor)


def test_unknown_is_said(browser: Any, tmp_path: Path) -> None:
    world = LiveWorld(shown=None)
    with world.running(), WebServer(world.monitor, WebConfig(LOOPBACK)) as server:
        server.start()
        visitor = Visitor(browser, server.url, PHONE)
        seen(visitor.page, "document.querySelector('#moment').textContent.startsWith('closest: tulip')")
        assert visitor.page.locator("#label").inner_text() == "unknown"
        visitor.shoot(tmp_path, "unknown-phone")
        innocent(visitor)


def test_two_cameras_with_regions(browser: Any, tmp_path: Path) -> None:
    world = LiveWorld(cameras=("conveyor", "gate"), regions=("left", "right"))
    parts = {"conveyor": (Region("left", 0.02, 0.1, 0.45, 0.8), Region("right", 0.52, 0.1, 0.45, 0.8))}
    with world.running(), WebServer(world.monitor, WebConfig(LOOPBACK), regions=parts) as server:
        server.start()
        visitor = Visitor(browser, server.url, DESKTOP)
        page = visitor.page
        page.get_by_role("tab", name="right").click()
        seen(page, "document.querySelectorAll('.box').length === 2")
        seen(page, "document.querySelector('#label').textContent === 'rose'")
        visitor.shoot(tmp_path, "two-cameras-desktop")
        page.get_by_role("tab", name="conveyor").press("ArrowRight")
        assert page.get_by_role("tab", name="gate").get_attribute("aria-selected") == "true"
        seen(page, "document.querySelector('#facts').textContent.includes('Camera gate')")
        seen(page, "!document.querySelector('#picture').hidden")
        innocent(visitor)


@pytest.mark.parametrize("size", [{"width": 360, "height": 740}, DESKTOP], ids=["small", "desktop"])
def test_long_names_and_a_hundred_classes_fit(browser: Any, tmp_path: Path, size: dict[str, int]) -> None:
    world = LiveWorld(classes=(*LONG, *(f"class {number:03}" for number in range(97))))
    world.shown = LONG[0]
    with world.running(), WebServer(world.monitor, WebConfig(LOOPBACK), Collection(tmp_path / "photos")) as server:
        server.start()
        visitor = Visitor(browser, server.url, size)
        page = visitor.page
        seen(page, "document.querySelectorAll('#classes button').length === 100")
        page.get_by_label("Find a class").fill("class 09")
        seen(page, "document.querySelectorAll('#classes button').length === 7")
        seen(page, "document.querySelector('#label').textContent.startsWith('Leucanthemum')")
        page.get_by_label("Find a class").fill("")
        visitor.shoot(tmp_path, f"hundred-{size['width']}")
        innocent(visitor)


def test_it_comes_back_when_the_server_does(browser: Any) -> None:
    world = LiveWorld()
    with world.running():
        server = WebServer(world.monitor, WebConfig(LOOPBACK))
        server.start()
        visitor = Visitor(browser, server.url, DESKTOP)
        page, port = visitor.page, server.port
        seen(page, "document.querySelector('#label').textContent === 'rose'")
        server.stop()
        seen(page, "document.querySelector('#state').textContent.startsWith('no connection')")
        seen(page, "!document.querySelector('#stale').hidden")
        world.shown = "tulip"
        with WebServer(world.monitor, WebConfig(WebAddress("127.0.0.1", port))) as again:
            again.start()
            seen(page, "document.querySelector('#state').textContent === 'ok'")
            seen(page, "document.querySelector('#label').textContent === 'tulip'")
            seen(page, "document.querySelector('#stale').hidden")
        assert all("ERR_CONNECTION" in text or "ERR_INCOMPLETE" in text for text in visitor.complaints), (
            visitor.complaints
        )
        visitor.close()


def test_the_link_with_the_token_logs_in_and_forgets_it(browser: Any, tmp_path: Path) -> None:
    world = LiveWorld()
    with world.running(), WebServer(world.monitor, WebConfig(LOOPBACK, TOKEN)) as server:
        server.start()
        visitor = Visitor(browser, f"{server.url}#token={TOKEN}", PHONE)
        seen(visitor.page, "document.querySelector('#label')?.textContent === 'rose'")
        assert TOKEN not in visitor.page.url
        innocent(visitor)
        visitor = Visitor(browser, server.url, PHONE)
        visitor.page.get_by_label("Token").fill("wrong-token-wrong-token")
        visitor.page.get_by_role("button", name="Open").click()
        seen(visitor.page, "document.querySelector('#said').textContent === 'That is not the token.'")
        visitor.shoot(tmp_path, "login-phone", whole=False)
        visitor.page.get_by_label("Token").fill(TOKEN)
        visitor.page.get_by_role("button", name="Open").click()
        seen(visitor.page, "document.querySelector('#label')?.textContent === 'rose'")
        visitor.close()


def test_nothing_is_encoded_for_a_page_nobody_looks_at(browser: Any) -> None:
    world = LiveWorld()
    with world.running(), WebServer(world.monitor, WebConfig(LOOPBACK)) as server:
        server.start()
        visitor = Visitor(browser, server.url, DESKTOP)
        seen(visitor.page, "!document.querySelector('#picture').hidden")
        visitor.page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: true});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        time.sleep(0.5)
        before = server.pictures_encoded
        time.sleep(1.0)
        assert server.pictures_encoded == before
        visitor.close()


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_capture_by_key_by_burst_and_undone(browser: Any, tmp_path: Path, size: dict[str, int]) -> None:
    world, ended = LiveWorld(), threading.Event()
    session = CaptureSession(Collection(tmp_path / "photos"), ("rose", "tulip"))

    def film() -> None:
        number = 0
        while not ended.wait(0.04):
            number += 5
            session.put(world._frame(number))

    reader = threading.Thread(target=film, daemon=True)
    reader.start()
    try:
        with CaptureServer(session, WebConfig(LOOPBACK)) as server:
            server.start()
            visitor = Visitor(browser, server.url, size)
            page = visitor.page
            seen(page, "!document.querySelector('#picture').hidden")
            page.keyboard.press("1")
            seen(page, "document.querySelector('#said').textContent.startsWith('saved rose/')")
            page.get_by_role("button", name="Undo").click()
            seen(page, "document.querySelector('#said').textContent.startsWith('removed rose/')")
            assert not list(tmp_path.glob("photos/*/*.jpg"))
            page.get_by_label("a burst of").first.check()
            page.get_by_label("Pictures of a burst").fill("4")
            page.get_by_role("button", name="tulip").click()
            seen(page, "document.querySelector('[data-name=tulip] .count').textContent === '4'")
            seen(page, "document.querySelector('#stop').hidden")
            visitor.shoot(tmp_path, f"capture-{'phone' if size is PHONE else 'desktop'}")
            innocent(visitor)
    finally:
        ended.set()
        reader.join(5)
    assert [path.parent.name for path in tmp_path.glob("photos/*/*.jpg")] == ["tulip"] * 4


def test_serving_capture_ends_with_its_session(tmp_path: Path) -> None:
    session = CaptureSession(Collection(tmp_path / "photos"), ("rose",))
    told: list[str] = []
    thread = threading.Thread(target=serve_capture, args=(session, "127.0.0.1:0"), kwargs={"tell": told.append})
    thread.start()
    deadline = time.monotonic() + 10
    while not told and time.monotonic() < deadline:
        time.sleep(0.02)
    session.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert told[0].startswith("live view: http://127.0.0.1:")
