"""Spikes and surrogate derivatives for any of SpikingJelly's surrogate functions.

Sigmoid and ATan have their derivative as a formula; that of the others comes from autograd.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from spikingjelly.activation_based import surrogate
from torch import Tensor


def _sigmoid(function: Any, u: Tensor, threshold: float) -> tuple[Tensor, float]:
    """Return the factors of alpha * sg*(1 - sg), sg = sigmoid(alpha*(u - threshold))."""
    alpha = function.alpha
    sg = torch.rsub(u, -alpha * threshold, alpha=-alpha).sigmoid_()
    return torch.addcmul(sg, sg, sg, value=-1.0), alpha


def _atan(function: Any, u: Tensor, threshold: float) -> tuple[Tensor, float]:
    """Return the factors of alpha/2 / (1 + (pi/2*alpha*(u - threshold))^2)."""
    width = math.pi / 2 * function.alpha
    x = torch.rsub(u, -width * threshold, alpha=-width)
    return x.square_().add_(1.0).reciprocal_(), function.alpha / 2


# The derivative as (h, scale), meaning scale*h: a separate number saves an operation on tensors.
SLOPES = {surrogate.Sigmoid: _sigmoid, surrogate.ATan: _atan}


def has_slope(function: Any) -> bool:
    """Whether the derivative of a surrogate function has a formula here, and the function emits spikes."""
    return type(function) in SLOPES and function.spiking


def fire(function: Any, u: Tensor, threshold: float, out: Tensor) -> tuple[Tensor, Tensor, float]:
    """Write the spikes at membrane potential u to out, and return them with the surrogate derivative.

    Args:
        function: Surrogate function, one of SpikingJelly's.
        u: Membrane potential before the reset, of any shape.
        threshold: Membrane potential at which a neuron fires.
        out: Where the spikes are written, in the shape of u.

    Returns:
        The spikes in the dtype of u, and two factors of the surrogate derivative, a tensor and a number.
    """
    if has_slope(function):
        return spikes(u, threshold, out), *SLOPES[type(function)](function, u, threshold)
    with torch.enable_grad():
        x = (u - threshold).requires_grad_()
        s = function(x)
        (h,) = torch.autograd.grad(s.sum(), x)
    out.copy_(s.detach())
    return s.detach(), h, 1.0


def spikes(u: Tensor, threshold: float, out: Tensor) -> Tensor:
    """Write the spikes, u >= threshold, to out, and return them in the dtype of u.

    Except while compiling, out itself is returned if it has that dtype.
    """
    if torch.compiler.is_compiling():
        s = (u >= threshold).to(u.dtype)
        out.copy_(s)
        return s
    if out.dtype == u.dtype:
        return torch.ge(u, threshold, out=out)
    s = torch.ge(u, threshold, out=torch.empty_like(u))
    out.copy_(s)
    return s
