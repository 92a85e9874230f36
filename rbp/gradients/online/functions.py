"""What torch's functions do to a trace.

- Convolution and linear layers use it up: rbp.gradients.online.weighted. A product with a matrix is a linear
  layer as well, however it is written.
- Linear functions (views, sums, average pooling, padding, products with what has no trace, masks) act on the
  trace as on the spikes. In sums, as of residual connections, a term without a trace counts as its own.
- Max pooling takes the trace where the spikes have their maximum; of several, where torch finds it first.
- Dropout masks the trace as the spikes.
- After anything else there is no trace: a layer then has its input itself. So it is after a product of two
  spiking tensors, as in attention, and after normalisation, which sees its input once.
- A function that hides learnable weights (nn.MultiheadAttention, nn.LSTM) is refused, and so is writing in
  place to a part of the spikes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from rbp.gradients.online.traced import Traced, has_trace, plain, trace_of, traced
from rbp.gradients.online.weighted import WEIGHTED
from rbp.rate.errors import NoRuleError

# By __name__, which torch.flatten and Tensor.flatten share.
_VIEWS = (
    *("view", "reshape", "flatten", "unflatten", "ravel", "squeeze", "unsqueeze", "permute", "transpose"),
    *("t", "swapaxes", "swapdims", "movedim", "moveaxis", "adjoint", "expand", "expand_as", "broadcast_to"),
    *("broadcast_tensors", "repeat", "tile", "repeat_interleave", "view_as", "reshape_as", "contiguous"),
    *("clone", "detach", "alias", "__getitem__", "select", "narrow", "index_select", "take_along_dim"),
    *("gather", "chunk", "split", "tensor_split", "unbind", "hsplit", "vsplit", "dsplit", "diagonal"),
    *("unfold", "fold", "cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "roll"),
    *("flip", "fliplr", "flipud", "rot90", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "pad"),
    *("to", "type", "type_as", "float", "double", "half", "bfloat16", "cuda", "cpu"),
)
_SUMS = (
    *("add", "__add__", "__radd__", "sub", "__sub__", "__rsub__", "rsub", "subtract", "neg", "__neg__"),
    *("negative", "positive", "__pos__", "mean", "sum", "cumsum", "where", "masked_fill", "interpolate"),
    *("upsample", *(f"{kind}avg_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3))),
)
PASSING = frozenset((*_VIEWS, *_SUMS))
SCALING = frozenset(("mul", "__mul__", "__rmul__", "multiply"))
DIVIDING = frozenset(("div", "__truediv__", "divide", "true_divide"))
PRODUCTS = frozenset(("matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "mv", "einsum", "tensordot"))
DROPOUTS = frozenset(("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout"))
MAX_POOLS = frozenset(f"{kind}max_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3))
# Properties that are views.
_GETTERS = ("T", "mT", "H", "mH", "data")
_WRITING = frozenset(("__setitem__", "copy_", "fill_", "zero_", "masked_fill_", "index_add_", "index_copy_"))
_IN_PLACE = {"__iadd__": "add", "__isub__": "sub", "__imul__": "mul", "__itruediv__": "div"}
_NOT_WRITING = ("requires_grad_", "share_memory_")
# Functions whose learnable weights scale and shift their own normalised input, or are no weights of spikes.
_OWN_WEIGHTS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "prelu")


def apply(func: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Call a torch function of which an argument is a `Traced`, and give its result the trace that it has."""
    name = getattr(func, "__name__", "")
    if name == "__get__":
        name = getattr(func.__self__, "__name__", "")  # type: ignore[attr-defined]
        return _passed(func, args, kwargs) if name in _GETTERS else func(*args, **kwargs)
    if name in ("__set__", "__delete__", *_NOT_WRITING):
        return func(*args, **kwargs)
    if _writes(name):
        return _in_place(name, func, args, kwargs)
    if not any(has_trace(leaf) for leaf in tree_leaves((args, kwargs))):
        return func(*args, **kwargs)
    if name in WEIGHTED:
        return _weighted(name, func, args, kwargs)
    if _is_linear(name, args, kwargs):
        return _passed(func, args, kwargs)
    if name in MAX_POOLS:
        return _max_pooled(name, *args, **kwargs)
    if name in DROPOUTS:
        return _dropped(func, *args, **kwargs)
    if name in PRODUCTS:
        return _product(func, args, kwargs)
    _refuse_hidden_weights(name, args, kwargs)
    y = func(*args, **kwargs)
    for leaf in tree_leaves(y):
        if isinstance(leaf, Traced):  # written to in place, as by F.relu(x, inplace=True)
            leaf.past = None
    return y


Traced.apply = apply


def _is_linear(name: str, args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether a function is linear, or adds a constant, in what has a trace."""
    if name in PASSING:
        return True
    count = sum(has_trace(leaf) for leaf in tree_leaves((args, kwargs)))
    return count == 1 and (name in SCALING or (name in DIVIDING and has_trace(args[0])))


def _traces(args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    return tree_map(trace_of, (args, kwargs))


def _passed(func: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    y = func(*args, **kwargs)
    with torch.no_grad():
        their_args, their_kwargs = _traces(args, kwargs)
        traces = func(*their_args, **their_kwargs)
    leaves, spec = tree_flatten(y)
    pairs = zip(leaves, tree_leaves(traces), strict=True)
    return tree_unflatten([traced(x, a) if isinstance(x, Tensor) else x for x, a in pairs], spec)


def _weighted(name: str, func: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run a convolution or linear layer."""
    given = dict(kwargs)
    x, *others = args if args else (given.pop("input"),)
    if not has_trace(x) or any(has_trace(leaf) for leaf in tree_leaves((others, given))):
        return func(*args, **kwargs)  # weights made of spikes: its own gradient
    return WEIGHTED[name](plain(x), x.past, *others, **given)


def _product(func: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run a matrix product: a linear layer if one factor has no batch axis, else without a trace."""
    factors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    others = [x for x in factors if not has_trace(x)]
    weights = [x for x in others if isinstance(x, nn.Parameter) or x.dim() <= 2]
    if not weights or len(others) + 1 != len(factors):
        return func(*args, **kwargs)
    if not any(w.requires_grad for w in weights):
        return _passed(func, args, kwargs)
    kept = {id(w) for w in weights}
    y = func(*tree_map(lambda x: x.detach() if id(x) in kept else x, args), **kwargs)
    at_trace = func(*tree_map(lambda x: x if id(x) in kept else trace_of(x), args), **kwargs)
    return y + (at_trace - at_trace.detach())


def _max_pooled(name: str, x: Tensor, *args: Any, return_indices: bool = False, **kwargs: Any) -> Any:
    y, indices = getattr(F, name)(x, *args, return_indices=True, **kwargs)
    places = int(name[-2])
    with torch.no_grad():
        flat = trace_of(x).flatten(-places)
        trace = flat.gather(-1, indices.flatten(-places)).view_as(indices)
    return (traced(y, trace), indices) if return_indices else traced(y, trace)


def _dropped(
    func: Callable, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, **kwargs: Any
) -> Tensor:
    if func.__name__ in ("alpha_dropout", "feature_dropout"):
        return func(plain(x), p, training, **kwargs)
    mask = func(torch.ones_like(trace_of(x)), p, training, **kwargs)
    return traced(plain(x) * mask, trace_of(x) * mask)


def _writes(name: str) -> bool:
    if name in _IN_PLACE or name in _WRITING:
        return True
    return name.endswith("_") and not name.startswith("_")


def _in_place(name: str, func: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run a function that writes to its first argument, which gets the trace of what is written."""
    target, others = args[0], args[1:]
    if not isinstance(target, Tensor):
        return func(*args, **kwargs)
    base = target._base if isinstance(target, Traced) else None
    if base is not None and base.numel() != target.numel():
        raise NoRuleError(
            f"{name} writes in place to a part of the spikes, whose trace grad_mode='ottt' would lose: write "
            "it out of place (torch.cat, torch.where), or use grad_mode='sltt'"
        )
    trace = None
    if name in _WRITING or _is_linear(_IN_PLACE.get(name, name[:-1]), args, kwargs):
        with torch.no_grad():
            their_args, their_kwargs = _traces(others, kwargs)
            trace = trace_of(target).clone()
            func(trace, *their_args, **their_kwargs)
    y = func(*args, **kwargs)
    if trace is not None or isinstance(target, Traced):
        traced(target, trace)
    return y


def _refuse_hidden_weights(name: str, args: tuple, kwargs: dict[str, Any]) -> None:
    leaves = tree_leaves((args, kwargs))
    if name not in _OWN_WEIGHTS and any(isinstance(x, nn.Parameter) and x.requires_grad for x in leaves):
        raise NoRuleError(
            f"{name} applies learnable weights to spikes, and grad_mode='ottt' has no rule for it: write it "
            "with convolution or linear layers, or use grad_mode='sltt'"
        )
