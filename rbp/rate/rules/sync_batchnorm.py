"""nn.SyncBatchNorm in both gradient modes: batch normalisation by the statistics of all processes.

It has its own reduction, since torch's SyncBatchNorm does not run on a CPU and has no time axis.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rbp.rate.memory.moments import Moments, moments_of, pooled
from rbp.rate.rules.batchnorm import (
    BatchNormRule,
    BatchNormTrace,
    Statistics,
    normalise_by_running,
    uses_batch_statistics,
)
from rbp.rate.rules.running_statistics import update_running


class _SyncNorm(torch.autograd.Function):
    """Return value, with the backward pass of batch normalisation by means over all processes' batches."""

    @staticmethod
    def forward(ctx, x, weight, bias, value, mean, invstd, group):
        ctx.save_for_backward(x, weight, mean, invstd)
        ctx.group = group
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight, mean, invstd = ctx.saved_tensors
        others = [d for d in range(x.dim()) if d != 1]
        wide = (-1, *(1,) * (x.dim() - 2))
        grad = grad.to(mean.dtype)
        xhat = (x.to(mean.dtype) - mean.view(wide)) * invstd.view(wide)
        sums = torch.stack([grad.sum(others), (grad * xhat).sum(others)])
        count = torch.full_like(sums[:1], x.numel() // x.shape[1])
        totals = torch.cat([sums, count])
        dist.all_reduce(totals, group=ctx.group)
        mean_dy, mean_dy_xhat = (total.view(wide) for total in totals[:2] / totals[2])
        scale = invstd if weight is None else invstd * weight
        dx = scale.view(wide) * (grad - mean_dy - xhat * mean_dy_xhat)
        d_weight = None if weight is None else sums[1].to(weight.dtype)
        d_bias = None if weight is None else sums[0].to(weight.dtype)
        return dx.to(x.dtype), d_weight, d_bias, None, None, None, None


class SyncBatchNormRule(BatchNormRule):
    """nn.SyncBatchNorm, on any device; as BatchNormRule if there is only one process."""

    def statistics(self, layer: Any, moments: Moments) -> Statistics:
        return _of_all(layer, moments) if is_synchronised(layer) else super().statistics(layer, moments)

    def needs_segments(self, layer: Any, trace: BatchNormTrace) -> bool:
        return super().needs_segments(layer, trace) or (trace.segments.k > 1 and is_synchronised(layer))

    def add_up(self, layer: Any, totals: Tensor) -> None:
        if is_synchronised(layer):
            dist.all_reduce(totals, group=layer.process_group)

    def graph(self, layer: Any, rate: Tensor, value: Tensor, mean: Tensor, invstd: Tensor) -> Tensor:
        if not is_synchronised(layer):
            return super().graph(layer, rate, value, mean, invstd)
        parameters = (layer.weight, layer.bias)
        return _SyncNorm.apply(rate, *parameters, value, mean, invstd, layer.process_group)


def is_synchronised(layer: Any) -> bool:
    """Whether the layer's process group has more than one process."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size(layer.process_group) > 1


def _of_all(layer: Any, moments: Moments) -> Statistics:
    """Return mean [C], biased variance [C] and number of values per channel over all processes."""
    mean, var, n = moments
    mine = torch.stack([mean, var, torch.full_like(mean, n)])
    everyone = [torch.empty_like(mine) for _ in range(dist.get_world_size(layer.process_group))]
    dist.all_gather(everyone, mine, group=layer.process_group)
    means, variances, counts = torch.stack(everyone).unbind(1)
    return *pooled(means, variances, counts / counts.sum(0)), counts[:, 0].sum()


def sync_batch_norm(layer: Any, x: Tensor) -> Tensor:
    """Run nn.SyncBatchNorm as BPTT needs it.

    Args:
        layer: The nn.SyncBatchNorm.
        x: Input [N, C, ...], where N is B, or T*B in step mode m.

    Returns:
        The normalised input [N, C, ...]; in training the running statistics are updated.
    """
    if not uses_batch_statistics(layer):
        return normalise_by_running(layer, x)
    if not is_synchronised(layer):
        return nn.modules.batchnorm._BatchNorm.forward(layer, x)
    rule = SyncBatchNormRule()
    with torch.no_grad():
        mean, var, n = rule.statistics(layer, moments_of(x))
        value = F.batch_norm(x, mean, var, layer.weight, layer.bias, training=False, eps=layer.eps)
    update_running(layer, mean, var, n)
    return rule.graph(layer, x, value, mean, (var + layer.eps).rsqrt())
