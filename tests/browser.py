"""Chromium, as Debian has it, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 800}
PATIENCE_MS = 15_000


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; skips where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no browser: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A container's user may have no right to a sandbox; the pages are ours.
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=program, args=options)
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """A page in a browser of its own, and what it did that it should not have.

    Attributes:
        page: Playwright's.
        complaints: of the console, and errors of scripts.
        strangers: hosts other than the visited that anything was asked of.
    """

    def __init__(self, browser: Any, url: str, size: dict[str, int], dark: bool = False) -> None:
        phone = size is PHONE
        self._context = browser.new_context(
            viewport=size,
            color_scheme="dark" if dark else "light",
            has_touch=phone,
            device_scale_factor=2 if phone else 1,
        )
        self._context.set_default_timeout(PATIENCE_MS)
        self.page = self._context.new_page()
        self.complaints: list[str] = []
        self.strangers: list[str] = []
        self._host = urlsplit(url).netloc
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._follow)
        self.page.goto(url)

    def shoot(self, folder: Path, name: str, whole: bool = True) -> None:
        """A screenshot into ``EDGEGRAFT_SCREENSHOTS``, or else the folder."""
        target = Path(os.environ.get("EDGEGRAFT_SCREENSHOTS", folder))
        target.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=target / f"{name}.png", full_page=whole)

    def overflow(self) -> int:
        """CSS pixels by which the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    def close(self) -> None:
        """Leave."""
        self._context.close()

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _follow(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("blob", "data") and parts.netloc != self._host:
            self.strangers.append(request.url)
