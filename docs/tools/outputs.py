"""Run the pages and write the outputs that came into them: python -m docs.tools.outputs [PAGE ...]."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from docs.tools.play import ROOT, Player

# Pages whose blocks are run. docs/config.md and the list of messages are made from the code.
PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md"),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "results").glob("*/README.md")),
]


def played(page: Path) -> str:
    """Run a page in a new folder and return it with the outputs that came."""
    with tempfile.TemporaryDirectory() as folder, _as_a_reader(folder):
        return Player(page).play()


@contextlib.contextmanager
def _as_a_reader(folder: str) -> Iterator[None]:
    """Work in a folder, with no data set or tracker that this machine happens to be set up for."""
    was, path, known, variables = Path.cwd(), list(sys.path), set(sys.modules), dict(os.environ)
    os.environ.update({"WANDB_MODE": "disabled", "COLUMNS": "110"})
    os.environ.pop("RBP_DATA", None)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(was)
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(variables)
        for name in set(sys.modules) - known:  # a lab's package: the next page has another of its name
            if folder in str(getattr(sys.modules[name], "__file__", None) or ""):
                del sys.modules[name]


def main(names: list[str]) -> int:
    """Rewrite the pages of these names, or all; return the exit code."""
    for page in PAGES:
        if not names or page.name in names:
            text, now = page.read_text("utf-8"), played(page)
            print(f"{page.relative_to(ROOT)}: {'as it was' if text == now else 'written anew'}", flush=True)
            page.write_text(now, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
