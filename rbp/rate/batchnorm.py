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

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        if not uses_batch_statistics(layer):
            return fold_time(lambda x: normalise_by_running(layer, x), x_seq)
        if hasattr(layer, "_check_input_dim"):
            layer._check_input_dim(x_seq[0])
        x = x_seq[0] if is_constant(x_seq) else x_seq.flatten(0, 1)
        y, mean, invstd, n = self.normalise(layer, x, x_seq.numel() // x_seq.shape[2])
        update_running(layer, mean, invstd, n, trace.drafts.of)
        y_seq = y.expand(len(x_seq), *y.shape) if is_constant(x_seq) else y.unflatten(0, x_seq.shape[:2])
        share = x_seq.shape[0] / trace.steps
        trace.average("value", y_seq)
        trace.add("mean", mean, share)
        trace.add("precision", invstd.square(), share)
        return y_seq

    def normalise(self, layer: Any, x: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor, int]:
        """Output, mean, 1/sqrt(var + eps), and over how many values a channel (n of them in this process)."""
        if n == 1:
            raise InputError(
                f"batch normalisation of shape {tuple(x.shape)}: one value a channel has no variance"
            )
        settings = {"training": True, "momentum": 0.0, "eps": layer.eps}
        return *torch.native_batch_norm(x, layer.weight, layer.bias, None, None, **settings), n

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        if not uses_batch_statistics(layer):
            return normalise_by_running(layer, rate)
        value, mean = trace.take("value").to(rate.dtype), trace.take("mean")
        invstd = trace.take("precision").sqrt()
        return self.graph(layer, rate, value, mean, invstd)

    def graph(self, layer: Any, rate: Tensor, value: Tensor, mean: Tensor, invstd: Tensor) -> Tensor:
        return _BatchNormRate.apply(rate, layer.weight, layer.bias, value, mean, invstd, layer.eps)


def uses_batch_statistics(layer: Any) -> bool:
    return layer.training or layer.running_mean is None


def normalise_by_running(layer: Any, x: Tensor) -> Tensor:
    running = (layer.running_mean, layer.running_var)
    return F.batch_norm(x, *running, layer.weight, layer.bias, training=False, eps=layer.eps)


@torch.no_grad()
def update_running(
    layer: Any, mean: Tensor, invstd: Tensor, n: int, of: Draft = lambda buffer: buffer
) -> None:
    """Running mean and (unbiased, over n values a channel) variance, as torch's own layers keep them.

    of: what to write to in a buffer's stead.
    """
    if not layer.training or layer.running_mean is None:
        return
    momentum = layer.momentum
    if layer.num_batches_tracked is not None:
        batches = of(layer.num_batches_tracked).add_(1)
        momentum = 1.0 / float(batches) if momentum is None else momentum  # None: a cumulative average
    variance = (invstd.pow(-2) - layer.eps).clamp_(min=0) * (n / max(n - 1, 1))
    of(layer.running_mean).lerp_(mean.to(layer.running_mean.dtype), momentum)
    of(layer.running_var).lerp_(variance.to(layer.running_var.dtype), momentum)


register(BatchNormRule(), nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
register(BatchNormRule(), sj.BatchNorm1d, sj.BatchNorm2d, sj.BatchNorm3d)
