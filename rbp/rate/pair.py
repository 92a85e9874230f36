"""The pair (spikes, rate) that walks through a network in place of a tensor.

A network written for one time step, [B, ...] in and [B, ...] out, is called once with a `Pair`. Every torch
function that meets a pair is applied to each time step of the spikes and, where the method needs it, to the
rate: their time mean, which alone carries the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten


class NoRuleError(NotImplementedError):
    """Rate mode met a layer or an operation that it cannot carry a rate through."""


@dataclass(eq=False)
class Pair:
    """Spikes and their rate.

    spikes: [T, B, ...], or None in the pass that only builds the graph of the rates.
    rate: [B, ...], the time mean of the spikes, or None where no rate is wanted (BPTT, single steps).

    To the network a pair looks like one time step, [B, ...].
    """

    spikes: Tensor | None
    rate: Tensor | None

    @property
    def step(self) -> Tensor:
        """One time step, [B, ...]: has the shape, dtype and device that the network may ask for."""
        if self.rate is not None:
            return self.rate
        assert self.spikes is not None
        return self.spikes[0]

    @classmethod
    def __torch_function__(cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return apply(func, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        member = getattr(Tensor, name, None)
        if member is None or name.startswith("__"):
            raise AttributeError(name)
        if callable(member):
            return lambda *args, **kwargs: apply(member, (self, *args), kwargs)
        return getattr(self.step, name)

    def size(self, *args: int) -> Any:
        return self.step.size(*args)

    def dim(self) -> int:
        return self.step.dim()

    def __len__(self) -> int:
        return len(self.step)

    def __getitem__(self, index: Any) -> Any:
        return apply(Tensor.__getitem__, (self, index), {})

    def __add__(self, other: Any) -> Any:
        return apply(torch.add, (self, other), {})

    def __radd__(self, other: Any) -> Any:
        return apply(torch.add, (other, self), {})

    def __sub__(self, other: Any) -> Any:
        return apply(torch.sub, (self, other), {})

    def __rsub__(self, other: Any) -> Any:
        return apply(torch.rsub, (self, other), {})

    def __mul__(self, other: Any) -> Any:
        return apply(torch.mul, (self, other), {})

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return apply(torch.div, (self, other), {})

    def __matmul__(self, other: Any) -> Any:
        return apply(torch.matmul, (self, other), {})

    def __neg__(self) -> Any:
        return apply(torch.neg, (self,), {})


def _members(*names: str) -> set[Callable]:
    """The functions of these names in torch, torch.Tensor and torch.nn.functional."""
    return {getattr(room, n) for n in names for room in (torch, Tensor, F) if hasattr(room, n)}


# Commute with the time mean: mean_t f(s_t) = f(mean_t s_t), for any number of pairs among the arguments.
LINEAR = _members(
    *("add", "sub", "rsub", "subtract", "neg", "negative", "__getitem__", "clone", "contiguous", "to", "float"),
    *("flatten", "unflatten", "reshape", "view", "permute", "transpose", "movedim", "swapaxes", "squeeze"),
    *("unsqueeze", "expand", "cat", "concat", "stack", "chunk", "split", "narrow", "select", "roll", "flip"),
    *("mean", "sum", "pad", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d"),
    *("adaptive_avg_pool2d", "adaptive_avg_pool3d", "unfold", "fold", "pixel_shuffle"),
)
# Commute with it in their first pair, the other arguments being constant in time.
LINEAR_IN_ONE = _members(
    *("mul", "multiply", "div", "divide", "true_divide", "matmul", "bmm", "mm", "linear", "conv1d"),
    *("conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
)


def is_constant(x_seq: Tensor) -> bool:
    """Whether [T, ...] is one step seen T times (stride 0 in time): then one step's work is enough."""
    return x_seq.shape[0] > 1 and x_seq.stride(0) == 0


def over_time(f: Callable, *seqs: Tensor) -> Any:
    """f, written for one step, on every step of seqs [T, B, ...]; once, where nothing changes with time."""
    if all(is_constant(s) for s in seqs):
        steps = seqs[0].shape[0]
        return tree_map(lambda y: y.expand(steps, *y.shape), f(*(s[0] for s in seqs)))
    return torch.vmap(f, randomness="same")(*seqs)


def apply(func: Callable, args: tuple, kwargs: dict) -> Any:
    """func with pairs among its arguments, on each step of the spikes and on the rate.

    Raises NoRuleError in rate mode for a func that does not commute with the time mean.
    """
    leaves, spec = tree_flatten((args, kwargs), is_leaf=lambda leaf: isinstance(leaf, Pair))
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Pair)]
    pairs = [leaves[i] for i in places]

    def call(*tensors: Tensor) -> Any:
        filled = list(leaves)
        for i, tensor in zip(places, tensors, strict=True):
            filled[i] = tensor
        call_args, call_kwargs = tree_unflatten(filled, spec)
        return func(*call_args, **call_kwargs)

    with_rate = pairs[0].rate is not None
    if with_rate:
        check_linear(func, args, len(pairs))
    spikes = rate = None
    if pairs[0].spikes is not None:
        with torch.no_grad() if with_rate else nullcontext():
            spikes = over_time(call, *(p.spikes for p in pairs))
    if with_rate:
        rate = call(*(p.rate for p in pairs))
    return _join(spikes, rate)


def check_linear(func: Callable, args: tuple, n_pairs: int) -> None:
    """Raise NoRuleError unless func commutes with the time mean in its n_pairs pairs."""
    if func in LINEAR:
        return
    if func in LINEAR_IN_ONE and n_pairs == 1:
        divides = "div" in func.__name__
        if not divides or isinstance(args[0], Pair):
            return
    name = getattr(func, "__qualname__", None) or repr(func)
    of = f" of {n_pairs} spiking tensors" if func in LINEAR_IN_ONE and n_pairs > 1 else ""
    raise NoRuleError(f"{name}{of} does not commute with the time mean")


def _join(spikes: Any, rate: Any) -> Any:
    """Pairs from a function's results on spikes and on rates; lists and tuples keep their form."""
    some, spec = tree_flatten(rate if spikes is None else spikes)
    if not all(isinstance(leaf, Tensor) for leaf in some):
        return rate if spikes is None else spikes  # a size or a flag, not a tensor
    nothing = [None] * len(some)
    all_spikes = nothing if spikes is None else some
    all_rates = nothing if rate is None else tree_flatten(rate)[0]
    return tree_unflatten([Pair(s, r) for s, r in zip(all_spikes, all_rates, strict=True)], spec)
