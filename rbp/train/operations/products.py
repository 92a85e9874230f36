"""The products of torch's functions: which tensor drives them, and how many each of its values takes part in.

A function that multiplies by weights is driven by its input. A product of two activations, as in attention,
can be driven by either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rbp.train.operations import reach

Ints = int | Sequence[int]


class Driver(NamedTuple):
    """A tensor whose values are multiplied, or added where they are spikes.

    Attributes:
        x: The tensor.
        reach: The number of products that each value takes part in; or that of each place in the last axes
            of x, in float64, of which `channels` makes the products.
        channels: See there; 1 without places.
    """

    x: Tensor
    reach: float | Tensor
    channels: int = 1


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> list[Driver]:
    """Return the driver of torch.conv1d, conv2d or conv3d."""
    settings = map(_hashable, (stride, padding, dilation))
    taps = reach.convolution(x.shape[2:], weight.shape[2:], *settings, x.device)
    return [Driver(x, taps, weight.shape[0] // groups)]


def transposed_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> list[Driver]:
    """Return the driver of torch.conv_transpose1d, conv_transpose2d or conv_transpose3d."""
    settings = map(_hashable, (stride, padding, output_padding, dilation))
    places = reach.transposed_convolution(x.shape[2:], weight.shape[2:], *settings, x.device)
    return [Driver(x, places, weight.shape[1])]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> list[Driver]:
    """Return the driver of F.linear."""
    return [Driver(x, float(weight.shape[0]))]


def matmul(a: Tensor, b: Tensor) -> list[Driver]:
    """Return the drivers of a matrix product: the activations, or both tensors if neither is a parameter."""
    left, right = (a if a.dim() > 1 else a.unsqueeze(0)), (b if b.dim() > 1 else b.unsqueeze(1))
    stack = prod(torch.broadcast_shapes(left.shape[:-2], right.shape[:-2]))
    of_a = Driver(a, float(right.shape[-1] * stack // prod(left.shape[:-2])))
    of_b = Driver(b, float(left.shape[-2] * stack // prod(right.shape[:-2])))
    if isinstance(b, nn.Parameter):
        return [of_a]
    return [of_b] if isinstance(a, nn.Parameter) else [of_a, of_b]


def added_to(first: Tensor, a: Tensor, b: Tensor, **_: Any) -> list[Driver]:
    """Return the drivers of torch.addmm and torch.baddbmm."""
    return matmul(a, b)


# The functions whose products are counted, by name.
PRODUCTS: Mapping[str, Callable[..., list[Driver]]] = {
    **{f"conv{n}d": convolution for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": transposed_convolution for n in (1, 2, 3)},
    "linear": linear,
    **dict.fromkeys(("matmul", "__matmul__", "mm", "bmm"), matmul),
    **dict.fromkeys(("addmm", "baddbmm"), added_to),
}
# Functions with products that are not counted; a result says so where a network has one.
OTHERS = frozenset(
    (
        *("einsum", "bilinear", "tensordot", "inner", "mv", "addmv", "addbmm", "dot", "__rmatmul__"),
        *("scaled_dot_product_attention", "multi_head_attention_forward", "_transformer_encoder_layer_fwd"),
        *("_native_multi_head_attention", "lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell"),
        *("rnn_tanh_cell", "rnn_relu_cell", "conv_tbc", "chain_matmul", "multi_dot", "embedding_bag"),
    )
)


def _hashable(setting: Any) -> Any:
    return tuple(setting) if isinstance(setting, list) else setting
