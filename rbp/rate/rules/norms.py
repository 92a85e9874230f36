"""Group and layer normalisation in rate mode.

They do not commute with the time mean, since each step has its own statistics. The rate is the exact time
mean of the normalised spikes. The gradient is that of one step,

    dx = i*(g - mean(g) - xhat*mean(g*xhat)),   g = gamma*dy,

with the time means xhat = mean_t xhat_t and i = mean_t 1/sqrt(var_t + eps). For gamma and beta this is the
mean of the steps' gradients. For x it replaces mean_t(i_t xhat_t xhat_t^T) by i xhat xhat^T, which is exact
at T=1 and for an input that is constant in time.

Distance from BPTT of the convolution's gradient in conv - LIF - normalisation - linear on a static 8x8 image,
where it is 0 without the normalisation (T=6, five seeds; tests/rate/test_distance.py): 0.5 % for GroupNorm of
4 groups of 6 channels, 0.3 % for LayerNorm over all of [C, H, W], 7 to 10 % over rows of 8 values.
Normalising the rate itself gives 3, 3 and 41 to 55 %. Using the time means of mean_t and 1/(var_t + eps)
instead of xhat diverges on rows of equal values.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rbp.rate.errors import NoRuleError
from rbp.rate.memory.folding import fold_time
from rbp.rate.memory.traces import TimeMean, Trace
from rbp.rate.rules.base import Rule


class _NormRate(torch.autograd.Function):
    """Return xhat [B, rows, n], with the gradient of normalising the rows by invstd [B, rows, 1]."""

    @staticmethod
    def forward(ctx, rate, xhat, invstd):
        ctx.save_for_backward(xhat, invstd)
        return xhat.view_as(xhat)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        xhat, invstd = ctx.saved_tensors
        mean_along = (grad * xhat).mean(-1, keepdim=True)
        dx = invstd * (grad - grad.mean(-1, keepdim=True) - xhat * mean_along)
        return dx, None, None


class NormTrace(Trace):
    """Time means of xhat, the normalised rows of n values [B, rows, n], and of invstd [B, rows, 1]."""

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.xhat, self.invstd = TimeMean(self.segments), TimeMean(self.segments)


class _RowNormRule(Rule[NormTrace]):
    """Normalise rows of x [B, ...], then scale and shift; subclasses define the rows."""

    trace_type = NormTrace

    def rows(self, layer: Any, x: Tensor) -> Tensor:
        """Return x [B, ...] as [B, rows, n]; every row is normalised by itself."""
        raise NotImplementedError

    def affine(self, layer: Any, xhat: Tensor) -> Tensor:
        """Scale and shift xhat [B, ...] by the layer's parameters."""
        raise NotImplementedError

    def spikes(self, layer: Any, x_seq: Tensor, trace: NormTrace) -> Tensor:
        def normalise(x: Tensor) -> Tensor:
            return self.rows(layer, x.float() if x.dtype != torch.float64 else x)

        rows = fold_time(normalise, x_seq)
        var, mean = torch.var_mean(rows, -1, correction=0, keepdim=True)
        invstd = (var + layer.eps).rsqrt()
        xhat = (rows - mean) * invstd
        trace.xhat.add(xhat)
        trace.invstd.add(invstd)
        return fold_time(lambda x: self.affine(layer, x), xhat.view(x_seq.shape)).to(x_seq.dtype)

    def rate(self, layer: Any, rate: Tensor, trace: NormTrace) -> Tensor:
        xhat, invstd = trace.xhat.take(), trace.invstd.take()
        rows = _NormRate.apply(self.rows(layer, rate.to(xhat.dtype)), xhat, invstd)
        return self.affine(layer, rows.view(rate.shape)).to(rate.dtype)


class LayerNormRule(_RowNormRule):
    """nn.LayerNorm: a row is the last axes, those of normalized_shape."""

    def rows(self, layer: Any, x: Tensor) -> Tensor:
        if len(layer.normalized_shape) >= x.dim():
            raise NoRuleError("it normalises over the batch")
        n = math.prod(layer.normalized_shape)
        return x.reshape(x.shape[0], -1, n)

    def affine(self, layer: Any, xhat: Tensor) -> Tensor:
        y = xhat if layer.weight is None else xhat * layer.weight
        return y if layer.bias is None else y + layer.bias


class GroupNormRule(_RowNormRule):
    """nn.GroupNorm: a row is a group of channels with all its positions."""

    def rows(self, layer: Any, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], layer.num_groups, -1)

    def affine(self, layer: Any, xhat: Tensor) -> Tensor:
        wide = (-1, *(1,) * (xhat.dim() - 2))
        y = xhat if layer.weight is None else xhat * layer.weight.view(wide)
        return y if layer.bias is None else y + layer.bias.view(wide)
