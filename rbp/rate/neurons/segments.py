"""Spiking neurons in the graph of the rates of k segments of time (k > 1).

For each segment j, forward-mode differentiation inside it gives, with the state m a vector of a neuron's
memories (for an integrate-and-fire neuron its membrane potential):

    E = dr_j/dc_j        the eligibility: the input current shifted equally at every step of the segment
    F = dm_end/dc_j      what that leaves in the state at the segment's end
    D = dr_j/dm_start    the rate's derivative with respect to the state at the segment's start
    P = dm_end/dm_start

and backwards over the segments, coupled, with a_{k+1} = 0:

    dL/dc_j = E*g_j + F*a_{j+1},    a_j = D*g_j + P*a_{j+1},    g_j = dL/dr_j.

Uncoupled, dL/dc_j = E*g_j. A learnable parameter p gets sum_j sum(g_j * dr_j/dp).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_flatten, tree_unflatten

from rbp.rate.memory.packing import pack, unpack
from rbp.rate.neurons.eligibility import summed_to

Number = Tensor | float


@dataclass
class SegmentDerivatives:
    """The derivatives of one segment, [B, ...] each, or a number where it is the same everywhere.

    Attributes:
        by_current: E.
        end_by_current: F by the name of the memory.
        by_memory: D by the name of the memory.
        end_by_memory: P, first by the name of the memory at the start, then at the end.
        by_learnt: dr_j/dp, one per learnable parameter.
    """

    by_current: Tensor
    by_learnt: list[Tensor] = field(default_factory=list)
    end_by_current: dict[str, Number] = field(default_factory=dict)
    by_memory: dict[str, Number] = field(default_factory=dict)
    end_by_memory: dict[str, dict[str, Number]] = field(default_factory=dict)


def segmented_rate(
    rate: Tensor, value: Tensor, derivatives: list[SegmentDerivatives], learnt: list[Tensor]
) -> Tensor:
    """Return value, the output rates [k*B, ...], with a graph back to rate and the learnable parameters.

    Args:
        rate: rates of the input currents, [k*B, ...].
        value: output rates, [k*B, ...].
        derivatives: one per segment.
        learnt: the parameters, scalars or broadcasting against [B, ...].
    """
    return _SegmentedRate.apply(rate, value, derivatives, *learnt)


class _SegmentedRate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rate, value, derivatives, *learnt):
        leaves, ctx.spec = tree_flatten([list(vars(d).values()) for d in derivatives])
        ctx.numbers = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        ctx.save_for_backward(*(part for x in leaves if isinstance(x, Tensor) for part in pack(x)))
        ctx.shapes = [p.shape for p in learnt]
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        parts = iter(ctx.saved_tensors)
        leaves = [unpack(next(parts), next(parts)) if n is None else n for n in ctx.numbers]
        segments = [SegmentDerivatives(*fields) for fields in tree_unflatten(leaves, ctx.spec)]
        d_rate, d_learnt = _backward(segments, grad.unflatten(0, (len(segments), -1)), ctx.shapes)
        return d_rate.flatten(0, 1), None, None, *d_learnt


def _backward(
    segments: list[SegmentDerivatives], grads: Tensor, shapes: list[torch.Size]
) -> tuple[Tensor, list[Any]]:
    """Return dL/dc_j of every segment, [k, B, ...], and the gradients of the learnable parameters."""
    d_currents = torch.empty_like(grads)
    d_learnt: list[Any] = [0.0] * len(shapes)
    later: dict[str, Tensor] = {}  # dL/dm at the end of the segment
    for j in reversed(range(len(segments))):
        segment, g = segments[j], grads[j]
        torch.mul(g, segment.by_current, out=d_currents[j])
        for name, a in later.items():
            _add_product(d_currents[j], segment.end_by_current.get(name, 0.0), a)
        d_learnt = [
            d + summed_to(g * by, shape)
            for d, by, shape in zip(d_learnt, segment.by_learnt, shapes, strict=True)
        ]
        later = {name: _through(segment, name, later, g * by) for name, by in segment.by_memory.items()}
    return d_currents, d_learnt


def _add_product(to: Tensor, a: Number, b: Tensor) -> None:
    """Add a*b to a tensor."""
    if isinstance(a, Tensor):
        to.addcmul_(a, b)
    elif a != 0.0:
        to.add_(b, alpha=a)


def _through(segment: SegmentDerivatives, name: str, later: dict[str, Tensor], total: Tensor) -> Tensor:
    """Add to total what of dL/dm at the segment's end comes from this memory at its start; returns total."""
    for end, derivative in segment.end_by_memory.get(name, {}).items():
        if end in later:
            _add_product(total, derivative, later[end])
    return total
