"""What a figure shows, as plain values: axes and series, without how they are drawn."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

NAME_LENGTH = 100  # characters of what a figure is of that its file's name keeps


@dataclass(frozen=True)
class Series:
    """One series of a figure.

    Attributes:
        mode: The compared value, such as a gradient mode, which decides colour, marker and dashes.
        label: Text for the legend.
        look: "mean" (line with a band from low to high), "run" (thin line), "points" (one marker per run) or
            "bars".
        x: Positions on the x axis.
        y: Values.
        low: Lower ends of the band or error bars.
        high: Upper ends of the band or error bars.
        labels: A text for each point, or one for all points.
        variant: 0, or a number above 0 for further kinds of machine, paths or losses of the same value in
            the same figure.
    """

    mode: str
    label: str
    look: str
    x: Sequence[Any]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    labels: Sequence[str] = ()
    variant: int = 0


@dataclass(frozen=True)
class Axis:
    """An axis of a figure.

    Attributes:
        label: Text beside the axis, with the unit in brackets.
        log: Whether the axis is logarithmic; None decides by the values (see rbp.report.figures.scales).
        zero: Whether a linear axis begins at zero.
        whole: Whether ticks are at whole numbers only.
        at_values: Whether the ticks are the values that occur, rather than round numbers.
    """

    label: str
    log: bool | None = False
    zero: bool = False
    whole: bool = False
    at_values: bool = False

    @property
    def short(self) -> str:
        """The label without its unit."""
        return self.label.partition(" (")[0]


@dataclass(frozen=True)
class Mark:
    """A value on the x axis that is none of the series': a vertical line with a text."""

    x: float
    text: str


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: Kind of figure, such as "accuracy-T": the start of its file's name.
        title: Title.
        x: The x axis; series of bars have names there.
        y: The y axis.
        about: Caption: how to read the figure.
        series: What is drawn, the last on top.
        of: What the figure is of, as text: the comparison, and T if there is a single one.
        sweep: Names of the sweeps that the runs are from.
        modes: The values that are compared, in order, so that each looks alike in all figures of a report;
            without them, those of the series.
        mark: A value on the x axis to compare the series with; None if there is none.
    """

    name: str
    title: str
    x: Axis
    y: Axis
    about: str
    series: list[Series] = field(default_factory=list)
    of: str = ""
    sweep: str = ""
    modes: tuple[str, ...] = ()
    mark: Mark | None = None

    @property
    def subtitle(self) -> str:
        """What the figure is of, with its sweep, so that a figure on its own says it."""
        return ": ".join(filter(None, (self.sweep, self.of)))

    @property
    def stem(self) -> str:
        """Name of the figure's file, without suffix."""
        return f"{_plain(self.name)}-{_as_file_name(self.of)}".strip("-")


def _as_file_name(text: str) -> str:
    """Return a text as a file name: letters, digits, ".", "=" and "_", with dashes between its parts.

    A hash is appended if another text could have the same name, or the text is too long.
    """
    name = _plain(text)
    whole = name.replace("-", ", ") == text and len(name) <= NAME_LENGTH
    return name if whole else f"{name[:NAME_LENGTH]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _plain(text: str) -> str:
    return re.sub(r"[^\w.=]+", "-", text).strip("-")
