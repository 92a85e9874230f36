"""Which axis of the input is time."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from rbp.rate.errors import InputError


def as_sequence(net: nn.Module, x: Tensor, T: int | None) -> Tensor:
    """x as [T, B, ...]. Without T it is one; with T it may be a static batch [B, ...], shown at every step.

    What tells them apart, in this order: a stride of 0 in the first axis is a sequence; two axes are a static
    batch; the number of axes that the network's first convolution or batch normalisation over places takes;
    in a network without one, the number of features of its first linear layer: where it is that of x[b], all
    axes together, x is a static batch, where that of x[t, b] or where x has three axes, a sequence.

    Raises InputError where x is a sequence and T is not its length, where x might be either, and without T
    where x is a static batch as the network's first convolution takes them (torch's would take [B, C, H, W]
    for B unbatched samples).
    """
    if T is None:
        _refuse_static(net, x)
        return x
    if not has_time_axis(net, x):
        return x.expand(T, *x.shape)
    if x.shape[0] != T:
        raise InputError(
            f"T={T}, but x_seq has {x.shape[0]} steps (its shape is {tuple(x.shape)}, time first)"
        )
    return x


def has_time_axis(net: nn.Module, x: Tensor) -> bool:
    if x.dim() > 1 and x.shape[0] > 1 and x.stride(0) == 0:
        return True
    if x.dim() <= 2:
        return False
    for module in net.modules():
        if (axes := _axes_of_one_step(module)) is not None and x.dim() in (axes, axes + 1):
            return x.dim() == axes + 1
        if isinstance(module, nn.Linear):
            return _by_features(module.in_features, x)
    raise _unclear(x)


def _refuse_static(net: nn.Module, x: Tensor) -> None:
    if x.dim() < 2 or x.stride(0) == 0:
        return
    first = next((m for m in net.modules() if isinstance(m, _ConvNd | nn.Linear)), None)
    axes = 2 if isinstance(first, nn.Linear) else _axes_of_one_step(first)
    features = getattr(first, "in_channels", None) or getattr(first, "in_features", None)
    if x.dim() == axes and x.shape[1] == features:
        raise InputError(
            f"x_seq of shape {tuple(x.shape)} has no time axis: [T, B, C, ...] is needed, or T= for a static "
            "batch [B, C, ...]"
        )


def _axes_of_one_step(module: Any) -> int | None:
    """How many axes a layer over places wants of [B, C, ...]; None for other layers."""
    if isinstance(module, _ConvNd):
        return len(module.kernel_size) + 2
    for places, name in ((2, "BatchNorm2d"), (3, "BatchNorm3d")):
        if isinstance(module, _NormBase) and isinstance(module, getattr(nn, name)):
            return places + 2
    return None


def _by_features(features: int, x: Tensor) -> bool:
    one_sample = x.dim() == 3 and x.shape[1] == 1  # [T, 1, D]: then both numbers of features agree
    if math.prod(x.shape[1:]) == features and not one_sample:
        return False
    if x.dim() == 3 or math.prod(x.shape[2:]) == features:
        return True
    raise _unclear(x)


def _unclear(x: Tensor) -> InputError:
    shape = tuple(x.shape)
    return InputError(
        f"T= with an input of shape {shape}: the network does not tell whether its first axis is time. Pass "
        "x.expand(T, *x.shape) for a static batch, or x_seq [T, B, ...] without T"
    )
