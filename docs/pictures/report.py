"""The page of a sweep with three T and three seeds: it is run, and photographed in Chromium."""

import shutil
import tempfile
from pathlib import Path

from docs.pictures.schemes import FOLDER, NAMES
from docs.pictures.terminal import run

GRID = ("-m", "T=2,4,8", "grad_mode=bptt,rate", "seed=0,1,2")
FIXED = ("trainer.epochs=6", "trainer.threads=1", "tracker=none", "sweep.name=steps")
SIZE = {"width": 1180, "height": 1240}


def make() -> None:
    """Run the sweep and photograph its page, on a light and on a dark screen."""
    with tempfile.TemporaryDirectory() as folder:
        run(folder, "train", *GRID, *FIXED)
        for scheme in NAMES:
            photograph(Path(folder, "runs", "steps", "report.html"), scheme, FOLDER / f"report-{scheme}.png")


def photograph(page: Path, scheme: str, file: Path) -> None:
    """Write what a screen of this colour scheme shows of a page, as PNG."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        sheet = browser.new_page(viewport=SIZE, color_scheme=scheme)  # type: ignore[arg-type]
        sheet.goto(page.absolute().as_uri())
        sheet.wait_for_selector("body[data-drawn]")
        sheet.screenshot(path=file)
        browser.close()
