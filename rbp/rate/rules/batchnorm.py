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
from torch import Tensor
from torch.autograd.function import once_differentiable

from rbp.rate.errors import InputError
from rbp.rate.memory.currents import Currents, Term
from rbp.rate.memory.lazy import Lazy
from rbp.rate.memory.traces import TimeMean, Trace
from rbp.rate.rules.base import Rule

aten = torch.ops.aten
Moments = tuple[Tensor, Tensor, int]
Statistics = tuple[Tensor, Tensor, int | Tensor]  # the number is a tensor [] where it was counted over ranks
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
        grad = grad.to(rate.dtype)
        if grad.stride() != rate.stride():
            grad = torch.empty_like(rate).copy_(grad)
        statistics = (None, None, mean, invstd, True, ctx.eps)
        wanted = list(ctx.needs_input_grad[:3])
        wide = None if weight is None else weight.to(mean.dtype)  # torch's kernel takes both in one type
        grads = aten.native_batch_norm_backward(grad, rate, wide, *statistics, wanted)
        return *grads, None, None, None, None


class BatchNormTrace(Trace):
    """Time means per channel, [C]: mean and precision, 1 / (variance + eps).

    per_step: whether each step was normalised by statistics of its own; then the output's time mean is no
    formula of the rate.
    """

    per_step = False

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.mean, self.precision = TimeMean(self.T), TimeMean(self.T)


class BatchNormRule(Rule[BatchNormTrace]):
    """Batch normalisation of any number of places, affine or not, frozen or not, training or not."""

    trace_type = BatchNormTrace
    takes_currents = over_time = True

    def spikes(self, layer: Any, x_seq: Currents, trace: BatchNormTrace) -> Currents:
        """A formula, which whoever reads it computes."""
        if not uses_batch_statistics(layer):
            invstd = (_wide(layer.running_var) + layer.eps).rsqrt()
            scale_and_shift = _scale_and_shift(layer, _wide(layer.running_mean), invstd)
            return Currents([Term(as_sequence(x_seq), *scale_and_shift)])
        x = as_sequence(x_seq)
        if hasattr(layer, "_check_input_dim"):
            layer._check_input_dim(x_seq.template)
        mean, var, n = self.statistics(layer, _moments_over_time(Currents([Term(x)])))
        update_running(layer, mean, var, n, trace.drafts.of)
        precision = 1.0 / (var + layer.eps)
        steps = x_seq.shape[0]
        trace.mean.add_mean(mean, steps)
        trace.precision.add_mean(precision, steps)
        term = Term(x, *_scale_and_shift(layer, mean, precision.sqrt()))
        trace.per_step = steps < trace.T
        if trace.per_step:
            term.reader = trace.value.add
        return Currents([term])

    def statistics(self, layer: Any, moments: Moments) -> Statistics:
        """Mean, biased variance, and over how many values a channel, from those of this process."""
        if moments[2] == 1:
            raise InputError("batch normalisation of one value a channel, which has no variance")
        return moments

    def rate(self, layer: Any, rate: Tensor, trace: BatchNormTrace) -> Tensor:
        if not uses_batch_statistics(layer):
            return normalise_by_running(layer, rate)
        mean, invstd = trace.mean.take(), trace.precision.take().sqrt()
        if trace.value.known:
            value = trace.value.take()
        elif trace.per_step:  # mode s, and nobody read the sequence: a neuron follows, whose rate is its own
            value = torch.full_like(rate[:1, :1], torch.nan).expand(rate.shape)
        else:
            with torch.no_grad():
                scale, shift = _scale_and_shift(layer, mean, invstd)
                value = torch.addcmul(over_places(shift, rate), rate, over_places(scale, rate))
        return self.graph(layer, rate, value.to(rate.dtype), mean, invstd)

    def graph(self, layer: Any, rate: Tensor, value: Tensor, mean: Tensor, invstd: Tensor) -> Tensor:
        return _BatchNormRate.apply(rate, layer.weight, layer.bias, value, mean, invstd, layer.eps)


def as_sequence(currents: Currents) -> Any:
    """The steps as one sequence: a tensor, or a Lazy where not all are in memory."""
    if currents.alone is not None:
        return currents.alone
    chunks = [term.x_seq.chunk for term in currents.terms if isinstance(term.x_seq, Lazy)]
    if not chunks:
        return currents.written_out()
    steps = currents.shape[0]
    return Lazy(currents.template, steps, min(chunks), lambda part: currents.at(part).written_out())


def moments_of(x: Tensor) -> Moments:
    """Mean and biased variance of every channel of x [N, C, ...], and over how many values."""
    wide = x if x.is_cuda else _wide(x)  # CUDA's kernel adds up in float32 by itself
    return *aten.batch_norm_update_stats(wide, None, None, 0.0), x.numel() // x.shape[1]


def pooled(means: Tensor, variances: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance [C] of the union of groups, from theirs [groups, C] and their shares [groups, 1]."""
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean).square())).sum(0)


def _moments_over_time(currents: Currents) -> Moments:
    """Of a sequence in one piece or in chunks."""
    if currents.constant:
        mean, var, n = moments_of(currents.template)
        return mean, var, n * currents.shape[0]
    parts = [moments_of(part.written_out().flatten(0, 1)) for part in currents.parts()]
    if len(parts) == 1:
        return parts[0]
    means, variances = (torch.stack([part[i] for part in parts]) for i in (0, 1))  # type: ignore[misc]
    counts = torch.cat([means.new_full((1, 1), part[2]) for part in parts])  # a list would be copied to a GPU
    n = sum(part[2] for part in parts)
    return *pooled(means, variances, counts / n), n


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
def update_running(
    layer: Any, mean: Tensor, var: Tensor, n: int | Tensor, of: Draft = lambda buffer: buffer
) -> None:
    """Running mean and variance from a batch's mean and biased variance over n values a channel.

    As torch's own layers keep them: the variance unbiased. of: what to write to in a buffer's stead.
    """
    if not layer.training or not layer.track_running_stats or layer.running_mean is None:
        return
    momentum = layer.momentum
    if layer.num_batches_tracked is not None:
        batches = of(layer.num_batches_tracked).add_(1)
        if momentum is None:  # a cumulative average; as a number, it would be waited for
            momentum = batches.to(layer.running_mean.dtype).reciprocal()
    variance = var * _correction(n)
    of(layer.running_mean).lerp_(mean.to(layer.running_mean.dtype), momentum)
    of(layer.running_var).lerp_(variance.to(layer.running_var.dtype), momentum)


def _correction(n: int | Tensor) -> float | Tensor:
    """What makes a biased variance over n values unbiased."""
    if isinstance(n, Tensor):  # as a number, it would be waited for
        n = n.double()
        return n / (n - 1).clamp(min=1)
    return n / max(n - 1, 1)
