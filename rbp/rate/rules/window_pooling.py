"""Max pooling in rate mode over general windows: MaxPool3d and AdaptiveMaxPool1d/2d/3d.

As in rbp.rate.rules.pooling, the rate is the exact time mean and the gradient is routed as in each step,
averaged over the steps, from the number of steps that each place of a window won (one byte each up to T=255).
Where windows overlap, a GPU sums the gradient in no fixed order, as in torch's pooling layers of these kinds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from rbp.rate.errors import NoRuleError
from rbp.rate.memory.folding import fold_time
from rbp.rate.memory.packing import counts_of, pack_segment_counts, with_counts
from rbp.rate.rules.base import Rule
from rbp.rate.rules.pooling import WinsTrace


@dataclass
class Axis:
    """The windows along one axis.

    Attributes:
        size: Length of the axis, without padding.
        starts: First index of each window, [n]; negative in the padding.
        places: Largest number of places in a window.
        dilation: Distance between neighbouring places of a window.
    """

    size: int
    starts: Tensor
    places: int
    dilation: int = 1


class _WindowPoolRate(torch.autograd.Function):
    """Return value [B, C, ...]; each place of a window gets the gradient times its share of steps won.

    wins is [B, C, K, ...] for the K places of a window.
    """

    @staticmethod
    def forward(ctx, rate, value, wins, share, axes):
        ctx.save_for_backward(wins)
        ctx.shape, ctx.share, ctx.axes = rate.shape, share, axes
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (wins,) = ctx.saved_tensors
        by_place = ((grad * ctx.share).unsqueeze(2) * wins).flatten(2)
        dx = by_place.new_zeros(ctx.shape).flatten(2)
        dx.scatter_add_(2, _positions(ctx.axes).expand(by_place.shape), by_place)
        return dx.view(ctx.shape), None, None, None, None


class WindowPoolRule(Rule[WinsTrace]):
    """Max pooling over general windows. The input may lack the channel axis.

    Args:
        places: Number of pooled axes, the last ones.
        pool: `pool(layer, x)` returns the maxima [B, C, ...] of x [B, C, ...] and their flat indices into the
            pooled axes of x.
        axes: `axes(layer, x)` returns the windows along each pooled axis.

    Raises:
        NoRuleError: From `spikes`, for a layer that returns indices.
    """

    trace_type = WinsTrace
    passes_bits = True

    def __init__(
        self, places: int, pool: Callable[[Any, Tensor], tuple], axes: Callable[[Any, Tensor], list[Axis]]
    ) -> None:
        self.places, self.pool, self.axes = places, pool, axes

    def spikes(self, layer: Any, x_seq: Tensor, trace: WinsTrace) -> Tensor:
        if layer.return_indices:
            raise NoRuleError("max pooling that returns indices has none for a rate")
        no_channels = x_seq.dim() == self.places + 2
        x_seq = x_seq.unsqueeze(2) if no_channels else x_seq
        y_seq, at = fold_time(lambda x: self.pool(layer, x), x_seq)
        axes = self.axes(layer, x_seq[0])
        for segment, part, _ in trace.segments.cut(trace.value.steps, x_seq.shape[0]):
            trace.add_wins(segment, _wins(at[part], axes, torch.uint8 if trace.T <= 255 else torch.int32))
        y_seq = y_seq.squeeze(2) if no_channels else y_seq
        trace.value.add(y_seq)
        return y_seq

    def rate(self, layer: Any, rate: Tensor, trace: WinsTrace) -> Tensor:
        value = trace.value.take().to(rate.dtype)
        share = trace.segments.step_share(value)
        no_channels = rate.dim() == self.places + 1
        images = (rate.unsqueeze(1), value.unsqueeze(1)) if no_channels else (rate, value)
        y = _WindowPoolRate.apply(*images, trace.take_wins(), share, self.axes(layer, images[0]))
        y = y.squeeze(1) if no_channels else y
        of_spikes = counts_of(rate) is not None  # then the pooled rate is too
        return with_counts(y, pack_segment_counts(value, trace.segments) if of_spikes else None)


def _wins(at: Tensor, axes: list[Axis], dtype: torch.dtype) -> Tensor:
    """Return how often each place of a window won, [B, C, K, ...], given the flat indices [t, B, C, ...]."""
    n_places = math.prod(axis.places for axis in axes)
    wins = torch.zeros((*at.shape[1:3], n_places, *at.shape[3:]), dtype=dtype, device=at.device)
    one = torch.ones((), dtype=dtype, device=at.device)
    for at_step in at:
        winner = _place_in_window(at_step, axes).unsqueeze(2)
        wins.scatter_add_(2, winner, one.expand(winner.shape))
    return wins


def _place_in_window(at: Tensor, axes: list[Axis]) -> Tensor:
    """Convert flat indices [B, C, ...] into the pooled axes to place numbers, 0..K-1, in their window."""
    number, stride = torch.zeros_like(at), 1
    for i, axis in reversed(list(enumerate(axes))):
        starts = _along(axis.starts, i, len(axes))
        number += (at % axis.size - starts) // axis.dilation * stride
        at, stride = at // axis.size, stride * axis.places
    return number


def _positions(axes: list[Axis]) -> Tensor:
    """Return the flat index of every place of every window, [K * number of windows].

    A place in the padding, or one that a smaller window lacks, gets an arbitrary index; it never wins.
    """
    flat: Any = 0
    for i, axis in enumerate(axes):
        offset = torch.arange(axis.places, device=axis.starts.device) * axis.dilation
        position = (offset.unsqueeze(1) + axis.starts).clamp(0, axis.size - 1)
        wide = [1] * (2 * len(axes))
        wide[i], wide[len(axes) + i] = position.shape
        flat = flat * axis.size + position.view(wide)
    return flat.flatten()


def _along(x: Tensor, i: int, n_axes: int) -> Tensor:
    """Reshape x [n] to broadcast along the i-th of the last n_axes axes."""
    return x.view(*(-1 if j == i else 1 for j in range(n_axes)))


def _in_three_places(layer: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    window = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return F.max_pool3d(x, *window, ceil_mode=layer.ceil_mode, return_indices=True)


def _three_axes(layer: Any, x: Tensor) -> list[Axis]:
    stride = layer.kernel_size if layer.stride is None else layer.stride
    settings = (_three(n) for n in (layer.kernel_size, stride, layer.padding, layer.dilation))
    axes = []
    for size, kernel, step, padding, dilation in zip(x.shape[2:], *settings, strict=True):
        n = _number_of_windows(size + 2 * padding - dilation * (kernel - 1) - 1, step, layer.ceil_mode)
        n -= (n - 1) * step >= size + padding  # drop a last window that would start in the right padding
        starts = torch.arange(n, device=x.device) * step - padding
        axes.append(Axis(size, starts, kernel, dilation))
    return axes


def _number_of_windows(room: int, step: int, ceil_mode: bool) -> int:
    return (-(-room // step) if ceil_mode else room // step) + 1


def _three(n: Any) -> tuple[int, int, int]:
    return (n, n, n) if isinstance(n, int) else tuple(n) * (3 // len(n))


def _adaptive(pool: Callable) -> Callable[[Any, Tensor], tuple]:
    return lambda layer, x: pool(x, layer.output_size, return_indices=True)


def _adaptive_axes(layer: Any, x: Tensor) -> list[Axis]:
    """Return the windows of adaptive pooling: window i of n covers floor(i*size/n) to ceil((i+1)*size/n)."""
    wanted = layer.output_size
    sizes = x.shape[2:]
    numbers = [wanted] * len(sizes) if isinstance(wanted, int) or wanted is None else list(wanted)
    axes = []
    for size, number in zip(sizes, numbers, strict=True):
        n = size if number is None else number
        places = max(-(-(i + 1) * size // n) - i * size // n for i in range(n))
        axes.append(Axis(size, torch.arange(n, device=x.device) * size // n, places))
    return axes


MAX_POOL_3D = WindowPoolRule(3, _in_three_places, _three_axes)
ADAPTIVE_1D = WindowPoolRule(1, _adaptive(F.adaptive_max_pool1d), _adaptive_axes)
ADAPTIVE_2D = WindowPoolRule(2, _adaptive(F.adaptive_max_pool2d), _adaptive_axes)
ADAPTIVE_3D = WindowPoolRule(3, _adaptive(F.adaptive_max_pool3d), _adaptive_axes)
