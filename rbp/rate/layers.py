"""Rules for the layers between neurons: convolution, linear, batch normalisation, pooling, dropout.

Linear operators commute with the time mean, W * mean_t(s_t) = mean_t(W * s_t): the spikes' output is computed
once, its time mean is the rate, and the backward pass is that of the operator at the *input rate*
(Yu et al., NeurIPS 2024, section 4; the second forward pass of the published code is not needed).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from spikingjelly.activation_based import layer as sj
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rbp.rate.pair import is_constant
from rbp.rate.rules import Trace, fold_time, register

aten = torch.ops.aten


class _ConvRate(torch.autograd.Function):
    """value [B, ...], with the backward of a convolution whose input was the rate."""

    @staticmethod
    def forward(ctx, rate, weight, bias, value, stride, padding, dilation, groups):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(rate, weight)
        ctx.settings = (stride, padding, dilation, groups)
        ctx.bias_sizes = None if bias is None else bias.shape
        return value.clone() if value is rate else value

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        rate, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.settings
        wanted = list(ctx.needs_input_grad[:3])
        no_offset = [0] * len(stride)
        settings = (stride, padding, dilation, False, no_offset, groups)
        grads = aten.convolution_backward(grad, rate, weight, ctx.bias_sizes, *settings, wanted)
        return *grads, *(None,) * 5


class ConvRule:
    """Convolution with any stride, padding mode, dilation and groups."""

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        y_seq = fold_time(lambda x: layer._conv_forward(x, layer.weight, layer.bias), x_seq)
        trace.average("value", y_seq)
        return y_seq

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        rate, padding = _pad(layer, rate)
        value = trace.take("value")
        settings = (list(layer.stride), padding, list(layer.dilation), layer.groups)
        return _ConvRate.apply(rate, layer.weight, layer.bias, value, *settings)


def _pad(layer: Any, rate: Tensor) -> tuple[Tensor, list[int]]:
    """The input with what the convolution itself cannot pad (modes, uneven "same"), and what it still pads."""
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
    def forward(ctx, rate, weight, bias, value):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(rate, weight)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        rate, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        d_rate = grad @ weight if ctx.needs_input_grad[0] else None
        d_weight = rows.mT @ rate.flatten(0, -2) if ctx.needs_input_grad[1] else None
        d_bias = rows.sum(0) if ctx.needs_input_grad[2] else None
        return d_rate, d_weight, d_bias, None


class LinearRule:
    """y = x W^T + b."""

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        y_seq = fold_time(lambda x: F.linear(x, layer.weight, layer.bias), x_seq)
        trace.average("value", y_seq)
        return y_seq

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        return _LinearRate.apply(rate, layer.weight, layer.bias, trace.take("value"))


class _BatchNormRate(torch.autograd.Function):
    """value [B, C, ...], with the backward of batch normalisation at the rate current.

    dx = gamma*invstd*(dy - mean(dy) - xhat*mean(dy*xhat)), xhat = (rate - mean)*invstd: torch's own backward,
    given the statistics of the spike currents.
    """

    @staticmethod
    def forward(ctx, rate, weight, bias, value, mean, invstd, eps):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(rate, weight, mean, invstd)
        ctx.eps = eps
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        rate, weight, mean, invstd = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        statistics = (None, None, mean, invstd)
        grads = aten.native_batch_norm_backward(
            grad.contiguous(), rate, weight, *statistics, True, ctx.eps, wanted
        )
        return *grads, None, None, None, None


class BatchNormRule:
    """Batch normalisation: statistics over time and batch in step mode m, over each step's batch in mode s.

    In mode s the backward uses the time means of mean_t and 1/(var_t + eps).
    """

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        if not _uses_batch_statistics(layer):
            return fold_time(lambda x: _normalise_by_running(layer, x), x_seq)
        x = x_seq[0] if is_constant(x_seq) else x_seq.flatten(0, 1)
        y, mean, invstd = torch.native_batch_norm(
            x, layer.weight, layer.bias, None, None, training=True, momentum=0.0, eps=layer.eps
        )
        _update_running(layer, mean.detach(), invstd.detach(), x_seq.numel() // x_seq.shape[2])
        steps = x_seq.shape[0]
        y_seq = y.expand(steps, *y.shape) if is_constant(x_seq) else y.unflatten(0, x_seq.shape[:2])
        if not torch.is_grad_enabled():
            trace.average("value", y_seq)
            trace.add("mean", mean, steps / trace.steps)
            trace.add("precision", invstd.square(), steps / trace.steps)
        return y_seq

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        if not _uses_batch_statistics(layer):
            return _normalise_by_running(layer, rate)
        value, mean = trace.take("value"), trace.take("mean")
        invstd = trace.take("precision").sqrt()
        return _BatchNormRate.apply(rate, layer.weight, layer.bias, value, mean, invstd, layer.eps)


def _uses_batch_statistics(layer: Any) -> bool:
    return layer.training or layer.running_mean is None


def _normalise_by_running(layer: Any, x: Tensor) -> Tensor:
    running = (layer.running_mean, layer.running_var)
    return F.batch_norm(x, *running, layer.weight, layer.bias, training=False, eps=layer.eps)


@torch.no_grad()
def _update_running(layer: Any, mean: Tensor, invstd: Tensor, n: int) -> None:
    """Running mean and (unbiased, over n values a channel) variance, as torch's own layers keep them."""
    if not (layer.training and layer.track_running_stats):
        return
    layer.num_batches_tracked.add_(1)
    momentum = layer.momentum
    if momentum is None:  # a cumulative average
        momentum = 1.0 / float(layer.num_batches_tracked)
    variance = (invstd.pow(-2) - layer.eps).clamp_(min=0) * (n / max(n - 1, 1))
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), momentum)
    layer.running_var.lerp_(variance.to(layer.running_var.dtype), momentum)


class CommutingRule:
    """A layer that commutes with the time mean and is cheap: applied to the spikes and to the rate."""

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        return fold_time(lambda x: type(layer).forward(layer, x), x_seq)

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        return type(layer).forward(layer, rate)


class DropoutRule:
    """Dropout with one mask for all T steps, so that it commutes with the time mean."""

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        if trace.state is None:
            trace.state = type(layer).forward(layer, torch.ones_like(x_seq[0]))
        return x_seq * trace.state

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        return rate * trace.state


class _MaxPoolRate(torch.autograd.Function):
    """value [B, C, h, w]; the gradient goes to each place of a window by the share of steps that it won."""

    @staticmethod
    def forward(ctx, rate, value, shares, window):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(shares)
        ctx.size, ctx.window = rate.shape[-2:], window
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (shares,) = ctx.saved_tensors
        columns = (grad.unsqueeze(2) * shares).flatten(3).flatten(1, 2)
        return F.fold(columns, ctx.size, **ctx.window), None, None, None


class MaxPoolRule:
    """Max pooling does not commute with the time mean: the rate is the exact time mean of the pooled spikes,
    the gradient the mean over t of each step's own routing (kept as shares, so independent of T)."""

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        window = _window(layer)
        settings = (window["kernel_size"], window["stride"], window["padding"], window["dilation"])
        pooled, places = F.max_pool2d(x_seq.flatten(0, 1), *settings, layer.ceil_mode, return_indices=True)
        y_seq = pooled.unflatten(0, x_seq.shape[:2])
        if torch.is_grad_enabled():
            return y_seq
        trace.average("value", y_seq)
        winners = _place_in_window(places, x_seq.shape[-1], window).unflatten(0, x_seq.shape[:2])
        n_places = window["kernel_size"][0] * window["kernel_size"][1]
        shares = torch.stack([(winners == k).float().mean(0) for k in range(n_places)], dim=2)
        trace.add("shares", shares, x_seq.shape[0] / trace.steps)
        return y_seq

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        return _MaxPoolRate.apply(rate, trace.take("value"), trace.take("shares"), _window(layer))


def _window(layer: Any) -> dict[str, tuple[int, int]]:
    def two(n: Any) -> tuple[int, int]:
        return (n, n) if isinstance(n, int) else tuple(n)

    stride = layer.kernel_size if layer.stride is None else layer.stride
    sizes = {"kernel_size": layer.kernel_size, "stride": stride, "padding": layer.padding}
    return {name: two(n) for name, n in (sizes | {"dilation": layer.dilation}).items()}


def _place_in_window(places: Tensor, width: int, window: dict[str, tuple[int, int]]) -> Tensor:
    """From max_pool2d's flat indices into H*W to the number 0..kh*kw-1 of the place in its window."""
    (_, kw), (sh, sw) = window["kernel_size"], window["stride"]
    (ph, pw), (dh, dw) = window["padding"], window["dilation"]
    top = torch.arange(places.shape[-2], device=places.device).unsqueeze(1) * sh - ph
    left = torch.arange(places.shape[-1], device=places.device) * sw - pw
    row, column = places // width, places % width
    return (row - top) // dh * kw + (column - left) // dw


register(ConvRule(), nn.Conv1d, nn.Conv2d, nn.Conv3d, sj.Conv1d, sj.Conv2d, sj.Conv3d)
register(LinearRule(), nn.Linear, sj.Linear)
register(BatchNormRule(), nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
register(BatchNormRule(), sj.BatchNorm1d, sj.BatchNorm2d, sj.BatchNorm3d)
register(CommutingRule(), nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, sj.AvgPool1d, sj.AvgPool2d, sj.AvgPool3d)
register(CommutingRule(), nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
register(CommutingRule(), sj.AdaptiveAvgPool1d, sj.AdaptiveAvgPool2d, sj.AdaptiveAvgPool3d)
register(CommutingRule(), nn.Flatten, nn.Identity, nn.ZeroPad2d, sj.Flatten)
register(DropoutRule(), nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
register(MaxPoolRule(), nn.MaxPool2d, sj.MaxPool2d)
