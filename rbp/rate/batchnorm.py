"""Batch normalisation in rate mode.

In step mode m the statistics are those of the T x B spike currents, in mode s those of each step's batch, as
in BPTT; there the backward pass uses the time means of mean_t and of 1/(var_t + eps), each with eps once (the
published code adds it twice and keeps the last step's statistics).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from spikingjelly.activation_based import layer as sj
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rbp.rate.currents import Currents, Term
from rbp.rate.errors import InputError
from rbp.rate.rules import fold_time, register
from rbp.rate.traces import Trace, is_constant

aten = torch.ops.aten
Draft = Callable[[Tensor], Tensor]


class _BatchNormRate(torch.autograd.Function):
    """value [B, C, ...], with the backward of batch normalisation at the rate current.

    dx = gamma*invstd*(dy - mean(dy) - xhat*mean(dy*xhat)), xhat = (rate - mean)*invstd: torch's own backward,
    given the statistics of the spike currents.
    """

    @staticmethod
    def forward(ctx, rate, weight, bias, value, mean, invstd, eps):
        ctx.save_for_backward(rate, weight, mean, invstd)
        ctx.eps = eps
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        rate, weight, mean, invstd = ctx.saved_tensors
        grad = grad.to(rate.dtype).contiguous()
        statistics = (None, None, mean, invstd, True, ctx.eps)
        wanted = list(ctx.needs_input_grad[:3])
        grads = aten.native_batch_norm_backward(grad, rate, weight, *statistics, wanted)
        return *grads, None, None, None, None


class BatchNormRule:
    """Batch normalisation of any number of places, affine or not, frozen or not, training or not."""

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor | Currents:
        if not uses_batch_statistics(layer):
            return fold_time(lambda x: normalise_by_running(layer, x), x_seq)
        if hasattr(layer, "_check_input_dim"):
            layer._check_input_dim(x_seq[0])
        x = x_seq[0] if is_constant(x_seq) else x_seq.flatten(0, 1)
        mean, var, n = self.statistics(layer, x, x_seq.numel() // x_seq.shape[2])
        update_running(layer, mean, var, n, trace.drafts.of)
        precision = 1.0 / (var + layer.eps)
        share = x_seq.shape[0] / trace.steps
        trace.add("mean", mean, share)
        trace.add("precision", precision, share)
        currents = Currents([Term(x_seq, *_scale_and_shift(layer, mean, precision.sqrt()))])
        if x_seq.shape[0] == trace.steps:  # one scale for all steps: the rate says what their mean is
            return currents
        y_seq = currents.written_out()
        trace.average("value", y_seq)
        return y_seq

    def statistics(self, layer: Any, x: Tensor, n: int) -> tuple[Tensor, Tensor, int]:
        """Mean, biased variance, and over how many values a channel (n of them in this process)."""
        if n == 1:
            raise InputError(
                f"batch normalisation of shape {tuple(x.shape)}: one value a channel has no variance"
            )
        return *aten.batch_norm_update_stats(_wide(x), None, None, 0.0), n

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        if not uses_batch_statistics(layer):
            return normalise_by_running(layer, rate)
        mean, invstd = trace.take("mean"), trace.take("precision").sqrt()
        if "value" in trace.means:
            value = trace.take("value")
        else:
            with torch.no_grad():
                scale, shift = _scale_and_shift(layer, mean, invstd)
                value = torch.addcmul(over_places(shift, rate), rate, over_places(scale, rate))
        return self.graph(layer, rate, value.to(rate.dtype), mean, invstd)

    def graph(self, layer: Any, rate: Tensor, value: Tensor, mean: Tensor, invstd: Tensor) -> Tensor:
        return _BatchNormRate.apply(rate, layer.weight, layer.bias, value, mean, invstd, layer.eps)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _scale_and_shift(layer: Any, mean: Tensor, invstd: Tensor) -> tuple[Tensor, Tensor]:
    """Normalisation and affine part as one: y = scale*x + shift, [C] each."""
    scale = invstd if layer.weight is None else invstd * layer.weight
    return scale, -mean * scale if layer.bias is None else layer.bias - mean * scale


def over_places(channels: Tensor, x: Tensor) -> Tensor:
    """[C] as [C, 1, ...], to go with x [B, C, ...]."""
    return channels.view(-1, *(1,) * (x.dim() - 2))


def uses_batch_statistics(layer: Any) -> bool:
    return layer.training or layer.running_mean is None


def normalise_by_running(layer: Any, x: Tensor) -> Tensor:
    running = (layer.running_mean, layer.running_var)
    return F.batch_norm(x, *running, layer.weight, layer.bias, training=False, eps=layer.eps)


@torch.no_grad()
def update_running(layer: Any, mean: Tensor, var: Tensor, n: int, of: Draft = lambda buffer: buffer) -> None:
    """Running mean and variance from a batch's mean and biased variance over n values a channel.

    As torch's own layers keep them: the variance unbiased. of: what to write to in a buffer's stead.
    """
    if not layer.training or layer.running_mean is None:
        return
    momentum = layer.momentum
    if layer.num_batches_tracked is not None:
        batches = of(layer.num_batches_tracked).add_(1)
        momentum = 1.0 / float(batches) if momentum is None else momentum  # None: a cumulative average
    variance = var * (n / max(n - 1, 1))
    of(layer.running_mean).lerp_(mean.to(layer.running_mean.dtype), momentum)
    of(layer.running_var).lerp_(variance.to(layer.running_var.dtype), momentum)


register(BatchNormRule(), nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
register(BatchNormRule(), sj.BatchNorm1d, sj.BatchNorm2d, sj.BatchNorm3d)
