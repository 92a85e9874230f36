"""Means, standard deviations and paired differences over seeds."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Summary:
    """The mean and sample standard deviation (None for a single value) of n values."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Paired:
    """The mean of n paired differences and its 95 % confidence interval from `low` to `high`.

    The interval is None for a single pair, whose spread is unknown, and if all differences are equal: for
    figures with discrete steps (one test image) that often happens by chance.

    Attributes:
        mean: The mean difference.
        low: Lower end of the interval.
        high: Upper end of the interval.
        n: Number of pairs.
        p: Two-sided p-value of no difference, by Student's t; None where there is no interval.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    p: float | None = None

    @property
    def beyond_spread(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def summary(values: Iterable[float]) -> Summary | None:
    """Return mean and standard deviation; None for no values."""
    found = list(values)
    if not found:
        return None
    mean, n = statistics.fmean(found), len(found)
    # statistics.stdev computes with fractions and takes a hundred times as long.
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in found) / (n - 1)) if n > 1 else None
    return Summary(mean, std, n)


def paired(base: Mapping[Any, float], other: Mapping[Any, float]) -> Paired | None:
    """Return the paired difference other - base over common seeds; None without a common seed.

    The confidence interval is Student's t: mean ± t(n-1) s/√n. A seed fixes initial weights, data order and
    augmentation for both methods, so that pairing removes their part of the spread.

    Args:
        base: Values by seed.
        other: Values by seed.
    """
    pairs = [(base[seed], other[seed]) for seed in base if seed in other]
    if (found := summary(b - a for a, b in pairs)) is None:
        return None
    rounding = 1e-9 * max(abs(value) for pair in pairs for value in pair)
    if found.std is None or found.std <= rounding:
        return Paired(found.mean, None, None, found.n)
    from scipy.special import stdtr, stdtrit  # only these, since scipy.stats takes a second to import

    error = found.std / math.sqrt(found.n)
    half = float(stdtrit(found.n - 1, 0.975)) * error
    p = 2 * float(stdtr(found.n - 1, -abs(found.mean) / error))
    return Paired(found.mean, found.mean - half, found.mean + half, found.n, p)


def holm(p_values: Sequence[float], level: float = 0.05) -> list[bool]:
    """Return which hypotheses are rejected so that with all of them the level holds (Holm, 1979).

    Args:
        p_values: The p-value of each hypothesis.
        level: The probability of rejecting any true hypothesis.
    """
    rejected = [False] * len(p_values)
    for done, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > level / (len(p_values) - done):
            break
        rejected[index] = True
    return rejected


def paired_ratio(base: Mapping[int, float], other: Mapping[int, float]) -> float | None:
    """Return the geometric mean of other / base over common seeds with positive values; None without any."""
    logs = [math.log(other[s] / base[s]) for s in base if s in other and base[s] > 0 and other[s] > 0]
    return math.exp(statistics.fmean(logs)) if logs else None
