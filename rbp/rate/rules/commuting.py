"""Layers that commute with the time mean and are cheap: average pooling, padding, reshapes, upsampling."""

from __future__ import annotations

from typing import Any

import torch
from spikingjelly.activation_based import base
from torch import Tensor

from rbp.rate.memory.folding import fold_time
from rbp.rate.memory.traces import Trace
from rbp.rate.rules.base import Rule


class CommutingRule(Rule):
    """A layer that commutes with the time mean and is cheap: applied to the spikes, and again to the rate."""

    recomputes = True

    def again(self, layer: Any, x: Tensor) -> Tensor:
        return _one_step(layer, x)

    def spikes(self, layer: Any, x_seq: Tensor, trace: Trace) -> Tensor:
        return fold_time(lambda x: _one_step(layer, x), x_seq)

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        return _one_step(layer, rate)


class AveragePoolRule(CommutingRule):
    """Average pooling. Torch's keeps its input for the backward pass, which wants no more than its shape."""

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        with torch.autograd.graph.saved_tensors_hooks(_layout, _in_layout):
            return _one_step(layer, rate)


def _layout(x: Tensor) -> tuple[tuple[int, ...], tuple[int, ...], torch.dtype, torch.device]:
    return x.shape, x.stride(), x.dtype, x.device


def _in_layout(layout: tuple[tuple[int, ...], tuple[int, ...], torch.dtype, torch.device]) -> Tensor:
    """A tensor of this layout, its content undefined."""
    shape, stride, dtype, device = layout
    return torch.empty_strided(shape, stride, dtype=dtype, device=device)


def _one_step(layer: Any, x: Tensor) -> Tensor:
    """The layer's own forward on one step: torch's, where SpikingJelly's wrapper would want [T, B, ...]."""
    if not isinstance(layer, base.StepModule):
        return type(layer).forward(layer, x)
    kinds = [k for k in type(layer).__mro__ if k.__module__.startswith("torch.nn") and "forward" in vars(k)]
    plain: Any = kinds[0] if kinds else type(layer)
    return plain.forward(layer, x)
