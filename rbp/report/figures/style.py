"""Names, colours, markers and dashes of what is compared: the same everywhere, distinct without colour.

Values can be distinguished by colour-blind readers, in greyscale and in print.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

NAMES = {"bptt": "BPTT", "rate": "Rate-BP"}
COLOURS = {"bptt": "#D55E00", "rate": "#0072B2"}  # from the palette of Okabe and Ito


@dataclass(frozen=True)
class Style:
    """How the series of one value look.

    Attributes:
        css: Class of the value's elements in a figure.
        colour: Colour on a light ground.
        dark: Colour on a dark ground.
        marker: Name of the marker (see rbp.report.figures.marks).
        dash: Lengths of dashes and gaps; "" for a solid line.
    """

    css: str
    colour: str
    dark: str
    marker: str
    dash: str


# Rate-BP is drawn last and dashed, so that BPTT shows between the dashes where both are equal.
KNOWN = {
    "bptt": Style("m1", COLOURS["bptt"], "#F39A5B", "square", ""),
    "rate": Style("m2", COLOURS["rate"], "#6DB7EE", "circle", "7 3"),
}
# For values without a style of their own, in the order in which a figure shows them.
FURTHER = (
    Style("m3", "#007D5C", "#3FC79E", "triangle", "2 2"),
    Style("m4", "#B2508C", "#E39AC6", "diamond", "9 3 2 3"),
    Style("m5", "#7A6A00", "#E0CE4A", "cross", "4 2"),
    Style("m6", "#555555", "#BBBBBB", "star", "1 3"),
    Style("m7", "#5B3FA8", "#B6A1F2", "down", "12 4"),
    Style("m8", "#8C2D2D", "#F08F8F", "bar", "9 2 2 2 2 2"),
)
# Markers and dash of series with a `variant`, such as a second kind of machine in the same figure.
HOLLOW = ("diamond", "triangle", "star", "cross")
DOTTED = "1.5 2.5"

LIGHT, DARK = ("#222222", "#ffffff"), ("#dddddd", "#16181c")  # (text, ground)


def styles(values: Iterable[str]) -> dict[str, Style]:
    """Return a style for every value, in the order of `values`.

    Eight values without a gradient mode among them, or six beside BPTT and Rate-BP, differ in colour, marker
    and dash each; further ones in the pair of colour and marker.
    """
    distinct = list(dict.fromkeys(values))
    others = [value for value in distinct if value not in KNOWN]
    free = FURTHER if len(others) < len(distinct) else (*KNOWN.values(), *FURTHER)
    further = {value: _nth(n, free) for n, value in enumerate(others)}
    return {value: KNOWN.get(value) or further[value] for value in distinct}


def _nth(n: int, of: Sequence[Style]) -> Style:
    """Return the n-th style; from the end on, colours come again with the markers of others."""
    turn, place = divmod(n, len(of))
    other = of[(place + turn) % len(of)]
    return replace(of[place], marker=other.marker, dash=other.dash)


def dark_rules() -> str:
    """Return the CSS of a figure's colours on a dark screen."""
    modes = "".join(f".rbp .{style.css}{{color:{style.dark}}}" for style in (*KNOWN.values(), *FURTHER))
    ink, paper = DARK
    ground = f".rbp{{color:{ink}}}.rbp .paper{{fill:{paper}}}"
    return f"@media screen and (prefers-color-scheme:dark){{{ground}{modes}}}"


def name(key: str, value: str) -> str:
    """Return the display name of a compared value: of a gradient mode as the paper has it, else KEY=VALUE."""
    if key != "grad_mode":
        return f"{key}={value}"
    mode, _, rest = value.partition(" ")
    return " ".join(filter(None, (NAMES.get(mode, mode), rest)))
