"""Support for `torch.utils.checkpoint` and full backward hooks inside a pass.

Checkpointing reruns part of the network in backward, when the pass is over, so the changes that the pass made
to the layers have to be made again for the rerun. Full backward hooks go through an autograd function that
takes plain tensors; in place of a pair it gets the tensor that carries the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
import torch.utils.checkpoint as torch_checkpoint
from torch import Tensor, nn
from torch.nn.modules._functions import BackwardHookFunction
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.checkpoint import checkpoint

from rbp.rate.dispatch.pair import Pair
from rbp.rate.errors import InputError, NoRuleError
from rbp.rate.memory.forward_pass import ForwardPass
from rbp.rate.network.modules import Network

_NAMES = ("_checkpoint_without_reentrant_generator", "_checkpoint_without_reentrant_generator_impl")
_GENERATORS = [(name, getattr(torch_checkpoint, name)) for name in _NAMES if hasattr(torch_checkpoint, name)]


@contextmanager
def in_pass(
    network: Network, run: ForwardPass, enter: Callable[[], AbstractContextManager[Any]]
) -> Iterator[None]:
    """Run the block as a forward pass of the network.

    Args:
        network: the network.
        run: the state of this pass; marked as over after the block.
        enter: returns a context that prepares the network's layers. It is entered for the block, and again
            whenever a checkpoint reruns part of the network in backward.
    """
    run.net = network.net
    again = _Again(run, enter)
    reentrant = again.nothing_kept if run.rate else again.reentrant
    patches: list[tuple[Any, str, Any]] = [
        (BackwardHookFunction, "apply", _hooked),
        (torch_checkpoint.CheckpointFunction, "apply", reentrant),
        (torch.jit.ScriptFunction, "__call__", _scripted),
        *(
            (torch_checkpoint, name, _no_generator if run.rate else again.generator(own))
            for name, own in _GENERATORS
        ),
    ]
    with _patched(patches), _explained(run), enter():
        yield
    run.over = True


@contextmanager
def _explained(run: ForwardPass) -> Iterator[None]:
    """Add to an error of the network's own, or of torch's, what the network was run on."""
    try:
        yield
    except Exception as error:
        on_pairs = run.rate or not (run.single_step or run.time_visible)
        if on_pairs and not isinstance(error, InputError | NoRuleError):
            mode = "grad_mode='rate'" if run.rate else "grad_mode='bptt' and step_mode='m'"
            error.add_note(
                f"rbp.forward with {mode} runs the network on tensors that stand for all time steps. If the "
                "network is right on one step [B, ...], grad_mode='bptt' with step_mode='s' runs it."
            )
        raise


@contextmanager
def _patched(patches: list[tuple[Any, str, Any]]) -> Iterator[None]:
    before = [(room, name, vars(room).get(name)) for room, name, _ in patches]
    try:
        for room, name, new in patches:
            setattr(room, name, new)
        yield
    finally:
        for room, name, old in before:
            delattr(room, name) if old is None else setattr(room, name, old)


_call_scripted = torch.jit.ScriptFunction.__call__


def _scripted(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a function compiled by torch.jit, but not with pairs, which it would see below autograd."""
    if any(isinstance(leaf, Pair) for leaf in tree_leaves((args, kwargs))):
        raise NoRuleError(
            f"{function.name}, compiled by torch.jit, would lose the gradient: call it uncompiled, or in a "
            "layer of its own (nn.Module)"
        )
    return _call_scripted(function, *args, **kwargs)


_apply_hooks = BackwardHookFunction.apply
_apply_checkpoint = torch_checkpoint.CheckpointFunction.apply


def _hooked(*args: Tensor) -> tuple[Tensor, ...]:
    """Apply BackwardHookFunction to the tensors that carry the graph.

    Hooks get the gradient of the rate in rate mode, and of all steps in BPTT.
    """
    plain = [arg.carries if isinstance(arg, Pair) else arg for arg in args]
    through = iter(_apply_hooks(*(x for x in plain if x is not None)))
    return tuple(
        arg if x is None else _with_graph(arg, next(through)) for arg, x in zip(args, plain, strict=True)
    )


def _with_graph(arg: Tensor, carried: Tensor) -> Tensor:
    if not isinstance(arg, Pair):
        return carried
    if arg.rate is None:
        return Pair(carried, None, arg.run, arg.time, arg.constant)
    return Pair(arg.sequence, carried, arg.run, arg.time, arg.constant)


def checkpointed(module: nn.Module, args: tuple, kwargs: dict, rate: bool) -> Any:
    """Run a module in a CheckpointWrapper (PyTorch's, or from SpikingJelly's memopt) on pairs.

    The wrapper's own forward is bypassed, as memopt's compression of inputs does not support pairs. In BPTT
    the inner module is checkpointed; in rate mode it runs as it is.

    Args:
        module: a CheckpointWrapper.
        args, kwargs: the arguments of its call.
        rate: whether the pass is in rate mode.
    """
    inner: Any = module._checkpoint_wrapped_module
    return inner(*args, **kwargs) if rate else checkpoint(inner, *args, use_reentrant=False, **kwargs)


def _no_generator(*_: Any, **__: Any) -> Iterator[None]:
    """Skip checkpointing, as rate mode saves nothing that grows with T."""
    yield


class _Again:
    """Wrappers for checkpointed functions, which reopen the pass when backward calls the function again."""

    def __init__(self, run: ForwardPass, enter: Callable[[], AbstractContextManager[Any]]) -> None:
        self.run, self.enter = run, enter

    def in_pass(self, function: Callable) -> Callable:
        def again(*args: Any, **kwargs: Any) -> Any:
            if not self.run.over:
                with self._noted():
                    return function(*args, **kwargs)
            with self._reopened(), self.enter():
                return function(*args, **kwargs)

        return again

    @contextmanager
    def _noted(self) -> Iterator[None]:
        self.run.checkpoint_depth += 1
        try:
            yield
        finally:
            self.run.checkpoint_depth -= 1

    @contextmanager
    def _reopened(self) -> Iterator[None]:
        calls = self.run.reopen()
        try:
            yield
        finally:
            self.run.close_again(calls)

    def generator(self, own: Callable) -> Callable:
        def checkpoint(function: Callable, *args: Any, **kwargs: Any) -> Iterator[None]:
            steps = own(self.in_pass(function), *args, **kwargs)
            next(steps)
            with self._noted():
                yield
            next(steps, None)

        return checkpoint

    def reentrant(self, function: Callable, preserve: bool, *args: Any) -> Any:
        """Apply CheckpointFunction to spike sequences in place of pairs, which it cannot save."""
        pairs = [isinstance(arg, Pair) for arg in args]

        def on_tensors(*tensors: Any) -> Any:
            given = (Pair(x, None, self.run) if p else x for x, p in zip(tensors, pairs, strict=True))
            return tree_map(lambda y: y.spikes if isinstance(y, Pair) else y, function(*given))

        plain = (arg.spikes if isinstance(arg, Pair) else arg for arg in args)
        y = _apply_checkpoint(self.in_pass(on_tensors), preserve, *plain)
        return tree_map(lambda leaf: Pair(leaf, None, self.run), y) if any(pairs) else y

    @staticmethod
    def nothing_kept(function: Callable, preserve: bool, *args: Any) -> Any:
        return function(*args)
