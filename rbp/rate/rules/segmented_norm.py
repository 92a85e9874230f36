"""Batch normalisation of the rates of k segments of time (k > 1).

With statistics over all T steps (step mode m), for segment j of n_j steps and N values per channel in all:

    dx_j = gamma*invstd*(dy_j - n_j/N*sum(dy) - n_j/N*xhat_j*sum(dy*xhat)),

sums over all segments, images and places. This is BPTT's gradient with its mean taken over each segment. With
statistics of each step (step mode s), xhat_j and invstd_j are means over the segment's steps, and the sums
are replaced by means over the images and places of the segment: exact for k=T.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rbp.rate.memory.moments import in_float32
from rbp.rate.memory.segments import Segments


def segmented_norm(
    layer: Any,
    rate: Tensor,
    value: Tensor,
    statistics: tuple[Tensor, Tensor],
    of_steps: tuple[list[Tensor], list[Tensor]] | None,
    segments: Segments,
    reduce: Callable[[Tensor], None],
) -> Tensor:
    """Return value with a graph back to rate and the layer's parameters.

    Args:
        layer: the module.
        rate: rates of the input currents, [k*B, C, ...].
        value: rates of the output, [k*B, C, ...].
        statistics: mean and 1/sqrt(var + eps) over all steps, [C].
        of_steps: for statistics of each step, the mean over every segment of xhat_t [B, C, ...] and of
            1/sqrt(var_t + eps) [C].
        segments: the T steps and their segments.
        reduce: adds up a tensor, in place, over the processes that share the statistics.
    """
    parameters = (rate, layer.weight, layer.bias, value)
    if of_steps is not None:
        xhat, invstd = (torch.stack(means) for means in of_steps)
        return _SegmentedNorm.apply(*parameters, xhat, invstd, None, reduce)
    mean, invstd = statistics
    rates = in_float32(rate.detach()).unflatten(0, (segments.k, -1))
    shares = segments.weights(invstd.new_empty(segments.k, 1))
    xhat = normalised(rates, mean, invstd)
    return _SegmentedNorm.apply(*parameters, xhat, invstd.unsqueeze(0), shares, reduce)


def normalised(x_seq: Tensor, mean: Tensor, invstd: Tensor) -> Tensor:
    """Return (x - mean)*invstd for x_seq [t, B, C, ...], mean and invstd [C]."""
    wide = (-1, *(1,) * (x_seq.dim() - 3))
    return (x_seq - mean.view(wide)) * invstd.view(wide)


class _SegmentedNorm(torch.autograd.Function):
    """Return value [k*B, C, ...], given xhat [k, B, C, ...] and invstd [k, C].

    If the statistics are those of all steps, invstd is [1, C] and shares is n_j/T [k, 1], else None.
    """

    @staticmethod
    def forward(ctx, rate, weight, bias, value, xhat, invstd, shares, reduce):
        ctx.save_for_backward(xhat, weight, invstd, shares)
        ctx.reduce = reduce
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        xhat, weight, invstd, shares = ctx.saved_tensors
        dtype, shape = grad.dtype, grad.shape
        dy = grad.to(xhat.dtype).view(xhat.shape)
        others = [d for d in range(dy.dim()) if d not in (0, 2)]
        sums = torch.stack([dy.sum(others), (dy * xhat).sum(others)])  # [2, k, C]
        d_bias, d_weight = sums.sum(1)
        means = _means(sums, dy[0].numel() // dy.shape[2], shares, ctx.reduce)
        mean_dy, mean_dy_xhat = (_wide(m, dy) for m in means)
        scale = _wide(invstd if weight is None else invstd * weight, dy)
        dx = scale * (dy - mean_dy - xhat * mean_dy_xhat)
        d_weight = None if weight is None else d_weight.to(weight.dtype)
        d_bias = None if weight is None else d_bias.to(weight.dtype)
        return dx.to(dtype).view(shape), d_weight, d_bias, *(None,) * 5


def _means(sums: Tensor, values: int, shares: Tensor | None, reduce: Callable[[Tensor], None]) -> Tensor:
    """Return the share of the sums [2, k, C] that each segment's gradient loses, [2, k, C]."""
    totals = torch.cat([sums, torch.full_like(sums[:1], values)])
    reduce(totals)
    if shares is None:
        return totals[:2] / totals[2]
    return totals[:2].sum(1, keepdim=True) / totals[2, :1] * shares


def _wide(x: Tensor, like: Tensor) -> Tensor:
    """Return x [k, C] in the axes of like [k, B, C, ...]."""
    return x.view(x.shape[0], 1, x.shape[1], *(1,) * (like.dim() - 3))
