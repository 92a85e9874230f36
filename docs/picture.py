"""Make docs/report.png: the report of a sweep as a laptop shows it, by Chromium and playwright.

The times in it are real: run the sweep on a machine that does nothing else.

python launch.py -m sweep.name=digits T=2,4,8 grad_mode=bptt,rate seed=0,1 trainer.epochs=8
python docs/picture.py runs/digits
"""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from rbp.report import write_report

WIDTH = 1366  # of a common laptop
LAST = "#figure-cost"  # the picture ends below this figure


def main() -> None:
    """Write the report of the folders that are given, and a picture of its first part."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = write_report([Path(name) for name in sys.argv[1:]], Path(folder))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 768})
        page.goto(page_file.as_uri())
        page.wait_for_selector("body[data-drawn]")
        box = page.locator(LAST).bounding_box()
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": box["y"] + box["height"] + 16}
        page.screenshot(path=Path(__file__).with_name("report.png"), clip=clip, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
