"""Write the report's files: report.html, results.csv, table.md, table.tex and, on request, figures/*.svg."""

import argparse
import hashlib
import os
import re
from pathlib import Path

from rbp.errors import UserError
from rbp.files import write_bytes
from rbp.output import say
from rbp.report.compare import Comparison, compare, deduplicate, family_label
from rbp.report.facts import gather
from rbp.report.figures.series import Figure, dial_label, dials, families
from rbp.report.page import DIAL_FIGURES, FAMILY_FIGURES, STEP_FIGURES, page
from rbp.report.read import read_runs
from rbp.report.table import table
from rbp.report.texts import latex, markdown, results_csv

NAME_LENGTH = 100  # characters of a title that a figure's file name keeps


def write_report(paths: list[Path], out: Path | None = None, svg: bool = False) -> Path:
    """Read the runs below paths, finished or not, write the report, and return the path of report.html.

    Args:
        paths: Folders of runs or sweeps.
        out: Folder for the report; None for the single path, or the common parent folder of several paths.
        svg: Whether to write the figures as SVG files too, which takes a tenth of a second each.

    Raises:
        UserError: If there are no runs, or `out` cannot be written.
    """
    found, problems = read_runs(paths)
    if not found:
        raise UserError("\n".join(problems))
    runs, doubles = deduplicate(found)
    comparisons = compare(runs)
    lines = table(comparisons)
    contents = {
        "results.csv": results_csv(runs),
        "table.md": markdown(lines),
        "table.tex": latex(lines),
        "report.html": page(runs, comparisons, lines, gather(found, runs, problems, doubles)),
    }
    folder = out or (paths[0] if len(paths) == 1 else Path(os.path.commonpath([p.absolute() for p in paths])))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_bytes(folder / name, content.encode(errors="replace"))
        if svg:
            _write_figures(comparisons, folder / "figures")
    except OSError as error:
        raise UserError(
            f"{folder}: the report cannot be written: {error.strerror or error}; "
            "choose another folder with --out PATH"
        ) from error
    return folder / "report.html"


def _write_figures(comparisons: list[Comparison], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for family, members in families(comparisons).items():
        made = [(make(members), family_label(family)) for make in FAMILY_FIGURES]
        made += [(make(c), c.label) for c in members for make in STEP_FIGURES]
        _draw_all(made, folder)
    for dial, members in dials(comparisons).items():
        _draw_all([(make(members), dial_label(dial)) for make in DIAL_FIGURES], folder)


def _draw_all(made: list[tuple[Figure, str]], folder: Path) -> None:
    from rbp.report.figures.svg import draw

    for figure, title in made:
        if figure.series:
            draw(figure, title, folder / f"{figure.name}-{_as_file_name(title)}.svg")


def _as_file_name(title: str) -> str:
    """Return a title as a file name: letters, digits, ".", "=" and "_", with dashes for the rest.

    A hash is appended if characters were lost or the title is too long.
    """
    plain = title.replace("step mode ", "").replace(", ", "-").replace(" ", "-")
    name = re.sub(r"[^\w.=]+", "-", plain).strip("-")
    whole = name == plain and len(name) <= NAME_LENGTH
    return name if whole else f"{name[:NAME_LENGTH]}-{hashlib.sha256(title.encode()).hexdigest()[:8]}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp report` to a parser."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="sweeps' or runs' folders")
    parser.add_argument("--out", type=Path, help="folder for the report; default: that of the runs")
    parser.add_argument("--svg", action="store_true", help="also write the figures as SVG to figures/")


def command(args: argparse.Namespace) -> int:
    """Run `rbp report`: write the report, print its path, and return the exit status."""
    say(f"Report: {write_report(args.paths, args.out, args.svg)}")
    return 0
