"""Functional forms of layers, such as F.max_pool2d and F.dropout, mapped to the layers' rules.

AS_LAYER maps each function to a rule and to a callable that makes, from the function's arguments without the
input, the layer that the rule expects, or an object with that layer's settings.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rbp.rate.rules.base import Rule
from rbp.rate.rules.batchnorm import BatchNormRule
from rbp.rate.rules.commuting import AveragePoolRule
from rbp.rate.rules.dropout import DropoutRule
from rbp.rate.rules.norms import GroupNormRule, LayerNormRule
from rbp.rate.rules.pooling import MaxPoolRule
from rbp.rate.rules.window_pooling import ADAPTIVE_1D, ADAPTIVE_2D, ADAPTIVE_3D, MAX_POOL_3D


def _dropout(kind: type[nn.Module]) -> Callable[..., nn.Module]:
    def layer(p: float = 0.5, training: bool = True, inplace: bool = False) -> nn.Module:
        return kind(p).train(training)

    return layer


def _max_pool(kind: type[nn.Module]) -> Callable[..., nn.Module]:
    def layer(
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> nn.Module:
        return kind(kernel_size, stride, padding, dilation, return_indices, ceil_mode)

    return layer


def _layer_norm(
    shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> SimpleNamespace:
    return SimpleNamespace(normalized_shape=tuple(shape), weight=weight, bias=bias, eps=eps)


def _group_norm(
    groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> SimpleNamespace:
    return SimpleNamespace(num_groups=groups, weight=weight, bias=bias, eps=eps)


def _batch_norm(
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> SimpleNamespace:
    return SimpleNamespace(
        **{"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias},
        **{"training": training, "momentum": momentum, "eps": eps, "num_batches_tracked": None},
        track_running_stats=running_mean is not None,
    )


# The layers take the same arguments as the functions.
AVERAGES: dict[Callable, Callable[..., Any]] = {
    **{F.avg_pool1d: nn.AvgPool1d, F.avg_pool2d: nn.AvgPool2d, F.avg_pool3d: nn.AvgPool3d},
    **{F.adaptive_avg_pool1d: nn.AdaptiveAvgPool1d, F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d},
    F.adaptive_avg_pool3d: nn.AdaptiveAvgPool3d,
}
AS_LAYER: dict[Callable, tuple[Rule, Callable[..., Any]]] = {
    **dict.fromkeys((torch.max_pool1d, F.max_pool1d), (MaxPoolRule(1), _max_pool(nn.MaxPool1d))),
    **dict.fromkeys((torch.max_pool2d, F.max_pool2d), (MaxPoolRule(2), _max_pool(nn.MaxPool2d))),
    **dict.fromkeys((torch.max_pool3d, F.max_pool3d), (MAX_POOL_3D, _max_pool(nn.MaxPool3d))),
    F.adaptive_max_pool1d: (ADAPTIVE_1D, nn.AdaptiveMaxPool1d),
    F.adaptive_max_pool2d: (ADAPTIVE_2D, nn.AdaptiveMaxPool2d),
    F.adaptive_max_pool3d: (ADAPTIVE_3D, nn.AdaptiveMaxPool3d),
    **{f: (AveragePoolRule(), layer) for f, layer in AVERAGES.items()},
    F.layer_norm: (LayerNormRule(), _layer_norm),
    F.group_norm: (GroupNormRule(), _group_norm),
    F.batch_norm: (BatchNormRule(), _batch_norm),
}
DROPOUTS: dict[Callable, tuple[Rule, Callable[..., Any]]] = {
    F.dropout: (DropoutRule(), _dropout(nn.Dropout)),
    F.dropout1d: (DropoutRule(), _dropout(nn.Dropout1d)),
    F.dropout2d: (DropoutRule(), _dropout(nn.Dropout2d)),
    F.dropout3d: (DropoutRule(), _dropout(nn.Dropout3d)),
}
AS_LAYER |= DROPOUTS
