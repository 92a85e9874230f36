"""How gradient modes look, the same in every figure: told apart by the colour-blind, in grey and in print."""

from rbp.report.read import Method

NAMES = {"bptt": "BPTT", "rate": "Rate-BP"}
COLOURS = {"bptt": "#D55E00", "rate": "#0072B2"}  # of Okabe and Ito's palette
OTHER = "#777777"
# plotly's names, and matplotlib's for the same.
MARKERS = {"bptt": ("square", "s"), "rate": ("circle", "o")}
# Rate-BP is drawn last: where both are equal, BPTT is seen between its dashes.
DASHES = {"bptt": ("solid", "-"), "rate": ("dash", "--")}
# A second kind of machine in one figure has hollow markers of its own.
HOLLOW = ("diamond-open", "triangle-up-open", "star-open", "cross-open")


def name(mode: str) -> str:
    return NAMES.get(mode, mode)


def method_name(method: Method) -> str:
    """For instance Rate-BP, 4 segments, uncoupled."""
    segments = f"{method.segments} segments" if method.segments != 1 else ""
    return ", ".join(filter(None, (name(method.grad_mode), segments, "" if method.coupled else "uncoupled")))


def colour(mode: str) -> str:
    return COLOURS.get(mode, OTHER)
