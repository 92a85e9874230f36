"""The site in a real browser: it draws its equations, asks nothing of other hosts, and can be read by all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import rbp
from rbp.config.composition.places import ROOT
from tests.support.browser import PHONE, violations, visited
from tests.support.site import build_site, served

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("site")]
EQUATION = ".arithmatex .katex-html"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build_site(folder)
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with served(site) as found:
        yield found


def pages() -> list[str]:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text().replace("!!", "#"))["nav"]
    files = [file for part in nav for entry in next(iter(part.values())) for file in entry.values()]
    return ["" if file == "index.md" else f"{file.removesuffix('.md')}/" for file in files]


@pytest.mark.parametrize("dark", [False, True])
def test_equations_are_drawn_without_another_host_or_an_error(address: str, dark: bool) -> None:
    with visited(f"{address}method/", EQUATION, dark=dark) as seen:
        page = seen.page
        drawn, written = page.locator(EQUATION).count(), page.locator(".arithmatex").count()
        assert drawn == written > 5
        assert page.locator(".katex-error").count() == 0
        ink = page.eval_on_selector(EQUATION, "e => getComputedStyle(e).color")
        assert (max(map(int, ink.strip("rgba()").split(",")[:3])) > 180) == dark
        assert page.evaluate("document.fonts.check('1em KaTeX_Math')")
        page.wait_for_load_state("networkidle")
        assert [url for url in seen.requests if not url.startswith((address, "data:"))] == []
        assert seen.messages == []


def test_the_palette_of_a_page_can_be_another_than_the_screens(address: str) -> None:
    with visited(f"{address}method/", EQUATION) as seen:
        page, shown = seen.page, []
        for _ in range(3):
            page.locator("label.md-header__button[for^='__palette']:visible").click()
            scheme = page.locator("body").get_attribute("data-md-color-scheme")
            pictures = page.locator("article img:visible")
            (source,) = {pictures.nth(n).get_attribute("src") for n in range(pictures.count())}
            assert source.partition("#only-")[2] == ("dark" if scheme == "slate" else "light")
            shown.append(scheme)
        assert set(shown) == {"default", "slate"} and seen.messages == []


@pytest.mark.parametrize("page", pages())
def test_a_page_opens_without_errors_and_fits_on_a_phone(address: str, page: str) -> None:
    with visited(address + page, "article h1", size=PHONE, dark=len(page) % 2 == 0) as seen:
        seen.page.wait_for_load_state("networkidle")
        assert seen.messages == [] and all(url.startswith((address, "data:")) for url in seen.requests)
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        images = seen.page.locator("article img")
        for n in range(images.count()):
            assert images.nth(n).get_attribute("alt"), images.nth(n).get_attribute("src")
        assert violations(seen.page, "article") == []


def test_a_word_of_an_error_is_found_by_the_search(address: str) -> None:
    with visited(f"{address}?q=flock", "article h1") as seen:
        seen.page.wait_for_selector(".md-search-result__item", timeout=20_000)
        assert seen.messages == []


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    shown = (site / "api" / "index.html").read_text()
    names = [f"rbp.rate.{name}" for name in rbp.rate.__all__ if name != "forward"] + [
        "rbp.forward",
        "rbp.load",
        "rbp.models.build",
    ]
    missing = [name for name in names if f'id="{name}"' not in shown]
    assert missing == []
