"""Telling a sequence [T, B, ...] from a static batch [B, ...], which is shown at every step."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from rbp.rate.errors import InputError


def as_sequence(net: nn.Module, x: Tensor, T: int | None) -> Tensor:
    """Return x as a sequence [T, B, ...].

    Without T, x is taken as a sequence. With T it may be a static batch [B, ...], which is expanded to T
    steps without a copy. The two are told apart by the first of these criteria that applies:

    1. A stride of 0 in the first axis (of more than one step) means a sequence.
    2. One or two axes mean a static batch.
    3. The network's first layer that decides, in the order of `net.modules()`. A convolution, BatchNorm2d or
       BatchNorm3d decides by its number of axes, if x has that many or one more. A linear layer decides by
       `in_features`: x is a static batch if x[b] has that many elements, and a sequence if x[t, b] has, or if
       x has three axes. (An x of shape [T, 1, D] fits both and is a sequence.)

    Args:
        net: the network.
        x: a sequence [T, B, ...] or a static batch [B, ...].
        T: the number of steps, if given by the user.

    Raises:
        InputError: x is a sequence whose length is not T; x could be either; or T is missing and x has the
            shape of a static batch for the network's first convolution or linear layer. (PyTorch's
            convolution would take each [C, H, W] in [B, C, H, W] as an unbatched sample.)
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
    """Whether x is a sequence rather than a static batch, by the criteria of `as_sequence`.

    Raises:
        InputError: x could be either.
    """
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
    """Return the number of axes of the layer's input [B, C, ...]; None if the layer does not determine it."""
    if isinstance(module, _ConvNd):
        return len(module.kernel_size) + 2
    for places, name in ((2, "BatchNorm2d"), (3, "BatchNorm3d")):
        if isinstance(module, _NormBase) and isinstance(module, getattr(nn, name)):
            return places + 2
    return None


def _by_features(features: int, x: Tensor) -> bool:
    one_sample = x.dim() == 3 and x.shape[1] == 1  # [T, 1, D]: x[b] and x[t, b] have the same size
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
