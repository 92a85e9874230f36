"""A page in a real browser: Debian's Chromium without a screen, driven through playwright.

CI installs what is needed (apt: chromium; pip: the extra dev). Tests marked `browser` are skipped where
some of it is missing, unless RBP_REQUIRE_BROWSER is set (tests/conftest.py).
"""

import importlib.util
import io
import re
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LAPTOP, PHONE = (1366, 768), (390, 844)
_PACKAGES = {"playwright": "playwright", "axe_playwright_python": "axe-playwright-python", "pypdf": "pypdf"}


@dataclass
class Seen:
    """What a page did while it was open: requests (URLs), and console messages and errors."""

    page: Any
    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


def missing() -> list[str]:
    """What this machine lacks, and how to get it."""
    lacks = [] if shutil.which("chromium") else ["chromium (apt-get install chromium)"]
    absent = [package for module, package in _PACKAGES.items() if importlib.util.find_spec(module) is None]
    return lacks + [f"{package} (pip install {package})" for package in absent]


@contextmanager
def opened(
    file: Path, size: tuple[int, int] = LAPTOP, dark: bool = False, script: bool = True
) -> Iterator[Seen]:
    """The file as a page of this size, its figures drawn; with or without JavaScript."""
    with visited(
        file.absolute().as_uri(), "body[data-drawn]" if script else "body", size, dark, script
    ) as seen:
        yield seen


@contextmanager
def visited(
    address: str, ready: str = "body", size: tuple[int, int] = LAPTOP, dark: bool = False, script: bool = True
) -> Iterator[Seen]:
    """The page at an address, once an element that `ready` selects is there."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
        )
        seen = Seen(page)
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("console", lambda message: seen.messages.append(message.text))
        page.on("pageerror", lambda error: seen.messages.append(str(error)))
        page.goto(address)
        page.wait_for_selector(ready, timeout=60_000)
        yield seen
        browser.close()


def printed(page: Any) -> tuple[str, list[tuple[int, int]]]:
    """The text of the page as printed (see as_printed), and the sizes of the sheets in points."""
    from pypdf import PdfReader

    sheets = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True))).pages
    text = "".join(sheet.extract_text() for sheet in sheets)
    sizes = [(round(sheet.mediabox.width), round(sheet.mediabox.height)) for sheet in sheets]
    return as_printed(text), sizes


def as_printed(text: str) -> str:
    """A text without spaces and ligatures: a PDF has no spaces, which a reader guesses, and has ligatures."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text))


def violations(page: Any, within: str | None = None) -> list[str]:
    """What axe-core finds against the page's accessibility that is serious or critical, as text.

    Args:
        page: The page.
        within: Selects the part that is looked at; None: all of it.
    """
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, context=within).response["violations"]
    bad = [rule for rule in found if rule["impact"] in ("serious", "critical")]
    return [f"{rule['id']}: {node['html'][:200]}" for rule in bad for node in rule["nodes"]]


def saved(page: Any, press: Any) -> tuple[str, str]:
    """Name and content of the file that the page saves when `press` is called."""
    with page.expect_download() as download:
        press()
    return download.value.suggested_filename, Path(download.value.path()).read_text("utf-8")
