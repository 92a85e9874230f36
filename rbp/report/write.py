"""Write the report's files: the page, two CSVs, the table in Markdown and LaTeX, and figures if asked."""

import argparse
import os
from pathlib import Path

from rbp.errors import UserError
from rbp.files import write_bytes
from rbp.report.comparison.axes import choose_axes
from rbp.report.comparison.groups import Facet, deduplicate, group_runs
from rbp.report.comparison.rows import rows
from rbp.report.comparison.training import courses
from rbp.report.facts import gather
from rbp.report.figures.sets import figure_sets
from rbp.report.figures.svg import draw_svg
from rbp.report.page import page
from rbp.report.paths import without_home
from rbp.report.read import read_runs
from rbp.report.texts.alignment import alignment_table
from rbp.report.texts.csv import alignment_csv, epochs_csv, runs_csv, steps_csv
from rbp.report.texts.latex import latex
from rbp.report.texts.markdown import markdown
from rbp.report.texts.table import as_table
from rbp.report.texts.training import training_table
from rbp.terminal.output import say


def write_report(
    paths: list[Path],
    out: Path | None = None,
    svg: bool = False,
    compare: str | None = None,
    base: str | None = None,
    x: str | None = None,
) -> Path:
    """Read the runs below paths, finished or not, write the report, and return the path of report.html.

    Args:
        paths: Folders of runs or sweeps.
        out: Folder for the report; None for the single path, or the common parent folder of several paths.
        svg: Whether to write the figures as SVG files too.
        compare: The key whose values are compared; None finds it (see rbp.report.comparison.axes).
        base: The value of it that the others are compared with.
        x: The key on the x axis.

    Raises:
        UserError: If there are no runs, a key does not differ between them, or `out` cannot be written.
    """
    found, problems = read_runs(paths)
    if not found:
        raise UserError("\n".join(problems))
    runs, doubles = deduplicate(found)
    axes = choose_axes(runs, compare, base, x)
    facets = group_runs(runs, axes)
    table = as_table(rows(facets), axes)
    others = {"training": training_table(courses(facets), axes), "alignment": alignment_table(facets, axes)}
    further = {name: found for name, found in others.items() if found is not None}
    contents = {
        "results.csv": runs_csv(runs),
        "epochs.csv": epochs_csv(runs, axes),
        "table.md": markdown(table),
        "table.tex": latex(table),
        "report.html": page(runs, facets, axes, table, further, gather(found, runs, problems, doubles)),
    }
    if steps := steps_csv(runs):
        contents["over_t.csv"] = steps
    if alignment := alignment_csv(runs):
        contents["alignment.csv"] = alignment
    contents |= {f"{name}.md": markdown(one) for name, one in further.items()}
    folder = out or (paths[0] if len(paths) == 1 else Path(os.path.commonpath([p.absolute() for p in paths])))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_bytes(folder / name, without_home(content).encode(errors="replace"))
        if svg:
            _write_figures(facets, folder / "figures")
    except OSError as error:
        raise UserError(
            f"{folder}: the report cannot be written: {error.strerror or error}; "
            "choose another folder with --out PATH"
        ) from error
    return folder / "report.html"


def _write_figures(facets: list[Facet], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    figures = {figure.stem: figure for made in figure_sets(facets) for figure in made.figures}
    for stem, figure in figures.items():
        (folder / f"{stem}.svg").write_bytes(without_home(draw_svg(figure)).encode(errors="replace"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp report` to a parser."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="sweeps' or runs' folders")
    parser.add_argument("--out", type=Path, help="folder for the report; default: that of the runs")
    parser.add_argument(
        "--compare", metavar="KEY", help="whose values stand side by side (grad_mode, if it differs)"
    )
    parser.add_argument("--base", metavar="VALUE", help="of that key, with which the others are compared")
    parser.add_argument("--x", metavar="KEY", help="on the x axis: a key with numbers (T, if it differs)")
    parser.add_argument("--svg", action="store_true", help="also write the figures as SVG to figures/")


def command(args: argparse.Namespace) -> int:
    """Run `rbp report`: write the report, print its path, and return the exit status."""
    say(f"Report: {write_report(args.paths, args.out, args.svg, args.compare, args.base, args.x)}")
    return 0
