"""What torch's functions do to the time mean: the tables that decide how a pair goes through one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def members(*names: str) -> set[Callable]:
    """The functions of these names in torch, torch.Tensor and torch.nn.functional."""
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
# Commute with it in one pair, the other arguments being constant in time.
LINEAR_IN_ONE = members(
    *("mul", "multiply", "matmul", "bmm", "mm", "baddbmm", "linear", "conv1d", "conv2d", "conv3d"),
    *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "masked_fill", "einsum", "__rmatmul__"),
    *("__rmul__", "addmm", "addbmm"),
)
# The same, where the pair is the first argument (divided, not dividing; indexed, not the index).
LINEAR_IN_FIRST = members("div", "divide", "true_divide", "__getitem__", "index_select", "gather")

# Products of two pairs: attention, gates. mean_t (A_t B_t) is not mean_t A_t * mean_t B_t: the value is the
# exact time mean, the gradient the product rule at the rates, dA*B + A*dB. That is the mean over t of each
# step's own product rule for a change that is the same at every step, all that a rate can carry. Distance of
# the convolution's gradient from BPTT's, conv - LIF - op - linear on a static 8x8 image, where it is 0
# without the op (T=6, five seeds; tests/rate/test_distance.py): 0.8 to 1.0 % for a @ b^T, 1.2 to 2.0 % for
# the attention v @ k^T @ q.
PRODUCTS = members("mul", "multiply", "matmul", "bmm", "mm", "einsum")

# Ask about a step's shape or kind; their answer is the same at every step.
QUERIES = members(
    *("size", "dim", "ndimension", "numel", "nelement", "stride", "is_contiguous", "is_floating_point"),
    *("is_complex", "element_size", "get_device", "type", "__len__", "new_tensor"),
    *("empty_like", "rand_like", "randn_like", "randint_like", "is_same_size"),
)
# Make a tensor of a step's shape or kind, the same at every step, which the network may write to.
FRESH = members("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "new_empty")
# Of the graph: asked of the tensor that carries it.
ON_GRAPH = members("register_hook", "register_post_accumulate_grad_hook", "retain_grad")
# Choose by numbers in a tensor.
CHOOSING = members("index_select", "gather", "__getitem__")
# Over the first axis of a sequence [T, B, ...]: the rate, or T times it.
MEANS, SUMS = members("mean"), members("sum")
SELECTS, UNBINDS = members("select"), members("unbind")
SUM_OF_TWO = members("add")
# May name a size that holds T, which is one step's in the rate.
EXPANDS = members("expand", "expand_as", "broadcast_to")
SIZED = (
    members("reshape", "view", "flatten", "unflatten", "view_as", "reshape_as", "ravel", "squeeze") | EXPANDS
)
# Their tensors are aligned axis by axis, from the last.
ALIGNED = members(
    *("add", "sub", "rsub", "subtract", "mul", "multiply", "div", "divide", "true_divide", "cat", "concat"),
    *("matmul", "bmm", "__radd__", "__rsub__", "__rmul__", "__rmatmul__", "where", "masked_fill"),
)
# Properties of a tensor that are tensors.
PROPERTIES: dict[str, Callable] = {
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "data": lambda x: x.detach(),
}
LINEAR |= set(PROPERTIES.values())


def set_items(to: Tensor, index: Any, values: Any) -> Tensor:
    """to[index] = values, out of place."""
    to = to.clone()
    to[index] = values
    return to


LINEAR.add(set_items)


def asks(func: Callable, args: tuple, kwargs: dict) -> bool:
    """Whether a call asks about a step's shape or kind. (`x.type()` does, `x.type(dtype)` converts.)"""
    return func in QUERIES and not (func is Tensor.type and (len(args) > 1 or kwargs))


def name_of(func: Callable) -> str:
    """The name that a reader of the network's code would look for."""
    if func is set_items:
        return "a slice assignment"
    known = (name for name, value in vars(F).items() if value is func)
    return next(known, None) or getattr(func, "__name__", None) or repr(func)


def out_of_place(func: Callable) -> Callable | None:
    """torch.Tensor.add for torch.Tensor.add_, and so on; None for a function that is not in place."""
    name = getattr(func, "__name__", "")
    if not name.endswith("_") or name.endswith("__"):
        return None
    plain = getattr(Tensor, name[:-1], None)
    return plain if callable(plain) else None


def commutes(func: Callable, kwargs: dict, pairs: int, pair_is_first: bool) -> bool:
    """Whether func commutes with the time mean in its pairs, the first argument being one of them or not."""
    if kwargs.get("rounding_mode") is not None:
        return False
    if func in LINEAR or (func in LINEAR_IN_ONE and pairs == 1):
        return True
    return func in LINEAR_IN_FIRST and pairs == 1 and pair_is_first
