"""Max pooling in one and two dimensions in rate mode.

It does not commute with the time mean. The rate is the exact time mean of the pooled spikes; the gradient is
routed as in each step, averaged over the steps. For this the number of steps that each place of a window won
is kept, one byte each up to T=255, so memory does not grow with T.

Distance from BPTT of the convolution's gradient in conv - LIF - pool - linear on a static 8x8 image, where it
is 0 without the pool (T=6, five seeds; tests/rate/test_distance.py): 1.4 to 1.9 %. Routing by the largest
*rate*, as in the published code, gives 37 to 46 %.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rbp.rate.errors import NoRuleError
from rbp.rate.memory.packing import counts_of, pack_counts, with_counts
from rbp.rate.memory.traces import Trace
from rbp.rate.rules.base import Rule


class _MaxPoolRate(torch.autograd.Function):
    """Return value [B, C, h, w]; each place of a window gets the gradient times its share of steps won.

    wins is [B, C, places, h, w], with places numbering the places of a window.
    """

    @staticmethod
    def forward(ctx, rate, value, wins, steps, window):
        ctx.save_for_backward(wins)
        ctx.size, ctx.steps, ctx.window = rate.shape[-2:], steps, window
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (wins,) = ctx.saved_tensors
        share = (grad * (1.0 / ctx.steps)).unsqueeze(2)
        columns = (share * wins).flatten(3).flatten(1, 2)
        size = _covered(grad.shape[-2:], ctx.window)
        height, width = (max(a, b) for a, b in zip(ctx.size, size, strict=True))
        dx = F.fold(columns, (height, width), **ctx.window)  # in ceil_mode the last window may overhang
        return dx[..., : ctx.size[0], : ctx.size[1]], None, None, None, None


def _covered(pooled: torch.Size, window: dict[str, tuple[int, int]]) -> list[int]:
    """Return the input size, without padding, that this many windows cover."""
    names = ("stride", "dilation", "kernel_size", "padding")
    axes = zip(pooled, *(window[name] for name in names), strict=True)
    return [(n - 1) * stride + dilation * (k - 1) + 1 - 2 * pad for n, stride, dilation, k, pad in axes]


class WinsTrace(Trace):
    """Trace of max pooling.

    Attributes:
        wins: Number of steps in which each place of a window won, [B, C, places, ...]. The pooled axes come
            last; MaxPool1d has two, the first of length 1.
    """

    wins: Tensor | None = None


class MaxPoolRule(Rule[WinsTrace]):
    """MaxPool1d and MaxPool2d.

    Args:
        places: Number of pooled axes, 1 or 2.
    """

    trace_type = WinsTrace
    passes_bits = True

    def __init__(self, places: int) -> None:
        self.places = places

    def spikes(self, layer: Any, x_seq: Tensor, trace: WinsTrace) -> Tensor:
        window = _window(layer)
        if layer.return_indices:
            raise NoRuleError("max pooling that returns indices has none for a rate")
        x = self._as_image(x_seq.flatten(0, 1))
        pooled, at = F.max_pool2d(x, **window, ceil_mode=layer.ceil_mode, return_indices=True)
        winners = _place_in_window(at, x.shape[-1], window).unflatten(0, x_seq.shape[:2])
        n_places = window["kernel_size"][0] * window["kernel_size"][1]
        dtype = torch.uint8 if trace.T <= 255 else torch.int32
        wins = torch.stack([(winners == k).sum(0, dtype=dtype) for k in range(n_places)], dim=2)
        trace.wins = wins if trace.wins is None else trace.wins.add_(wins)
        y_seq = self._as_given(pooled).unflatten(0, x_seq.shape[:2])
        trace.value.add(y_seq)
        return y_seq

    def rate(self, layer: Any, rate: Tensor, trace: WinsTrace) -> Tensor:
        value = self._as_image(trace.value.take().to(rate.dtype))
        y = _MaxPoolRate.apply(self._as_image(rate), value, trace.wins, trace.T, _window(layer))
        of_spikes = counts_of(rate) is not None  # then the pooled rate is too
        counts = pack_counts((value * trace.T).round(), trace.T) if of_spikes else None
        return with_counts(self._as_given(y), None if counts is None else self._as_given(counts))

    def _as_image(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-2) if self.places == 1 else x

    def _as_given(self, x: Tensor) -> Tensor:
        return x.squeeze(-2) if self.places == 1 else x


def _window(layer: Any) -> dict[str, tuple[int, int]]:
    """Return the window's settings as (height, width); 1-d pooling has windows one row high."""
    one_row = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}

    def two(name: str, n: Any) -> tuple[int, int]:
        if isinstance(layer, nn.MaxPool1d):
            return (one_row[name], n if isinstance(n, int) else n[0])
        return (n, n) if isinstance(n, int) else tuple(n)

    stride = layer.kernel_size if layer.stride is None else layer.stride
    sizes = {"kernel_size": layer.kernel_size, "stride": stride, "padding": layer.padding}
    return {name: two(name, n) for name, n in (sizes | {"dilation": layer.dilation}).items()}


def _place_in_window(places: Tensor, width: int, window: dict[str, tuple[int, int]]) -> Tensor:
    """Convert max_pool2d's flat indices into H*W to the place in the window, 0..kh*kw-1."""
    (_, kw), (sh, sw) = window["kernel_size"], window["stride"]
    (ph, pw), (dh, dw) = window["padding"], window["dilation"]
    top = torch.arange(places.shape[-2], device=places.device).unsqueeze(1) * sh - ph
    left = torch.arange(places.shape[-1], device=places.device) * sw - pw
    row, column = places // width, places % width
    return (row - top) // dh * kw + (column - left) // dw
