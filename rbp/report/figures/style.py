"""Names, colours, markers and dashes of what is compared: the same everywhere, distinct without colour.

Values can be distinguished by colour-blind readers, in greyscale and in print.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

NAMES = {"bptt": "BPTT", "rate": "Rate-BP", "sltt": "SLTT", "ottt": "OTTT"}
_SLTT_K = "sltt backprop_steps="  # K of the steps, drawn per batch, are differentiated


@dataclass(frozen=True)
class Style:
    """How the series of one value look.

    Attributes:
        number: Number of the style, which decides the fill of bars (see rbp.report.figures.marks).
        colour: Colour on a light ground.
        dark: Colour on a dark ground.
        marker: Name of the marker (see rbp.report.figures.marks).
        dash: Lengths of dashes and gaps; "" for a solid line.
    """

    number: int
    colour: str
    dark: str
    marker: str
    dash: str

    @property
    def css(self) -> str:
        """Class of the value's elements in a figure."""
        return f"m{self.number}"


# Eight colours that stay apart for every kind of colour blindness, and differ in lightness, so in grey too.
# Rate-BP is drawn last and dashed, so that BPTT shows between the dashes where both are equal.
STYLES = (
    Style(1, "#D55E00", "#F39A5B", "square", ""),
    Style(2, "#0072B2", "#6DB7EE", "circle", "7 3"),
    Style(3, "#014843", "#52FBA5", "triangle", "2 2"),
    Style(4, "#AB86A5", "#FB38AD", "diamond", "9 3 2 3"),
    Style(5, "#0F0B71", "#D2DFF4", "cross", "4 2"),
    Style(6, "#614901", "#F2E005", "star", "1 3"),
    Style(7, "#7A24E5", "#A34DDD", "down", "12 4"),
    Style(8, "#54150D", "#FE066A", "bar", "9 2 2 2 2 2"),
)
# Gradient modes have one look each, in every report, whichever others stand beside them.
_WITH_A_LOOK = (
    *("bptt", "rate", "sltt", "ottt"),
    *("rate segments=2", "rate segments=4", "rate segments=8", f"{_SLTT_K}2"),
)
KNOWN = dict(zip(_WITH_A_LOOK, STYLES, strict=True))
# Markers and dash of series with a `variant`, such as a second kind of machine in the same figure.
HOLLOW = ("diamond", "triangle", "star", "cross")
DOTTED = "1.5 2.5"

LIGHT, DARK = ("#222222", "#ffffff"), ("#dddddd", "#16181c")  # (text, ground)


def styles(values: Iterable[str]) -> dict[str, Style]:
    """Return a style for every value, in the order of `values`.

    Values that KNOWN names have the style that they have there; the others share those that are left. Eight
    values differ in colour, marker and dash each; further ones in the pair of colour and marker.
    """
    distinct = list(dict.fromkeys(values))
    taken = [KNOWN[value] for value in distinct if value in KNOWN]
    left = [style for style in STYLES if style not in taken]
    # Beside gradient modes, the looks of the best known ones that are not there come last.
    order = left[::-1] if taken else left
    others = [value for value in distinct if value not in KNOWN]
    further = {value: _nth(n, order) for n, value in enumerate(others)}
    return {value: KNOWN.get(value) or further[value] for value in distinct}


def _nth(n: int, left: Sequence[Style]) -> Style:
    """Return the n-th style of those left; from their end on, all colours with the markers of others."""
    if n < len(left):
        return left[n]
    turn, place = divmod(n - len(left), len(STYLES))
    other = STYLES[(place + turn + 1) % len(STYLES)]
    return replace(STYLES[place], marker=other.marker, dash=other.dash)


def dark_rules() -> str:
    """Return the CSS of a figure's colours on a dark screen."""
    modes = "".join(f".rbp .{style.css}{{color:{style.dark}}}" for style in STYLES)
    ink, paper = DARK
    ground = f".rbp{{color:{ink}}}.rbp .paper{{fill:{paper}}}"
    return f"@media screen and (prefers-color-scheme:dark){{{ground}{modes}}}"


def name(key: str, value: str) -> str:
    """Return the display name of a compared value: of a gradient mode as papers have it, else KEY=VALUE."""
    if key != "grad_mode":
        return f"{key}={value}"
    mode, _, rest = value.partition(" ")
    if value.startswith(_SLTT_K):
        steps, _, rest = value.removeprefix(_SLTT_K).partition(" ")
        return f"{NAMES[mode]}-{steps} {rest}".rstrip()
    return " ".join(filter(None, (NAMES.get(mode, mode), rest)))
