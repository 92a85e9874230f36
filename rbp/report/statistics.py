"""Means, spreads and paired differences over seeds."""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (None for one value) of n values."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Paired:
    """Mean of n differences, and its 95 % confidence interval: None for one pair, whose spread is unknown,
    and where all differences are equal: figures in steps (of one test image) often are by chance."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def beyond_spread(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def summary(values: Iterable[float]) -> Summary | None:
    """None for no values."""
    found = list(values)
    if not found:
        return None
    mean, n = statistics.fmean(found), len(found)
    # statistics.stdev computes with fractions, a hundred times as long.
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in found) / (n - 1)) if n > 1 else None
    return Summary(mean, std, n)


def paired(base: Mapping[Any, float], other: Mapping[Any, float]) -> Paired | None:
    """other - base over the seeds that both have; the interval is Student's t, mean ± t(n-1) s/√n.

    A seed fixes initial weights, data order and augmentation for both, so that pairing takes their part of
    the spread out. None without a common seed.
    """
    pairs = [(base[seed], other[seed]) for seed in base if seed in other]
    if (found := summary(b - a for a, b in pairs)) is None:
        return None
    rounding = 1e-9 * max(abs(value) for pair in pairs for value in pair)
    if found.std is None or found.std <= rounding:
        return Paired(found.mean, None, None, found.n)
    from scipy.special import stdtrit  # the quantile alone: scipy.stats takes a second to load

    half = float(stdtrit(found.n - 1, 0.975)) * found.std / math.sqrt(found.n)
    return Paired(found.mean, found.mean - half, found.mean + half, found.n)


def paired_ratio(base: Mapping[int, float], other: Mapping[int, float]) -> float | None:
    """Geometric mean of other / base over the seeds that both have, all positive; None without one."""
    logs = [math.log(other[s] / base[s]) for s in base if s in other and base[s] > 0 and other[s] > 0]
    return math.exp(statistics.fmean(logs)) if logs else None
