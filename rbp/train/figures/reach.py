"""How many products a value at some place of a convolution's input takes part in, by channel of the output.

At a border, and with a stride or a dilation, a place is reached by fewer taps of the kernel than the kernel
has. Each axis counts by itself, and the count of a place is the product over the axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod

import torch
from torch import Tensor


@lru_cache(maxsize=1024)
def convolution(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
    device: torch.device,
) -> Tensor:
    """Return [*sizes] in float64: the taps of a convolution that read each place of its input.

    Args:
        sizes: Size of the input, by axis; so are the other arguments.
        kernel: Size of the kernel.
        stride: Stride.
        padding: Zeros before and after the input.
        dilation: Distance of neighbouring taps.
        device: Device of the result.
    """
    axes = []
    for size, k, step, (left, right), gap in zip(sizes, kernel, stride, padding, dilation, strict=True):
        outputs = (size + left + right - gap * (k - 1) - 1) // step + 1
        starts = [[i + left - tap * gap for tap in range(k)] for i in range(size)]
        axes.append([sum(s % step == 0 and 0 <= s < step * outputs for s in row) for row in starts])
    return _outer(axes, device)


@lru_cache(maxsize=1024)
def transposed(
    sizes: tuple[int, ...],
    outputs: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    device: torch.device,
) -> Tensor:
    """Return [*sizes] in float64: the places of a transposed convolution's output that each place writes to.

    Args:
        sizes: Size of the input, by axis; so are the other arguments.
        outputs: Size of the output.
        kernel: Size of the kernel.
        stride: Stride.
        padding: Places cut off at both ends.
        dilation: Distance of neighbouring taps.
        device: Device of the result.
    """
    axes = []
    for size, out, k, step, cut, gap in zip(sizes, outputs, kernel, stride, padding, dilation, strict=True):
        ends = [[i * step - cut + tap * gap for tap in range(k)] for i in range(size)]
        axes.append([sum(0 <= end < out for end in row) for row in ends])
    return _outer(axes, device)


def _outer(axes: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    found = torch.ones((), dtype=torch.float64)
    for axis in axes:
        found = found.unsqueeze(-1) * torch.tensor(axis, dtype=torch.float64)
    assert found.numel() == prod(map(len, axes))
    return found.to(device)
