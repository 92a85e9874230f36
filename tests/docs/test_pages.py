"""README and docs hold what they promise: their commands and Python run, and what they show is what came."""

import re
import shlex
from pathlib import Path

import pytest

from docs.tools.blocks import blocks, indented_code
from docs.tools.outputs import PAGES, ROOT, played
from docs.tools.play import RUN
from rbp.cli import main
from rbp.sweep.grid.command_line import read_command_line
from rbp.sweep.launch import read_grid

pytestmark = pytest.mark.usefixtures("one_thread")
BY_NAME = {page.relative_to(ROOT).as_posix(): page for page in PAGES}
# Words of docs/trouble.md that stand in no single text of the code, since a part of them is filled in.
FILLED_IN = {
    "no such key; here it is",
    "is not there (no such folder), and",
    "there is no sbatch on this machine",
    "the loss is nan in epoch",
}
MADE = ("docs/config.md",)  # made from the code, without blocks


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in MADE])
def test_a_page_runs_and_shows_what_came(name: str) -> None:
    assert played(BY_NAME[name]) == BY_NAME[name].read_text("utf-8"), (
        f"python -m docs.tools.outputs {BY_NAME[name].name}"
    )


@pytest.mark.parametrize("name", BY_NAME)
def test_no_block_is_left_out_without_a_word(name: str) -> None:
    text = BY_NAME[name].read_text("utf-8")
    assert indented_code(text) == []
    for block in blocks(text):
        where = f"{name}, line {block.first}"
        if block.has("not run"):
            assert block.values("not run")[0], f"{where}: why is it not run?"
        elif block.language == "text":
            assert block.has("output", "output but for numbers", "recorded"), (
                f"{where}: of what is it the output?"
            )
        elif block.language == "yaml":
            assert block.has("file", "from"), f"{where}: of which file is it?"
        else:
            assert block.language in (*RUN, "bibtex", "markdown"), f"{where}: {block.language}"


def test_the_words_of_errors_are_those_of_the_code() -> None:
    code = "".join(file.read_text("utf-8") for file in sorted((ROOT / "rbp").rglob("*.py")))
    code = re.sub(r"\s+", " ", re.sub(r'"\s*(\+\s*)?f?"', "", code))
    found = set()
    for row in re.findall(r"(?m)^\| (`.*?) \|", (ROOT / "docs" / "trouble.md").read_text("utf-8")):
        for words in re.findall(r"`([^`]+)`", row):
            pieces = (piece.strip(" ,;:()") for piece in re.split(r"\.\.\.|[A-Z]{3,}| : ", words))
            found |= {piece for piece in pieces if len(piece) > 8 and piece not in code}
    assert found <= FILLED_IN


def inline_commands() -> list[str]:
    """The launch commands that stand within the text of pages, without those that have a placeholder."""
    found = set()
    for page in PAGES:
        spans = re.findall(r"`((?:rbp train|python launch\.py) [^`]+)`", page.read_text("utf-8"))
        found |= {
            span for span in spans if not re.search(r"\b[A-Z]{3,}\b|\.\.\.|mylab|=small|sweeps=|--", span)
        }
    return sorted(found)


@pytest.mark.parametrize("command", inline_commands())
def test_a_command_within_the_text_composes(command: str, here: Path) -> None:
    words = shlex.split(command.replace("python launch.py", "rbp train"))
    assert main([*words[1:], "--cfg", "job"]) == 0


@pytest.mark.parametrize("sweep", sorted(file.stem for file in (ROOT / "sweeps").glob("*.yaml")))
def test_every_sweep_of_results_and_pages_composes(sweep: str, here: Path) -> None:
    assert read_grid(read_command_line([f"sweeps={sweep}", "T=12", "seed=0"]))[0]


def test_readme_fits_on_two_screens() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 150 and max(map(len, lines)) <= 120
