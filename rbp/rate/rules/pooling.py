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
from rbp.rate.memory.packing import counts_of, pack_segment_counts, with_counts
from rbp.rate.memory.traces import Trace
from rbp.rate.rules.base import Rule


class _MaxPoolRate(torch.autograd.Function):
    """Return value [B, C, h, w]; each place of a window gets the gradient times its share of steps won.

    wins is [B, C, places, h, w], with places numbering the places of a window; share is that of one step.
    """

    @staticmethod
    def forward(ctx, rate, value, wins, share, window):
        ctx.save_for_backward(wins)
        ctx.size, ctx.share, ctx.window = rate.shape[-2:], share, window
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (wins,) = ctx.saved_tensors
        share = (grad * ctx.share).unsqueeze(2)
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
    """Trace of max pooling: the number of steps that each place of a window won, per segment."""

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self._wins: list[Tensor] = []  # [B, C, places, ...] each

    def add_wins(self, segment: int, wins: Tensor) -> None:
        """Add the wins [B, C, places, ...] of some steps of a segment; the first are written to later."""
        if segment == len(self._wins):
            self._wins.append(wins)
        else:
            self._wins[segment].add_(wins)

    def take_wins(self) -> Tensor:
        """Return the wins, [B, C, places, ...] or of k segments [k*B, C, places, ...], and drop them."""
        wins, self._wins = self._wins, []
        return wins[0] if len(wins) == 1 else torch.cat(wins)


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
        for segment, part, _ in trace.segments.cut(trace.value.steps, x_seq.shape[0]):
            in_part = winners[part]
            wins = [(in_part == place).sum(0, dtype=dtype) for place in range(n_places)]
            trace.add_wins(segment, torch.stack(wins, dim=2))
        y_seq = self._as_given(pooled).unflatten(0, x_seq.shape[:2])
        trace.value.add(y_seq)
        return y_seq

    def rate(self, layer: Any, rate: Tensor, trace: WinsTrace) -> Tensor:
        value = self._as_image(trace.value.take().to(rate.dtype))
        share = trace.segments.step_share(value)
        y = _MaxPoolRate.apply(self._as_image(rate), value, trace.take_wins(), share, _window(layer))
        of_spikes = counts_of(rate) is not None  # then the pooled rate is too
        counts = pack_segment_counts(value, trace.segments) if of_spikes else None
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
