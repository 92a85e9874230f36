"""Rules for what commutes with the time mean: convolution, linear, average pooling, dropout, reshapes.

W * mean_t(s_t) = mean_t(W * s_t): the spikes' output is computed once, its time mean is the rate, and the
backward pass is that of the operator at the *input rate* (Yu et al., NeurIPS 2024, section 4; the second
forward pass of the published code is not needed).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from spikingjelly.activation_based import base
from spikingjelly.activation_based import layer as sj
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rbp.rate.memory.draws import random_state, set_random_state
from rbp.rate.memory.folding import fold_time
from rbp.rate.memory.packing import as_kept, counts_of
from rbp.rate.memory.traces import Trace
from rbp.rate.rules.base import Rule, register

aten = torch.ops.aten


def working_dtype(rate: Tensor, weight: Tensor) -> torch.dtype:
    """What a matrix product takes its operands in: autocast's type where it is on, else the weight's own."""
    kind = rate.device.type
    known = torch.amp.is_autocast_available(kind)  # torch raises for a device that it is unknown on (meta)
    return torch.get_autocast_dtype(kind) if known and torch.is_autocast_enabled(kind) else weight.dtype


class _ConvRate(torch.autograd.Function):
    """value [B, ...], with the backward of a convolution whose input was the rate."""

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
        d_rate, d_weight, d_bias = cast(grads, ctx.dtypes)
        return d_rate, None if d_weight is None else d_weight * share, d_bias, *(None,) * 7


def cast(grads: tuple, dtypes: tuple) -> list[Tensor | None]:
    return [None if g is None else g.to(dtype) for g, dtype in zip(grads, dtypes, strict=True)]


class _WeightedRule(Rule):
    """A linear operator with weights: its output on the spikes is computed once, the rate is their mean."""

    recomputes = True

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        y_seq = fold_time(lambda x: self.again(layer, x), x_seq)
        trace.average("value", y_seq)
        return y_seq


class ConvRule(_WeightedRule):
    """Convolution with any stride, padding mode, dilation and groups."""

    def again(self, layer: Any, x: Tensor) -> Tensor:
        return layer._conv_forward(x, layer.weight, layer.bias)

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        value = trace.take("value").to(rate.dtype)
        rate, padding = _pad(layer, rate)
        settings = (list(layer.stride), padding, list(layer.dilation), layer.groups)
        counts = (counts_of(rate), trace.steps)
        return _ConvRate.apply(rate, layer.weight, layer.bias, value, *counts, *settings)


def _pad(layer: Any, rate: Tensor) -> tuple[Tensor, list[int]]:
    """The input, padded where the convolution cannot (modes, uneven "same"), and what is left to pad."""
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
    """value [..., K], with the backward of a linear layer whose input was the rate [..., D]."""

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
        return *cast((d_rate, d_weight, d_bias), ctx.dtypes), None, None, None


class LinearRule(_WeightedRule):
    """y = x W^T + b, on the last axis."""

    def again(self, layer: Any, x: Tensor) -> Tensor:
        return F.linear(x, layer.weight, layer.bias)

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        value, counts = trace.take("value").to(rate.dtype), (counts_of(rate), trace.steps)
        return _LinearRate.apply(rate, layer.weight, layer.bias, value, *counts)


class CommutingRule(Rule):
    """A layer that commutes with the time mean and is cheap: applied to the spikes, and again to the rate."""

    recomputes = True

    def again(self, layer: Any, x: Tensor) -> Tensor:
        return _one_step(layer, x)

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        return fold_time(lambda x: _one_step(layer, x), x_seq)

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        return _one_step(layer, rate)


class AveragePoolRule(CommutingRule):
    """Average pooling. Torch's keeps its input for the backward pass, which wants no more than its shape."""

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        with torch.autograd.graph.saved_tensors_hooks(_layout, _in_layout):
            return _one_step(layer, rate)


def _layout(x: Tensor) -> tuple[tuple[int, ...], tuple[int, ...], torch.dtype, torch.device]:
    return x.shape, x.stride(), x.dtype, x.device


def _in_layout(layout: tuple[tuple[int, ...], tuple[int, ...], torch.dtype, torch.device]) -> Tensor:
    """A tensor of this layout, its content undefined."""
    shape, stride, dtype, device = layout
    return torch.empty_strided(shape, stride, dtype=dtype, device=device)


def _one_step(layer: Any, x: Tensor) -> Tensor:
    """The layer's own forward on one step: torch's, where SpikingJelly's wrapper would want [T, B, ...]."""
    if not isinstance(layer, base.StepModule):
        return type(layer).forward(layer, x)
    kinds = [k for k in type(layer).__mro__ if k.__module__.startswith("torch.nn") and "forward" in vars(k)]
    plain: Any = kinds[0] if kinds else type(layer)
    return plain.forward(layer, x)


class DropoutRule(Rule):
    """Dropout with one mask for all T steps, so that it commutes with the time mean."""

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        if not layer.training:
            return x_seq
        return x_seq * self._once(layer, x_seq[0], trace)

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        return rate * self._once(layer, rate, trace) if layer.training else rate

    def _once(self, layer: Any, like: Tensor, trace: Trace) -> Tensor:
        """The mask, drawn once; used again, random numbers go on as if it had been drawn again."""
        if trace.state is None:
            mask = self.mask(layer, torch.ones_like(like))
            trace.state = mask, random_state(like.device)
        else:
            set_random_state(trace.state[1])
        return trace.state[0]

    def mask(self, layer: Any, ones: Tensor) -> Tensor:
        return layer.create_mask(ones) if isinstance(layer, sj.Dropout) else type(layer).forward(layer, ones)


DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)

register(ConvRule(), nn.Conv1d, nn.Conv2d, nn.Conv3d, sj.Conv1d, sj.Conv2d, sj.Conv3d)
register(LinearRule(), nn.Linear, sj.Linear)
register(AveragePoolRule(), nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
register(AveragePoolRule(), sj.AvgPool1d, sj.AvgPool2d, sj.AvgPool3d)
register(AveragePoolRule(), nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
register(AveragePoolRule(), sj.AdaptiveAvgPool1d, sj.AdaptiveAvgPool2d, sj.AdaptiveAvgPool3d)
register(CommutingRule(), sj.Flatten, nn.ZeroPad1d, nn.ZeroPad2d)
register(CommutingRule(), nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
register(CommutingRule(), sj.ConvTranspose1d, sj.ConvTranspose2d, sj.ConvTranspose3d)
register(CommutingRule(), nn.Upsample, sj.Upsample, nn.PixelShuffle, nn.PixelUnshuffle)
register(DropoutRule(), *DROPOUT, sj.Dropout, sj.Dropout2d)
