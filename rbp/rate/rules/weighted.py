"""Convolution and linear layers, which commute with the time mean.

W * mean_t(s_t) = mean_t(W * s_t), so the output is computed once, for the spikes; its time mean is the rate,
and the backward pass is that of the operator at the *input rate* (Yu et al., NeurIPS 2024, section 4). The
published code runs a second forward pass for the rate, which is not needed.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from rbp.rate.memory.folding import fold_time
from rbp.rate.memory.packing import as_kept, counts_of
from rbp.rate.memory.traces import Trace
from rbp.rate.rules.base import Rule

aten = torch.ops.aten


def working_dtype(rate: Tensor, weight: Tensor) -> torch.dtype:
    """Return the dtype of a matrix product's operands: that of autocast if enabled, else the weight's."""
    kind = rate.device.type
    known = torch.amp.is_autocast_available(kind)  # torch raises for devices without autocast (meta)
    return torch.get_autocast_dtype(kind) if known and torch.is_autocast_enabled(kind) else weight.dtype


class _ConvRate(torch.autograd.Function):
    """Return value [B, ...], with the backward pass of a convolution of the rate."""

    @staticmethod
    def forward(ctx, rate, weight, bias, value, counts, steps, stride, padding, dilation, groups):
        ctx.dtype, ctx.steps = working_dtype(rate, weight), steps
        ctx.dtypes = rate.dtype, weight.dtype, None if bias is None else bias.dtype
        ctx.save_for_backward(rate.to(ctx.dtype) if counts is None else counts, weight)
        ctx.settings = (stride, padding, dilation, groups)
        ctx.bias_sizes = None if bias is None else bias.shape
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        rate, weight = ctx.saved_tensors
        rate, share = as_kept(rate, ctx.dtype, ctx.steps)
        stride, padding, dilation, groups = ctx.settings
        settings = (stride, padding, dilation, False, [0] * len(stride), groups)
        operands = (grad.to(ctx.dtype), rate, weight.to(ctx.dtype), ctx.bias_sizes)
        grads = aten.convolution_backward(*operands, *settings, list(ctx.needs_input_grad[:3]))
        d_rate, d_weight, d_bias = _cast(grads, ctx.dtypes)
        return d_rate, None if d_weight is None else d_weight * share, d_bias, *(None,) * 7


def _cast(grads: tuple, dtypes: tuple) -> list[Tensor | None]:
    return [None if g is None else g.to(dtype) for g, dtype in zip(grads, dtypes, strict=True)]


class _WeightedRule(Rule):
    """A linear operator with weights: its output is computed once, for the spikes; the rate is its mean."""

    recomputes = True

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        y_seq = fold_time(lambda x: self.again(layer, x), x_seq)
        trace.value.add(y_seq)
        return y_seq


class ConvRule(_WeightedRule):
    """Conv1d/2d/3d with any stride, padding, padding mode, dilation and groups."""

    def again(self, layer: Any, x: Tensor) -> Tensor:
        return layer._conv_forward(x, layer.weight, layer.bias)

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        value = trace.value.take().to(rate.dtype)
        rate, padding = _pad(layer, rate)
        settings = (list(layer.stride), padding, list(layer.dilation), layer.groups)
        counts = (counts_of(rate), trace.segments.lengths[0])
        return _ConvRate.apply(rate, layer.weight, layer.bias, value, *counts, *settings)


def _pad(layer: Any, rate: Tensor) -> tuple[Tensor, list[int]]:
    """Return the input and the zero padding left to the convolution; pad here for modes and uneven "same"."""
    by_hand = layer._reversed_padding_repeated_twice
    if layer.padding_mode != "zeros":
        return F.pad(rate, by_hand, mode=layer.padding_mode), [0] * len(layer.stride)
    if not isinstance(layer.padding, str):
        return rate, list(layer.padding)
    left, right = by_hand[0::2][::-1], by_hand[1::2][::-1]
    if left == right:
        return rate, list(left)
    return F.pad(rate, by_hand), [0] * len(layer.stride)


class _LinearRate(torch.autograd.Function):
    """Return value [..., K], with the backward pass of a linear layer applied to the rate [..., D]."""

    @staticmethod
    def forward(ctx, rate, weight, bias, value, counts, steps):
        ctx.dtype, ctx.steps = working_dtype(rate, weight), steps
        ctx.dtypes = rate.dtype, weight.dtype, None if bias is None else bias.dtype
        ctx.save_for_backward(rate.to(ctx.dtype) if counts is None else counts, weight)
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        rate, weight = ctx.saved_tensors
        (rate, share), grad = as_kept(rate, ctx.dtype, ctx.steps), grad.to(ctx.dtype)
        rows = grad.flatten(0, -2)
        d_rate = grad @ weight.to(ctx.dtype) if ctx.needs_input_grad[0] else None
        d_weight = rows.mT @ rate.flatten(0, -2) * share if ctx.needs_input_grad[1] else None
        d_bias = rows.sum(0) if ctx.needs_input_grad[2] else None
        return *_cast((d_rate, d_weight, d_bias), ctx.dtypes), None, None, None


class LinearRule(_WeightedRule):
    """nn.Linear: y = x W^T + b on the last axis."""

    def again(self, layer: Any, x: Tensor) -> Tensor:
        return F.linear(x, layer.weight, layer.bias)

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        value, counts = trace.value.take().to(rate.dtype), (counts_of(rate), trace.segments.lengths[0])
        return _LinearRate.apply(rate, layer.weight, layer.bias, value, *counts)
