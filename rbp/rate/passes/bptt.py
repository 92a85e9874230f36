"""BPTT, and any forward pass without gradients: the network's own layers, T steps at once or one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from rbp.rate.dispatch.carry import by_rule, takes_sequence
from rbp.rate.dispatch.pair import Pair
from rbp.rate.errors import InputError
from rbp.rate.memory.traces import Run
from rbp.rate.neurons.memories import over_steps
from rbp.rate.neurons.supported import is_plain_neuron
from rbp.rate.passes.patching import replaced, step_modes
from rbp.rate.rules.base import fold_time
from rbp.rate.rules.linear import DROPOUT, DropoutRule
from rbp.rate.rules.sync_batchnorm import sync_batch_norm

Forward = Callable[..., Any]
NO_STEPS = "per_step=True: the network takes the time mean itself, and so hides its steps"


def multi_step(net: nn.Module, x_seq: Tensor) -> tuple[Tensor | None, Tensor]:
    """T steps at once: every step's output [T, B, K], and their time mean [B, K].

    A network that shows time and takes the time mean itself, [B, K], has no output for each step: None.
    """
    run = Run(x_seq.shape[0], rate=False)
    adapt, x = (_adapted, x_seq) if shows_time(net) else (_on_every_step, Pair(x_seq, None, run))
    with step_modes(net, "m"), replaced(net, lambda path, m: adapt(m, run)):
        y = net(x)
    T, B = x_seq.shape[:2]
    if isinstance(y, Pair) and y.spikes is not None:
        return y.spikes, y.spikes.mean(0)
    if one_tensor(y).shape[:1] == (B,) and y.dim() == 2:
        return None, y
    if y.shape[:1] == (T,) and (y.dim() > 2 or y.shape[1:] == (B,)):
        return y, y.mean(0)
    raise InputError(f"the network returned shape {tuple(y.shape)}: [T={T}, B={B}, ...] is needed")


def single_steps(net: nn.Module, x_seq: Tensor, per_step: bool) -> Tensor:
    """One step after another; the time mean of the output, or with per_step every step's."""
    run = Run(1, rate=False, keep=True)  # kept, so that dropout has one mask for all steps
    with step_modes(net, "s"), replaced(net, lambda path, m: _adapted(m, run)):
        if per_step:
            return torch.stack([_next_step(net, x, run) for x in x_seq])
        total = _next_step(net, x_seq[0], run)
        for x in x_seq[1:]:
            total = total + _next_step(net, x, run)
        return total / x_seq.shape[0]


def _next_step(net: nn.Module, x: Tensor, run: Run) -> Tensor:
    run.next_pass()
    return one_tensor(net(x))


def one_tensor(y: Any) -> Tensor:
    if not isinstance(y, Tensor):
        raise InputError(f"the network returned {type(y).__name__}, not one tensor computed from its input")
    return y


def shows_time(net: nn.Module) -> bool:
    """Whether the network has SpikingJelly's layer wrappers: then step mode m shows it [T, B, ...]."""
    return any(isinstance(m, base.StepModule) and not isinstance(m, base.MemoryModule) for m in net.modules())


def _adapted(module: nn.Module, run: Run) -> Forward | None:
    """A layer's forward on tensors, [B, ...] or [T, B, ...], where it must differ from its own; else None."""
    own = module.forward
    if is_plain_neuron(module):
        return lambda x: over_steps(own, x.unflatten(0, (run.steps, -1))).flatten(0, 1)
    if isinstance(module, base.MemoryModule):
        return lambda x, *args, **kwargs: _in_float32(own, x, *args, **kwargs)
    if isinstance(module, DROPOUT):
        return lambda x: _one_mask(module, x, run)
    if isinstance(module, nn.SyncBatchNorm):
        return lambda x: _synchronised(module, x, run)
    return None


def _in_float32(own: Forward, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Under autocast a neuron would take its input's low precision: its membrane potential wants float32."""
    if not isinstance(x, Tensor) or x.dtype not in (torch.bfloat16, torch.float16):
        return own(x, *args, **kwargs)
    y = own(x.float(), *args, **kwargs)
    return y.to(x.dtype) if isinstance(y, Tensor) else y


def _one_mask(module: nn.Module, x: Tensor, run: Run) -> Tensor:
    """torch's dropout with one mask for all steps, as SpikingJelly's has."""
    trace, _ = run.trace(module)
    if x.shape[0] % run.steps:
        return type(module).forward(module, x)
    return DropoutRule().spikes(module, x.unflatten(0, (run.steps, -1)), trace).flatten(0, 1)


def _synchronised(module: nn.SyncBatchNorm, x: Tensor, run: Run) -> Tensor:
    if x.dim() > 2 and run.steps == x.shape[0] and takes_sequence(module, x):
        return sync_batch_norm(module, x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return sync_batch_norm(module, x)


def _on_every_step(module: nn.Module, run: Run) -> Forward | None:
    """A layer's forward on a pair that hides the time axis, [T, B, ...]; None for what is made of layers."""
    own = module.forward
    plain = is_plain_neuron(module)

    def forward(*args: Any, **kwargs: Any) -> Any:
        inputs = [a for a in (*args, *kwargs.values()) if isinstance(a, Pair)]
        if not inputs:
            return own(*args, **kwargs)
        if len(args) + len(kwargs) > 1:  # not a layer of one input: with pairs in place of tensors
            return own(*args, **kwargs)
        (x,) = inputs
        x.check()
        assert x.spikes is not None
        if plain:
            return Pair(over_steps(own, x.spikes), None, run)
        if isinstance(module, base.MemoryModule):
            return Pair(_in_float32(own, x.spikes), None, run)
        if isinstance(module, DROPOUT):
            return by_rule(DropoutRule(), module, x, run.trace(module)[0])
        return tree_map(lambda y: Pair(y, None, run), _folded(module, own, x.spikes))

    whole = plain or isinstance(module, base.MemoryModule) or next(module.children(), None) is None
    return forward if whole else None


def _folded(module: nn.Module, own: Forward, x_seq: Tensor) -> Any:
    if isinstance(module, nn.modules.batchnorm._NormBase):  # counts the steps in its variance: no short cut
        x = x_seq.flatten(0, 1)
        y = sync_batch_norm(module, x) if isinstance(module, nn.SyncBatchNorm) else own(x)
        return y.unflatten(0, x_seq.shape[:2])
    return fold_time(own, x_seq)
