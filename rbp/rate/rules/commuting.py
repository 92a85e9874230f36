"""Cheap layers that commute with the time mean: average pooling, padding, reshapes, upsampling.

mean_t f(s_t) = f(mean_t s_t), so applying the layer to the rate gives both its exact value and its graph.
"""

from __future__ import annotations

from typing import Any

import torch
from spikingjelly.activation_based import base
from torch import Tensor

from rbp.rate.memory.folding import fold_time
from rbp.rate.memory.traces import Trace
from rbp.rate.rules.base import Rule


class CommutingRule(Rule):
    """Rule for a cheap layer that commutes with the time mean, mean_t f(s_t) = f(mean_t s_t).

    The layer is applied to the spikes, and again to the rate.
    """

    recomputes = True

    def again(self, layer: Any, x: Tensor) -> Tensor:
        return _one_step(layer, x)

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        return fold_time(lambda x: _one_step(layer, x), x_seq)

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        return _one_step(layer, rate)


class AveragePoolRule(CommutingRule):
    """Average pooling, without its input in memory.

    torch saves the input for the backward pass, which uses nothing but its shape.
    """

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        with torch.autograd.graph.saved_tensors_hooks(_layout, _in_layout):
            return _one_step(layer, rate)


def _layout(x: Tensor) -> tuple[tuple[int, ...], tuple[int, ...], torch.dtype, torch.device]:
    return x.shape, x.stride(), x.dtype, x.device


def _in_layout(layout: tuple[tuple[int, ...], tuple[int, ...], torch.dtype, torch.device]) -> Tensor:
    """Return an uninitialised tensor of this layout."""
    shape, stride, dtype, device = layout
    return torch.empty_strided(shape, stride, dtype=dtype, device=device)


def _one_step(layer: Any, x: Tensor) -> Tensor:
    """Run the layer's forward on one step x [B, ...].

    For SpikingJelly's wrappers that is the forward of the torch class, as theirs may expect [T, B, ...].
    """
    if not isinstance(layer, base.StepModule):
        return type(layer).forward(layer, x)
    kinds = [k for k in type(layer).__mro__ if k.__module__.startswith("torch.nn") and "forward" in vars(k)]
    plain: Any = kinds[0] if kinds else type(layer)
    return plain.forward(layer, x)
