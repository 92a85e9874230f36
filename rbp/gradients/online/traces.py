"""The traces of OTTT, kept by the neurons that give the spikes: a_t = leak * a_{t-1} + s_t."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.modules._functions import BackwardHookFunction
from torch.utils._pytree import tree_map

from rbp.gradients.online import functions  # noqa: F401  (what torch's functions do to a trace)
from rbp.gradients.online.leaks import is_spiking, leak_of
from rbp.gradients.online.traced import Traced, plain, traced
from rbp.rate.errors import NoRuleError
from rbp.rate.memory.forward_pass import ForwardPass
from rbp.rate.network.modules import Layer, Network, check_not_compiled
from rbp.rate.passes.bptt import adapted_step


class Traces:
    """The traces of a network's neurons during one pass.

    Args:
        network: The network.

    Raises:
        NoRuleError: The leak of a neuron is unknown, or a part of the network hides its layers.
    """

    def __init__(self, network: Network) -> None:
        check_not_compiled(network)
        self.neurons: dict[nn.Module, Layer] = {}
        self.kept: dict[nn.Module, Tensor] = {}
        for found in network.layers:
            if isinstance(found.module, torch.jit.ScriptModule):
                raise NoRuleError(
                    f"{found.path or 'the network'} is compiled by torch.jit, which hides its layers from "
                    "grad_mode='ottt': pass it uncompiled, or use grad_mode='sltt'"
                )
            if is_spiking(found):
                leak_of(found)
                self.neurons[found.module] = found

    def adapt(self, found: Layer, run: ForwardPass) -> Callable[..., Any] | None:
        """Return the replacement for a layer's forward: neurons take spikes, and give them with a trace."""
        module, adapted = found.module, adapted_step(found, run)
        if module not in self.neurons:
            return adapted
        own = adapted or module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = tree_map(plain, (args, kwargs))
            return self._noted(module, own(*args, **kwargs))

        return forward

    def _noted(self, module: nn.Module, spikes: Any) -> Any:
        """Add a step's spikes to the trace of their neurons."""
        if not isinstance(spikes, Tensor):
            raise NoRuleError(
                f"{type(module).__qualname__} gives {type(spikes).__name__}, and grad_mode='ottt' keeps the "
                "trace of one tensor of spikes: use grad_mode='sltt'"
            )
        now = plain(spikes).detach()
        now = now.float() if now.dtype in (torch.bfloat16, torch.float16) else now
        before = self.kept.get(module)
        trace = now.clone() if before is None else leak_of(self.neurons[module]) * before + now
        self.kept[module] = trace
        return traced(spikes, trace) if torch.is_grad_enabled() else spikes


def backward_hooks_keep_traces() -> AbstractContextManager[Any]:
    """Let tensors keep their traces where torch calls full backward hooks, inside the block."""
    apply = BackwardHookFunction.apply

    def hooked(*args: Any) -> Any:
        through = apply(*(plain(x) for x in args))
        pairs = zip(through, args, strict=True)
        return tuple(traced(y, x.past) if isinstance(x, Traced) else y for y, x in pairs)

    return patch.object(BackwardHookFunction, "apply", hooked)
