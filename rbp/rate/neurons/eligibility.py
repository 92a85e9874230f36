"""A spiking neuron in the graph of the rates: its output rate r, with the eligibility as its derivative.

dL/dc = dL/dr * e, with e = d(mean_t s_t)/dc for an input current c that is shifted equally at every step (Yu
et al., NeurIPS 2024, section 4.1). e is computed in rbp.rate.neurons.scan (integrate-and-fire neurons) and
rbp.rate.neurons.elementwise (any neuron, from its own forward).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rbp.rate.memory.packing import pack, unpack
from rbp.rate.rules.base import Rule, TraceT


class NeuronRule(Rule[TraceT]):
    """Base class of the rules for spiking neurons."""

    fires = True

    def emits_bits(self, layer: Any, of_bits: bool) -> bool:
        return True


class NeuronRate(torch.autograd.Function):
    """`NeuronRate.apply(rate, value, eligibility, *parameters, *derivatives)`: a neuron's output rate.

    The gradient of the input is dL/dc = dL/dr * e. That of a learnable parameter p is
    dL/dp = sum(dL/dr * dr/dp) over the elements that share a value of p.

    Args:
        rate: Time mean of the input current, [B, ...], with its graph.
        value: Output rate r, [B, ...].
        eligibility: e = dr/dc, [B, ...].
        parameters: Learnable parameters, each a scalar or broadcasting against [B, ...].
        derivatives: dr/dp of each parameter, [B, ...].

    Returns:
        value, with a graph back to rate and the parameters.
    """

    @staticmethod
    def forward(ctx, rate, value, eligibility, *learnt_and_derivatives):
        ctx.count = len(learnt_and_derivatives) // 2
        ctx.shapes = [p.shape for p in learnt_and_derivatives[: ctx.count]]
        derivatives = (eligibility, *learnt_and_derivatives[ctx.count :])
        ctx.save_for_backward(*(part for d in derivatives for part in pack(d)))
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        saved = ctx.saved_tensors
        eligibility, *derivatives = (unpack(*saved[i : i + 2]) for i in range(0, len(saved), 2))
        learnt = [summed_to(grad * d, shape) for d, shape in zip(derivatives, ctx.shapes, strict=True)]
        return grad * eligibility, None, None, *learnt, *(None,) * ctx.count


def summed_to(x: Tensor, shape: torch.Size) -> Tensor:
    """Sum x [B, ...] to a shape that broadcasts against it or has one element."""
    return x.sum().reshape(shape) if shape.numel() == 1 else x.sum_to_size(shape)
