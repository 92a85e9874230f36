"""Names, colours and markers of the gradient modes: the same in every figure, distinct without colour.

Modes can be distinguished by colour-blind readers, in greyscale and in print.
"""

from rbp.report.read import Method

NAMES = {"bptt": "BPTT", "rate": "Rate-BP"}
COLOURS = {"bptt": "#D55E00", "rate": "#0072B2"}  # from the palette of Okabe and Ito
OTHER = "#777777"
# (plotly's name, matplotlib's name).
MARKERS = {"bptt": ("square", "s"), "rate": ("circle", "o")}
# Rate-BP is drawn last and dashed, so that BPTT shows between the dashes where both are equal.
DASHES = {"bptt": ("solid", "-"), "rate": ("dash", "--")}
# plotly's markers for series with a `variant`, such as a second kind of machine in the same figure.
HOLLOW = ("diamond-open", "triangle-up-open", "star-open", "cross-open")


def name(mode: str) -> str:
    """Return the display name of a gradient mode."""
    return NAMES.get(mode, mode)


def method_name(method: Method) -> str:
    """Return a method as text, such as "Rate-BP, 4 segments, uncoupled"."""
    segments = f"{method.segments} segments" if method.segments != 1 else ""
    return ", ".join(filter(None, (name(method.grad_mode), segments, "" if method.coupled else "uncoupled")))


def colour(mode: str) -> str:
    """Return the colour of a gradient mode."""
    return COLOURS.get(mode, OTHER)
