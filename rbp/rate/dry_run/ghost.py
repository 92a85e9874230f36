"""Dry runs of a network, on a copy and without consequences.

A ghost without values is on PyTorch's meta device: its tensors have shapes alone, and running it shows at
almost no cost which shapes reach the first neuron. A ghost with values runs on a few samples.
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from rbp.rate.dry_run.outside import Outside
from rbp.rate.errors import InputError
from rbp.rate.memory.draws import random_state_kept, with_generators
from rbp.rate.network.modules import Layer, Network
from rbp.rate.network.owners import function_of, written_by_user
from rbp.rate.network.patching import neurons_reset, replaced


class Reading(NamedTuple):
    """The input of a network's first neuron.

    Attributes:
        shape: the shape of the first input to the neuron.
        step_mode: the neuron's step mode; "s" if it has none.
        calls: how many times the neuron was called in the pass.
    """

    shape: tuple[int, ...]
    step_mode: str
    calls: int


class Ghost(Network):
    """A copy of a network, to be run without consequences.

    Of hooks it has the forward pre-hooks of `torch.nn.utils`, which compute weights, and, with values, the
    forward hooks that are the user's own code. It runs on copies of the globals, closures and class
    attributes of that code.

    Args:
        network: the network.
        with_values: whether its tensors have their values, on their device, or only shapes, on the meta
            device.
    """

    def __init__(self, network: Network, *, with_values: bool = False) -> None:
        self._memo: dict[int, Any] = {}
        self.with_values = with_values
        for generator in network.generators:
            self._memo[id(generator)] = generator.clone_state()
        if not with_values:
            for parameter in network.net.parameters():
                empty = torch.empty_like(parameter, device="meta")
                self._memo[id(parameter)] = nn.Parameter(empty, parameter.requires_grad)
        super().__init__(_without_others_hooks(self.copy_of(network.net), with_values).requires_grad_(False))
        self.outside = Outside(network, self.copy_of)

    def copy_of(self, value: Any) -> Any:
        """Return a deep copy; the same object is copied once."""
        with _disable_current_modes(), _Copying(self.with_values):
            return copy.deepcopy(value, self._memo)


class _Copying(TorchFunctionMode):
    """Copies tensors without their graph, for which deepcopy would fail, or without their values too."""

    def __init__(self, with_values: bool) -> None:
        super().__init__()
        self.with_values = with_values

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if id(tensor) not in memo:
            leaf = tensor if tensor.is_leaf else tensor.detach()
            copied = func(leaf, memo) if self.with_values else torch.empty_like(tensor, device="meta")
            memo[id(tensor)] = copied
        return memo[id(tensor)]


def _without_others_hooks(net: nn.Module, users: bool) -> nn.Module:
    """Remove the hooks of libraries, such as monitors, and, unless `users`, those of the user's own code."""
    for module in net.modules():
        module._backward_hooks.clear()
        module._backward_pre_hooks.clear()
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for number, hook in list(hooks.items()):
                computes_weights = type(hook).__module__.startswith("torch.nn.utils")
                if not computes_weights and not (users and written_by_user(function_of(hook))):
                    del hooks[number]
    return net


def emptied(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with their tensors moved to the meta device."""
    return tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, Tensor) else leaf, dict(kwargs))


def run_ghost(
    ghost: Ghost, x: Tensor, kwargs: Mapping[str, Any]
) -> tuple[Reading, tuple[int, ...]] | Exception:
    """Run the ghost once.

    Args:
        ghost: the copy of the network.
        x: the input, on the meta device.
        kwargs: the other arguments of the call, on the meta device.

    Returns:
        What the first neuron received and the shape of the output (of its first tensor, if it has several).
        If the pass fails, calls no neuron or returns no tensor, an exception is returned instead.
    """
    calls: dict[nn.Module, list[tuple[int, ...]]] = {}

    def note(neuron: nn.Module, x: Tensor) -> None:
        calls.setdefault(neuron, []).append(tuple(x.shape))

    try:
        with dry_run(ghost, note), torch.no_grad():
            y = ghost.net(x, **kwargs)
    except Exception as error:  # the network's own code may raise anything on an input of the wrong form
        return error
    outputs = [leaf for leaf in tree_leaves(y) if isinstance(leaf, Tensor)]
    if not calls or not outputs:
        return InputError("it calls no neuron, or returns no tensor")
    first: Any = next(iter(calls))
    reading = Reading(calls[first][0], getattr(first, "step_mode", "s"), len(calls[first]))
    return reading, tuple(outputs[0].shape)


@contextmanager
def dry_run(ghost: Ghost, note: Callable[[nn.Module, Tensor], None] | None = None) -> Iterator[None]:
    """Prepare the ghost for a call, which leaves no trace: its neurons only preserve the shape.

    Args:
        ghost: the copy of the network.
        note: called with each neuron and its input.
    """

    def stand_in(layer: Layer) -> Callable | None:
        """Return a replacement for the layer's forward; None to keep its own."""

        def forward(x: Tensor, *_: Any, **__: Any) -> Tensor:
            if note is not None:
                note(layer.module, x)
            return (x > 0).to(x.dtype)

        if isinstance(layer.module, nn.SyncBatchNorm):  # PyTorch's supports GPUs only
            return torch.zeros_like
        return forward if layer.kind.is_neuron else None

    with neurons_reset(ghost), replaced(ghost, stand_in), _unnoticed(ghost):
        yield


@contextmanager
def _unnoticed(ghost: Ghost) -> Iterator[None]:
    """Restore the random state and what the code keeps outside the network; print and count nothing."""
    device = next((tensor.device for tensor in ghost.net.parameters()), torch.device("cpu"))
    on_meta: list[Any] = [] if ghost.with_values else [torch.device("meta"), _WithoutGenerators()]
    kept = (with_generators(ghost.generators), random_state_kept(device))
    with ExitStack() as stack:
        stack.enter_context(_disable_current_modes())
        stack.enter_context(ghost.outside.in_use())
        for context in (*on_meta, *kept):
            stack.enter_context(context)
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(redirect_stderr(io.StringIO()))
        stack.enter_context(_without_log())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _without_log() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)


class _WithoutGenerators(TorchFunctionMode):
    """Leaves out the network's own random number generators, which are of another device."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return func(*args, **{name: v for name, v in (kwargs or {}).items() if name != "generator"})
