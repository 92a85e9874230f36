"""Scales: where on an axis a value lies, as a share of the axis in [0, 1], and which ticks the axis has."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

LOG_RATIO = 30  # values that differ by a larger factor get a log axis where the axis allows it
TICKS = 5  # about as many as an axis gets
PADDING = 0.05  # of the axis, beyond the outermost values
LARGEST = 1e250  # beyond it, and its inverse, arithmetic on a scale would overflow: shown at the axis's end
_DECADES = 3  # a log axis with more of them has ticks at powers of ten only


@dataclass(frozen=True)
class Linear:
    """A linear scale from `low` to `high`; with `whole`, its ticks are whole numbers."""

    low: float
    high: float
    whole: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies: 0 at `low`, 1 at `high`."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Return round numbers within the scale: multiples of 1, 2 or 5 times a power of ten."""
        step = _round_step((self.high - self.low) / TICKS)
        step = max(1.0, step) if self.whole else step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        decimals = max(0, -math.floor(math.log10(step)))
        return [round(n * step, decimals) for n in range(first, last + 1)]


@dataclass(frozen=True)
class Log:
    """A logarithmic scale from `low` to `high`, both positive."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Return where a value lies: 0 at `low`, 1 at `high`; 0 for values that are not positive."""
        if value <= 0:
            return 0.0
        first, last = math.log(self.low), math.log(self.high)
        return (math.log(value) - first) / (last - first)

    def ticks(self) -> list[float]:
        """Return round numbers within the scale: powers of ten, and 2 and 5 times them on a short scale."""
        decades = math.log10(self.high) - math.log10(self.low)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        factors = (1, 2, 5) if decades <= _DECADES else (1,)
        every = max(1, math.ceil((last - first) / (2 * TICKS)))
        found = [float(f"{k}e{n}") for n in range(first, last + 1, every) for k in factors]
        within = [value for value in found if self.low <= value <= self.high]
        return within if len(within) > 1 else Linear(self.low, self.high).ticks()


@dataclass(frozen=True)
class Categories:
    """A scale of names, each with an equal part of the axis."""

    names: tuple[str, ...]

    def place(self, value: str) -> float:
        """Return the middle of a name's part."""
        return (self.names.index(value) + 0.5) / len(self.names)


def fit(
    values: Iterable[float], log: bool | None = False, zero: bool = False, whole: bool = False
) -> Linear | Log:
    """Return the scale for values.

    Args:
        values: The values to show.
        log: Whether the scale is logarithmic; None decides by the values (see LOG_RATIO). Values that are
            not all positive never get a logarithmic scale.
        zero: Whether a linear scale begins at zero.
        whole: Whether the ticks of a linear scale are whole numbers.

    Raises:
        ValueError: If there are no values, or one of them is not finite.
    """
    found = [float(value) for value in values]
    if not found:
        raise ValueError("a scale needs at least one value")
    if odd := [value for value in found if not math.isfinite(value)]:
        raise ValueError(f"{odd[0]} is no finite number, and has no place on an axis")
    low, high = (max(-LARGEST, min(LARGEST, end)) for end in (min(found), max(found)))
    if low > 0 and (high > LOG_RATIO * low if log is None else log):
        low, high = max(low, 1 / LARGEST), max(high, 1 / LARGEST)
        factor = math.exp(PADDING * (math.log(high) - math.log(low))) if high > low else 1.5
        return Log(low / factor, high * factor)
    low, high = (0.0 if abs(end) < 1 / LARGEST else end for end in (low, high))
    if zero and low >= 0:
        return Linear(0.0, high * (1 + PADDING) or 1.0, whole)
    room = PADDING * (high - low) or abs(high) / 10 or 1.0
    return Linear(low - room, high + room, whole)


def number(value: float, digits: int = 5) -> str:
    """Return a number as text with up to `digits` significant digits, such as "0.0125" or "12,500"."""
    text = f"{value:.{digits}g}"
    if "e" in text and abs(value) >= 1 and abs(value) < 1e7:
        text = f"{float(text):.0f}"
    if "e" not in text and abs(value) >= 10_000:
        text = f"{float(text):,.0f}"
    return text.replace("-", "−") if text.startswith("-") else text


def texts(ticks: Sequence[float]) -> list[str]:
    """Return the texts of ticks; those of evenly spaced ones have equally many decimals."""
    steps = {float(f"{b - a:.6g}") for a, b in pairwise(ticks)}
    largest = max(map(abs, ticks), default=0.0)
    if len(steps) != 1:
        return [number(value) for value in ticks]
    if largest >= 1e7 or largest < 1e-3:
        digits = 1 + math.ceil(math.log10(largest / min(steps)))  # as many as tell neighbours apart
        return [number(value, max(5, digits)) for value in ticks]
    decimals = max(len(f"{value:.10f}".rstrip("0").partition(".")[2]) for value in ticks)
    return [f"{value:,.{decimals}f}".replace("-", "−") for value in ticks]


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2 or 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= least * (1 - 1e-9))
