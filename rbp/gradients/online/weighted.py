"""Convolution and linear layers of OTTT: the weight gradient is taken at the trace of the input.

Value and gradient towards the input are those of the spikes; the layer is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from rbp.rate.rules.weighted import working_dtype

aten = torch.ops.aten
Size = int | Sequence[int]


def linear(x: Tensor, trace: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """F.linear with the weight gradient at the trace."""
    return _Linear.apply(*_cast(x, trace, weight, bias))


def _convolution(places: int, transposed: bool) -> Callable[..., Tensor]:
    """Return a convolution over so many places, with the arguments of torch's, and the trace after x."""

    def conv(
        x: Tensor,
        trace: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
    ) -> Tensor:
        stride, dilation = _each(stride, places), _each(dilation, places)
        if isinstance(padding, str):
            wanted = _same_padding(weight, dilation) if padding == "same" else [0] * 2 * places
            x, trace, padding = F.pad(x, wanted), F.pad(trace, wanted), 0
        settings = (stride, _each(padding, places), dilation, False, [0] * places, groups)
        return _Convolution.apply(*_cast(x, trace, weight, bias), *settings)

    def transposed_conv(
        x: Tensor,
        trace: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        dilation: Size = 1,
    ) -> Tensor:
        sizes = [_each(size, places) for size in (stride, padding, dilation, output_padding)]
        settings = (*sizes[:3], True, sizes[3], groups)
        return _Convolution.apply(*_cast(x, trace, weight, bias), *settings)

    return transposed_conv if transposed else conv


WEIGHTED: dict[str, Callable[..., Tensor]] = {
    "linear": linear,
    **{f"conv{n}d": _convolution(n, False) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _convolution(n, True) for n in (1, 2, 3)},
}


def _each(size: Any, places: int) -> list[int]:
    return [size] * places if isinstance(size, int) else list(size) * (places if len(size) == 1 else 1)


def _same_padding(weight: Tensor, dilation: Sequence[int]) -> list[int]:
    """Return the padding of F.pad, last place first, that keeps the size at stride 1."""
    totals = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    return [side for total in reversed(totals) for side in (total // 2, total - total // 2)]


def _cast(x: Tensor, trace: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Any, ...]:
    """Cast the operands to autocast's dtype, where it is enabled, as torch's own layers do."""
    dtype = working_dtype(x, weight)
    return x.to(dtype), trace.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, trace, weight, bias):
        ctx.save_for_backward(trace, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        trace, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        d_x = grad @ weight if ctx.needs_input_grad[0] else None
        d_weight = rows.mT @ trace.flatten(0, -2) if ctx.needs_input_grad[2] else None
        return d_x, None, d_weight, rows.sum(0) if ctx.needs_input_grad[3] else None


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, trace, weight, bias, *settings):
        ctx.save_for_backward(trace, weight)
        ctx.settings, ctx.bias_sizes = settings, None if bias is None else list(bias.shape)
        return aten.convolution(x, weight, bias, *settings)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        needed = [ctx.needs_input_grad[i] for i in (0, 2, 3)]
        operands = (grad, *ctx.saved_tensors, ctx.bias_sizes)
        d_x, d_weight, d_bias = aten.convolution_backward(*operands, *ctx.settings, needed)
        return d_x, None, d_weight, d_bias, *(None,) * len(ctx.settings)
