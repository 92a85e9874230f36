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

from rbp.train.figures import reach
from rbp.train.figures.divisors import fits

Ints = int | Sequence[int]


class Driver(NamedTuple):
    """A tensor whose values are multiplied, or added where they are spikes.

    Attributes:
        x: The tensor.
        reach: The number of products that each value takes part in, in float64: one number, or one for each
            place in the last axes of x.
    """

    x: Tensor
    reach: Tensor

    def dense(self) -> float:
        """Return the number of products if every value counts."""
        return float(self.reach.sum()) * self.x.numel() / self.reach.numel()


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
    kernel = tuple(weight.shape[2:])
    n = len(kernel)
    gaps = _each(dilation, n)
    around = _padding(padding, kernel, gaps)
    taps = reach.convolution(tuple(x.shape[-n:]), kernel, _each(stride, n), around, gaps, _plain(x.device))
    return [Driver(x, taps * (weight.shape[0] // groups))]


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
    kernel, sizes = tuple(weight.shape[2:]), tuple(x.shape[2:])
    n = len(kernel)
    steps, cut, gaps, more = (_each(value, n) for value in (stride, padding, dilation, output_padding))
    axes = zip(sizes, steps, cut, gaps, kernel, more, strict=True)
    outputs = tuple((size - 1) * s - 2 * c + gap * (k - 1) + m + 1 for size, s, c, gap, k, m in axes)
    places = reach.transposed(sizes, outputs, kernel, steps, cut, gaps, _plain(x.device))
    return [Driver(x, places * weight.shape[1])]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> list[Driver]:
    """Return the driver of F.linear."""
    return [_uniform(x, weight.shape[0])]


def matmul(a: Tensor, b: Tensor) -> list[Driver]:
    """Return the drivers of a matrix product: the activations, or both tensors if neither is a parameter."""
    left, right = (a if a.dim() > 1 else a.unsqueeze(0)), (b if b.dim() > 1 else b.unsqueeze(1))
    stack = prod(torch.broadcast_shapes(left.shape[:-2], right.shape[:-2]))
    of_a = _uniform(a, right.shape[-1] * stack // prod(left.shape[:-2]))
    of_b = _uniform(b, left.shape[-2] * stack // prod(right.shape[:-2]))
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


def _uniform(x: Tensor, products: int) -> Driver:
    return Driver(x, torch.tensor(float(products), dtype=torch.float64))  # a number, on any device


def _each(value: Ints, n: int) -> tuple[int, ...]:
    """Return a setting of n axes by axis; a single number means all of them."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * n if len(values) == 1 else values


def _padding(
    padding: Ints | str, kernel: tuple[int, ...], gaps: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """Return the zeros before and after the input, by axis."""
    if padding == "same":  # torch puts the odd one after
        total = [gap * (k - 1) for gap, k in zip(gaps, kernel, strict=True)]
        return tuple((n // 2, n - n // 2) for n in total)
    around = _each(0 if isinstance(padding, str) else padding, len(kernel))
    return tuple((n, n) for n in around)


def _plain(device: torch.device) -> torch.device:
    return torch.device(device.type, device.index)


def additions(driver: Driver, divisors: list[Tensor]) -> list[float] | None:
    """Return the additions at each step: a whole number n makes n of them in each of its products.

    Args:
        driver: Its x is [t, n, ...].
        divisors: What the last average pools divide by, which may be folded into the weights.

    Returns:
        One number a step; None if x is not made of whole numbers, nor becomes so by undoing a division.
    """
    spikes = _as_spikes(driver.x, divisors)
    if spikes is None:
        return None
    axes = driver.reach.dim()
    sums = spikes.abs().sum(tuple(range(1, spikes.dim() - axes)), dtype=torch.float64)
    products: list[float] = (sums * driver.reach).flatten(1).sum(1).tolist()
    return products


def _as_spikes(x: Tensor, divisors: list[Tensor]) -> Tensor | None:
    x = x if x.is_floating_point() else x.double()
    if bool((x == x.round()).all()):
        return x
    both = (
        [divisors[0] * divisors[1]]
        if len(divisors) > 1 and divisors[0].dim() == divisors[1].dim() == 0
        else []
    )
    for divisor in (*divisors, *both):
        if (n := fits(divisor, x)) is not None:
            spikes = x.float() * n.to(torch.float32)
            near = spikes.round()
            if bool(((spikes - near).abs() <= torch.finfo(x.dtype).eps * spikes.abs()).all()):
                return near
    return None
