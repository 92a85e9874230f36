"""A page in a real browser: Debian's Chromium without a screen, driven through playwright.

CI installs both (apt: chromium; pip: the extra dev). Tests marked `browser` are skipped where one of them is
missing, unless RBP_REQUIRE_BROWSER is set (tests/conftest.py).
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LAPTOP, PHONE = (1366, 768), (390, 844)


@dataclass
class Seen:
    """What a page did while it was open: requests (URLs), and console messages and errors."""

    page: Any
    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


def missing() -> list[str]:
    """What this machine lacks of the two, and how to get it."""
    lacks = [] if shutil.which("chromium") else ["chromium (apt-get install chromium)"]
    try:
        import playwright  # noqa: F401
    except ImportError:
        lacks.append("playwright (pip install playwright)")
    return lacks


@contextmanager
def opened(file: Path, size: tuple[int, int] = LAPTOP) -> Iterator[Seen]:
    """The file as a page of this size, its figures drawn."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        seen = Seen(page)
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("console", lambda message: seen.messages.append(message.text))
        page.on("pageerror", lambda error: seen.messages.append(str(error)))
        page.goto(file.absolute().as_uri())
        page.wait_for_selector("body[data-drawn]", timeout=60_000)
        yield seen
        browser.close()
