"""A real browser: Chromium, driven by Playwright, and where the pictures that tests take of it are kept."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright
from tests.env.missing import missing

__all__ = ["DESKTOP", "PHONE", "chromium", "keep_picture", "open_context"]

DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_WAIT_MS = 30_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """Skips where none is installed."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        missing("needs Chromium: no chromium here (Debian: apt install chromium)")
    # Its sandbox wants what a container's root user does not have; it only ever sees our own pages.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*arguments, "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_context(
    browser: Browser, viewport: ViewportSize = DESKTOP, scheme: Literal["light", "dark"] = "light"
) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport=viewport, color_scheme=scheme, locale="en-GB")
    context.set_default_timeout(_WAIT_MS)
    try:
        yield context
    finally:
        context.close()


def keep_picture(page: Page, name: str) -> None:
    """Into the folder that ROLLCAST_SCREENSHOTS names; without it, none is taken."""
    if folder := os.environ.get("ROLLCAST_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")
