"""Operations as they are counted, and as loops that try every product find them."""

import itertools
from typing import Any

import torch
from torch import Tensor, nn

import rbp
from rbp.train.operations.counter import Counter
from rbp.train.operations.energy import operations


def counted(net: nn.Module, x_seq: Tensor, step_mode: str = "m", **how: Any) -> dict[str, Any]:
    """The operations per image of a network on all of x_seq [T, B, ...], or [B, ...] with layout="static"."""
    static = how.get("layout") == "static"
    T, one_step = (how["T"], x_seq.shape) if static else (len(x_seq), x_seq[0].shape)
    counter = Counter(net.eval(), T, single_steps=step_mode == "s")
    with torch.no_grad(), counter.batch(one_step):
        rbp.forward(net, x_seq, step_mode=step_mode, grad_mode="bptt", **how)
    return operations(counter.counts)


def products_of_convolution(
    x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int, groups: int
) -> float:
    """The sum of |x| over every product of a convolution of x [C, *sizes], one product after the other."""
    outputs, inputs, *kernel = weight.shape
    sizes = x.shape[1:]
    ends = [
        (n + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for n, k in zip(sizes, kernel, strict=True)
    ]
    total = 0.0
    for out in range(outputs):
        first = out // (outputs // groups) * inputs
        for place in itertools.product(*map(range, ends)):
            for channel, *tap in itertools.product(range(inputs), *map(range, kernel)):
                read = [p * stride - padding + k * dilation for p, k in zip(place, tap, strict=True)]
                if all(0 <= r < n for r, n in zip(read, sizes, strict=True)):
                    total += abs(float(x[(first + channel, *read)]))
    return total


def products_of_transposed(
    x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int, groups: int, output_padding: int
) -> float:
    """The same of a transposed convolution, whose weight is [C, outputs of a group, *kernel]."""
    outputs, kernel = weight.shape[1], weight.shape[2:]
    sizes = x.shape[1:]
    ends = [
        (n - 1) * stride - 2 * padding + dilation * (k - 1) + output_padding + 1
        for n, k in zip(sizes, kernel, strict=True)
    ]
    total = 0.0
    for place in itertools.product(range(x.shape[0]), *map(range, sizes)):
        for tap in itertools.product(*map(range, kernel)):
            written = [p * stride - padding + k * dilation for p, k in zip(place[1:], tap, strict=True)]
            if all(0 <= w < n for w, n in zip(written, ends, strict=True)):
                total += outputs * abs(float(x[place]))
    return total
