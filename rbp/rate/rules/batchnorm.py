"""Batch normalisation in rate mode.

As in BPTT, the statistics are those of all T x B spike currents in step mode m, and those of each step's
batch in step mode s. In step mode s the backward pass uses the time means of mean_t and of 1/(var_t + eps),
each with eps added once. (The published code adds it twice and keeps the last step's statistics.)
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from rbp.rate.errors import InputError
from rbp.rate.memory.currents import Currents, Term
from rbp.rate.memory.moments import Moments, as_sequence, in_float32, moments_over_time
from rbp.rate.memory.traces import TimeMean, Trace
from rbp.rate.rules.base import Rule
from rbp.rate.rules.running_statistics import update_running
from rbp.rate.rules.segmented_norm import normalised, segmented_norm

aten = torch.ops.aten
Statistics = tuple[Tensor, Tensor, int | Tensor]  # the count is a tensor [] if summed over ranks


class _BatchNormRate(torch.autograd.Function):
    """Return value [B, C, ...], with the backward pass of batch normalisation at the rate of the currents.

    dx = gamma*invstd*(dy - mean(dy) - xhat*mean(dy*xhat)) with xhat = (rate - mean)*invstd. This is torch's
    own backward pass, given the statistics of the spike currents.
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
        wide = None if weight is None else weight.to(mean.dtype)  # torch's kernel wants them in one dtype
        grads = aten.native_batch_norm_backward(grad, rate, wide, *statistics, wanted)
        return *grads, None, None, None, None


class BatchNormTrace(Trace):
    """Time means per channel, [C], of the mean and of the precision 1/(variance + eps).

    Attributes:
        per_step: Whether the steps were normalised by separate statistics. The time mean of the output is
            then not a function of the rate.
    """

    per_step = False

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.mean, self.precision = TimeMean(self.segments), TimeMean(self.segments)
        self.xhat, self.invstd = TimeMean(self.segments), TimeMean(self.segments)  # only for segments, mode s


class BatchNormRule(Rule[BatchNormTrace]):
    """BatchNorm1d/2d/3d, with or without affine parameters, in training and evaluation, frozen or not."""

    trace_type = BatchNormTrace
    takes_currents = over_time = True

    def spikes(self, layer: Any, x_seq: Currents, trace: BatchNormTrace) -> Currents:
        """Return the output as a formula, to be computed by its reader; see `Rule.spikes`."""
        if not uses_batch_statistics(layer):
            invstd = (in_float32(layer.running_var) + layer.eps).rsqrt()
            scale_and_shift = _scale_and_shift(layer, in_float32(layer.running_mean), invstd)
            return Currents([Term(as_sequence(x_seq), *scale_and_shift)])
        x = as_sequence(x_seq)
        if hasattr(layer, "_check_input_dim"):
            layer._check_input_dim(x_seq.template)
        mean, var, n = self.statistics(layer, moments_over_time(Currents([Term(x)])))
        update_running(layer, mean, var, n, trace.drafts.of)
        precision = 1.0 / (var + layer.eps)
        steps = x_seq.shape[0]
        trace.mean.add_mean(mean, steps)
        trace.precision.add_mean(precision, steps)
        term = Term(x, *_scale_and_shift(layer, mean, precision.sqrt()))
        trace.per_step = steps < trace.T
        if trace.per_step:
            term.reader = trace.value.add
        if trace.per_step and trace.segments.k > 1:
            invstd = precision.sqrt()
            trace.xhat.add(normalised(in_float32(x), mean, invstd))
            trace.invstd.add_mean(invstd, steps)
        return Currents([term])

    def statistics(self, layer: Any, moments: Moments) -> Statistics:
        """Return the statistics to normalise by, given the moments of this process.

        Returns:
            Mean [C], biased variance [C] and number of values per channel.

        Raises:
            InputError: If there is only one value per channel.
        """
        if moments[2] == 1:
            raise InputError("batch normalisation of one value per channel, which has no variance")
        return moments

    def rate(self, layer: Any, rate: Tensor, trace: BatchNormTrace) -> Tensor:
        if not uses_batch_statistics(layer):
            return normalise_by_running(layer, rate)
        mean, invstd = trace.mean.take_each()[0], trace.precision.take_each()[0].sqrt()
        if trace.value.known:
            value = trace.value.take()
        elif trace.per_step:  # mode s, sequence never read: a neuron follows, which has its own rate
            value = torch.full_like(rate[:1, :1], torch.nan).expand(rate.shape)
        else:
            with torch.no_grad():
                scale, shift = _scale_and_shift(layer, mean, invstd)
                value = torch.addcmul(over_places(shift, rate), rate, over_places(scale, rate))
        value = value.to(rate.dtype)
        if self.needs_segments(layer, trace):
            of_steps = (trace.xhat.take_each(), trace.invstd.take_each()) if trace.per_step else None
            reduce = functools.partial(self.add_up, layer)
            return segmented_norm(layer, rate, value, (mean, invstd), of_steps, trace.segments, reduce)
        return self.graph(layer, rate, value, mean, invstd)

    def needs_segments(self, layer: Any, trace: BatchNormTrace) -> bool:
        """Whether the gradient of k segments is not that of a batch of k*B."""
        return trace.segments.k > 1 and (trace.per_step or not trace.segments.even)

    def add_up(self, layer: Any, totals: Tensor) -> None:
        """Add up totals, in place, over the processes that share the statistics."""

    def graph(self, layer: Any, rate: Tensor, value: Tensor, mean: Tensor, invstd: Tensor) -> Tensor:
        """Return value [B, C, ...] with a graph back to rate [B, C, ...]; mean and invstd are [C]."""
        return _BatchNormRate.apply(rate, layer.weight, layer.bias, value, mean, invstd, layer.eps)


def _scale_and_shift(layer: Any, mean: Tensor, invstd: Tensor) -> tuple[Tensor, Tensor]:
    """Merge normalisation and affine part into y = scale*x + shift; return scale and shift, [C] each."""
    scale = invstd if layer.weight is None else invstd * layer.weight
    return scale, -mean * scale if layer.bias is None else layer.bias - mean * scale


def over_places(channels: Tensor, x: Tensor) -> Tensor:
    """Reshape channels [C] to [C, 1, ...], to broadcast against x [B, C, ...]."""
    return channels.view(-1, *(1,) * (x.dim() - 2))


def uses_batch_statistics(layer: Any) -> bool:
    """Whether a layer normalises by the statistics of the batch instead of its running ones."""
    return layer.training or layer.running_mean is None


def normalise_by_running(layer: Any, x: Tensor) -> Tensor:
    """Normalise x [N, C, ...] by the layer's running statistics, as in evaluation."""
    running = (layer.running_mean, layer.running_var)
    return F.batch_norm(x, *running, layer.weight, layer.bias, training=False, eps=layer.eps)
