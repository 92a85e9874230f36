"""A picture in two files, for light and for dark pages: a page's palette can be another than the screen's."""

import re
from collections.abc import Sequence
from pathlib import Path

from rbp.report.figures.figure import Figure
from rbp.report.figures.style import DARK, KNOWN, LIGHT, STYLES
from rbp.report.figures.svg import draw_svg

FOLDER = Path(__file__).parent
NAMES = ("light", "dark")
_STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)


def write(name: str, light: str, dark: str) -> None:
    """Write an SVG for both grounds, as NAME-light.svg and NAME-dark.svg."""
    for scheme, svg in zip(NAMES, (light, dark), strict=True):
        (FOLDER / f"{name}-{scheme}.svg").write_text(svg, "utf-8")


def write_figures(name: str, figures: Sequence[Figure]) -> None:
    """Write figures of the report's kind, side by side."""
    drawn = [draw_svg(figure) for figure in figures]
    light = beside([_plain(svg, "") for svg in drawn], LIGHT[1])
    write(name, light, beside([_plain(svg, _dark_rules()) for svg in drawn], DARK[1]))


def beside(drawn: Sequence[str], paper: str) -> str:
    """Return SVGs as one, in a row on a ground of one colour."""
    sizes = [tuple(float(n) for n in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0]) for svg in drawn]
    wide, high, parts, x = sum(w for w, _ in sizes), max(h for _, h in sizes), [], 0.0
    for svg, (w, h) in zip(drawn, sizes, strict=True):
        parts.append(svg.replace("<svg ", f'<svg x="{x:g}" y="{high - h:g}" ', 1))
        x += w
    ground = f'<rect width="100%" height="100%" fill="{paper}"/>\n'
    size = f'viewBox="0 0 {wide:g} {high:g}" width="{wide:g}" height="{high:g}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>\n{ground}{"".join(parts)}</svg>\n'


def _plain(svg: str, rules: str) -> str:
    """Return a figure with these rules instead of those that follow the screen."""
    return _STYLE.sub(f"<style>{rules}</style>" if rules else "", svg)


def _dark_rules() -> str:
    ink, paper = DARK
    modes = "".join(f".rbp .{style.css}{{color:{style.dark}}}" for style in STYLES)
    return f".rbp{{color:{ink}}}.rbp .paper{{fill:{paper}}}{modes}"


def colours(dark: bool) -> dict[str, str]:
    """Return the colours of a drawing: ink and paper, and those of the gradient modes."""
    ink, paper = DARK if dark else LIGHT
    return {"ink": ink, "paper": paper} | {
        mode: style.dark if dark else style.colour for mode, style in KNOWN.items()
    }
