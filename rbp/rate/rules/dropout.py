"""Dropout with one mask for all T steps, as in SpikingJelly, so that it commutes with the time mean."""

from __future__ import annotations

from typing import Any

import torch
from spikingjelly.activation_based import layer as sj
from torch import Tensor, nn

from rbp.rate.memory.draws import RandomState, random_state, set_random_state
from rbp.rate.memory.traces import Trace
from rbp.rate.rules.base import Rule

DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


class DropoutTrace(Trace):
    """The mask of one call of a dropout layer.

    Attributes:
        mask: Scaled mask [B, ...]; None until it is drawn.
        after: State of the random number generators after the draw.
    """

    mask: Tensor | None = None
    after: RandomState


class DropoutRule(Rule[DropoutTrace]):
    """Dropout and Dropout1d/2d/3d of torch, and SpikingJelly's dropout layers."""

    trace_type = DropoutTrace

    def spikes(self, layer: Any, x_seq: Tensor, trace: DropoutTrace) -> Tensor:
        return x_seq * self._mask(layer, x_seq[0], trace) if layer.training else x_seq

    def rate(self, layer: Any, rate: Tensor, trace: DropoutTrace) -> Tensor:
        if not layer.training:
            return rate
        segments = rate.unflatten(0, (trace.segments.k, -1))
        return (segments * self._mask(layer, segments[0], trace)).flatten(0, 1)

    def _mask(self, layer: Any, like: Tensor, trace: DropoutTrace) -> Tensor:
        """Return the mask, drawn once. Reusing it advances the random number generators as drawing would."""
        if trace.mask is None:
            trace.mask = _draw(layer, torch.ones_like(like))
            trace.after = random_state(like.device)
        else:
            set_random_state(trace.after)
        return trace.mask


def _draw(layer: Any, ones: Tensor) -> Tensor:
    return layer.create_mask(ones) if isinstance(layer, sj.Dropout) else type(layer).forward(layer, ones)
