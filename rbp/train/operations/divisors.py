"""What average pooling divides by. The division can be folded into the next layer's weights.

The pooled value k / n then stands for k spikes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor

Ints = int | tuple[int, ...]
Divisor = float | Tensor  # one number, or one for each value of a sample


def _windows(
    y: Tensor,
    x: Tensor,
    kernel_size: Ints,
    stride: Any = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    axes: int,
) -> float | None:
    """Return the divisor of average pooling; None where it differs at the borders."""
    if divisor_override:
        return float(divisor_override)
    size = (kernel_size,) * axes if isinstance(kernel_size, int) else tuple(kernel_size)
    padded = padding if isinstance(padding, int) else any(padding)
    if ceil_mode or (padded and not count_include_pad):
        return None
    return float(prod(size * axes if len(size) == 1 < axes else size))


def _adaptive(y: Tensor, x: Tensor, output_size: Any = None, *, axes: int) -> Divisor:
    """Return the divisors of adaptive pooling: one number, or one for each value of a sample."""
    pairs = list(zip(x.shape[-axes:], y.shape[-axes:], strict=True))
    widths = [[-(-(i + 1) * size // out) - i * size // out for i in range(out)] for size, out in pairs]
    if all(len(set(row)) == 1 for row in widths):
        return float(prod(row[0] for row in widths))
    found = torch.ones(())
    for row in widths:
        found = found.unsqueeze(-1) * torch.tensor(row, dtype=torch.float32)
    return found.expand(y.shape[-axes - 1 :]).to(y.device)


def _mean(y: Tensor, x: Tensor, *_: Any, **__: Any) -> float:
    return float(x.numel() // max(1, y.numel()))


def _of(f: Callable[..., Divisor | None], axes: int) -> Callable[..., Divisor | None]:
    return lambda *args, **kwargs: f(*args, axes=axes, **kwargs)


# By a function's name: what it divides by, given its result and its arguments.
DIVISORS: Mapping[str, Callable[..., Divisor | None]] = {
    **{f"avg_pool{n}d": _of(_windows, n) for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": _of(_adaptive, n) for n in (1, 2, 3)},
    "mean": _mean,
}


def fits(divisor: Divisor, x: Tensor) -> Divisor | None:
    """Return the divisor of every value of x [t, n, ...], ready to be multiplied; None if it is another's."""
    if isinstance(divisor, float):
        return divisor
    one = x.shape[2:]
    return divisor.reshape(one) if prod(one) == divisor.numel() else None
