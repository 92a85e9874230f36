"""Tables of torch functions by how they act on a pair, above all whether they commute with the time mean.

A function that commutes, mean_t f(s_t) = f(mean_t s_t), can be applied to spikes and rate separately and
leaves them consistent. In rate mode, any other function needs a rule of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rbp.rate.errors import NoRuleError


def members(*names: str) -> set[Callable]:
    """Return all functions of these names in torch, torch.Tensor and torch.nn.functional."""
    return {getattr(room, n) for n in names for room in (torch, Tensor, F) if hasattr(room, n)}


# Commute with the time mean: mean_t f(s_t) = f(mean_t s_t), for any number of pairs among the arguments.
LINEAR = members(
    *("add", "sub", "rsub", "subtract", "neg", "negative", "clone", "contiguous", "detach"),
    *("to", "float", "double", "bfloat16", "half", "cpu", "cuda", "type_as"),
    *("flatten", "unflatten", "reshape", "view", "permute", "transpose", "movedim", "swapaxes", "squeeze"),
    *("moveaxis", "swapdims", "t", "view_as", "reshape_as", "expand_as", "unbind", "ravel"),
    *("unsqueeze", "expand", "repeat", "cat", "concat", "stack", "hstack", "vstack", "chunk", "split"),
    *("tensor_split", "narrow", "select", "roll", "flip", "diagonal", "tile"),
    *("repeat_interleave", "mean", "sum", "cumsum", "pad", "unfold", "fold", "interpolate", "upsample"),
    *("avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"),
    *("adaptive_avg_pool3d", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
    *("type", "__radd__", "__rsub__", "where"),
)
# Commute with the time mean in one pair, if all other arguments are constant in time.
CASTS, CHOICES = members("to", "type", "type_as"), members("where")
LINEAR_IN_ONE = members(
    *("mul", "multiply", "matmul", "bmm", "mm", "baddbmm", "linear", "conv1d", "conv2d", "conv3d"),
    *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "masked_fill", "einsum", "__rmatmul__"),
    *("__rmul__", "addmm", "addbmm"),
)
# The same, if the pair is the first argument (the dividend, not the divisor; indexed, not the index).
LINEAR_IN_FIRST = members("div", "divide", "true_divide", "__getitem__", "index_select", "gather")

# Products of two pairs, as in attention and gates. mean_t (A_t B_t) differs from mean_t A_t * mean_t B_t: the
# value is the exact time mean, the gradient is the product rule at the rates, dA*B + A*dB. This is the mean
# over t of each step's product rule for a change that is the same at every step, which is all that a rate can
# carry. Distance of the convolution's gradient from that of BPTT, for conv - LIF - op - linear on a static
# 8x8 image, where it is 0 without the op (T=6, five seeds; tests/rate/test_distance.py): 0.8 to 1.0 % for
# a @ b^T, 1.2 to 2.0 % for the attention v @ k^T @ q.
PRODUCTS = members("mul", "multiply", "matmul", "bmm", "mm", "einsum")

# Depend only on the shape, dtype and device of what the network sees, so they are called on a template.
QUERIES = members(
    *("size", "dim", "ndimension", "numel", "nelement", "stride", "is_contiguous", "is_floating_point"),
    *("is_complex", "element_size", "get_device", "type", "__len__", "new_tensor"),
    *("empty_like", "rand_like", "randn_like", "randint_like", "is_same_size"),
)
# Make a tensor of the same shape or dtype, constant in time, which the network may write to afterwards.
FRESH = members("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "new_empty")
# Concern the graph, so they are called on the tensor that carries it.
ON_GRAPH = members("register_hook", "register_post_accumulate_grad_hook", "retain_grad")
# Select elements by the values of an index tensor.
CHOOSING = members("index_select", "gather", "__getitem__")
# Over a visible time axis these give the rate, or T times the rate.
MEANS, SUMS = members("mean"), members("sum")
SELECTS, UNBINDS = members("select"), members("unbind")
SUM_OF_TWO = members("add")
# EXPANDS and SIZED: their arguments may name a size that contains T, so they cannot be repeated on the rate.
EXPANDS = members("expand", "expand_as", "broadcast_to")
SIZED = (
    members("reshape", "view", "flatten", "unflatten", "view_as", "reshape_as", "ravel", "squeeze") | EXPANDS
)
# Align their tensors axis by axis, starting from the last.
ALIGNED = members(
    *("add", "sub", "rsub", "subtract", "mul", "multiply", "div", "divide", "true_divide", "cat", "concat"),
    *("matmul", "bmm", "__radd__", "__rsub__", "__rmul__", "__rmatmul__", "where", "masked_fill"),
)
# Properties of a tensor that are tensors themselves.
PROPERTIES: dict[str, Callable] = {
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "H": lambda x: x.H,
    "mH": lambda x: x.mH,
    "real": lambda x: x.real,
    "data": lambda x: x.detach(),
}
LINEAR |= set(PROPERTIES.values())


def set_items(to: Tensor, index: Any, values: Any) -> Tensor:
    """Return a copy of `to` with to[index] = values."""
    to = to.clone()
    to[index] = values
    return to


LINEAR.add(set_items)


def asks(func: Callable, args: tuple, kwargs: dict) -> bool:
    """Whether a call is one of QUERIES. (`x.type()` is a query, `x.type(dtype)` a conversion.)"""
    return func in QUERIES and not (func is Tensor.type and (len(args) > 1 or kwargs))


def name_of(func: Callable) -> str:
    """Return the name of a function as it appears in the network's code, for error messages."""
    if func is set_items:
        return "a slice assignment"
    known = (name for name, value in vars(F).items() if value is func)
    return next(known, None) or getattr(func, "__name__", None) or getattr(func, "name", None) or repr(func)


def out_of_place(func: Callable) -> Callable | None:
    """Return torch.Tensor.add for torch.Tensor.add_, and so on; None if func is not an in-place function."""
    name = getattr(func, "__name__", "")
    if not name.endswith("_") or name.endswith("__"):
        return None
    plain = _OTHER_FORMS.get(name) or getattr(Tensor, name[:-1], None)
    return plain if callable(plain) else None


def copied(to: Tensor, source: Tensor, *_: Any, **__: Any) -> Tensor:
    """Return what to.copy_(source) leaves in to, out of place; NoRuleError where that would cut fractions."""
    if not to.is_floating_point():
        raise NoRuleError(f"a copy into a tensor of {to.dtype} does not commute with the time mean")
    return (torch.zeros_like(to) + source).to(to.dtype)


def zeroed(to: Tensor) -> Tensor:
    """Return what to.zero_() leaves in to, out of place."""
    return torch.zeros_like(to)


_OTHER_FORMS: dict[str, Callable] = {"copy_": copied, "fill_": copied, "zero_": zeroed}
LINEAR |= {copied, zeroed}


def only_in_place(func: Callable) -> bool:
    """Whether a function changes its first argument in place, and `out_of_place` knows no other form."""
    name = getattr(func, "__name__", "")
    return name.endswith("_") and not name.endswith("__") and name not in ("requires_grad_", "share_memory_")


def commutes(func: Callable, kwargs: dict, pairs: int, pair_is_first: bool) -> bool:
    """Whether a call commutes with the time mean.

    Args:
        func: the torch function.
        kwargs: its keyword arguments.
        pairs: how many of its arguments are pairs.
        pair_is_first: whether the first positional argument is a pair.
    """
    if kwargs.get("rounding_mode") is not None:
        return False
    if func in LINEAR or (func in LINEAR_IN_ONE and pairs == 1):
        return True
    return func in LINEAR_IN_FIRST and pairs == 1 and pair_is_first
