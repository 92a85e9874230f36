"""How many products a value at some place of a convolution's input takes part in, by channel of the output.

At a border, and with a stride or a dilation, a place is reached by fewer taps of the kernel than the kernel
has. Each axis counts by itself, and the count of a place is the product over the axes.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

Ints = int | tuple[int, ...]
_KEPT = 1024  # results, one for each layer and size of input


@lru_cache(_KEPT)
def convolution(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: Ints,
    padding: Ints | str,
    dilation: Ints,
    device: torch.device,
) -> Tensor:
    """Return [*sizes] in float64: the taps of a convolution that read each place of its input.

    Args:
        sizes: Size of the input, by axis.
        kernel: Size of the kernel.
        stride: Stride, one number or one for each axis; so are padding and dilation.
        padding: Zeros before and after the input; or "same" or "valid".
        dilation: Distance of neighbouring taps.
        device: Device of the result.
    """
    n, axes = len(sizes), []
    gaps = _each(dilation, n)
    around = _padding(padding, kernel, gaps)
    for size, k, step, (left, right), gap in zip(sizes, kernel, _each(stride, n), around, gaps, strict=True):
        outputs = (size + left + right - gap * (k - 1) - 1) // step + 1
        starts = [[i + left - tap * gap for tap in range(k)] for i in range(size)]
        axes.append([sum(s % step == 0 and 0 <= s < step * outputs for s in row) for row in starts])
    return _outer(axes, device)


@lru_cache(_KEPT)
def transposed_convolution(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: Ints,
    padding: Ints,
    output_padding: Ints,
    dilation: Ints,
    device: torch.device,
) -> Tensor:
    """Return [*sizes] in float64: the places of a transposed convolution's output that each place writes to.

    Args:
        sizes: Size of the input, by axis.
        kernel: Size of the kernel.
        stride: Stride, one number or one for each axis; so are the next three.
        padding: Places cut off at both ends of the output.
        output_padding: Places added after the output.
        dilation: Distance of neighbouring taps.
        device: Device of the result.
    """
    n, axes = len(sizes), []
    settings = (_each(value, n) for value in (stride, padding, output_padding, dilation))
    for size, k, step, cut, more, gap in zip(sizes, kernel, *settings, strict=True):
        outputs = (size - 1) * step - 2 * cut + gap * (k - 1) + more + 1
        ends = [[i * step - cut + tap * gap for tap in range(k)] for i in range(size)]
        axes.append([sum(0 <= end < outputs for end in row) for row in ends])
    return _outer(axes, device)


def _each(value: Ints, n: int) -> tuple[int, ...]:
    """Return a setting of n axes by axis; a single number means all of them."""
    values = (value,) if isinstance(value, int) else value
    return values * n if len(values) == 1 else values


def _padding(
    padding: Ints | str, kernel: tuple[int, ...], gaps: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """Return the zeros before and after the input, by axis."""
    if padding == "same":  # torch puts the odd one after
        total = [gap * (k - 1) for gap, k in zip(gaps, kernel, strict=True)]
        return tuple((n // 2, n - n // 2) for n in total)
    around = _each(0 if isinstance(padding, str) else padding, len(kernel))
    return tuple((n, n) for n in around)


def _outer(axes: list[list[int]], device: torch.device) -> Tensor:
    found = torch.ones((), dtype=torch.float64)
    for axis in axes:
        found = found.unsqueeze(-1) * torch.tensor(axis, dtype=torch.float64)
    return found.to(device)
