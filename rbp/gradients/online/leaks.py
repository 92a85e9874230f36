"""The leak of a spiking neuron: the share of its membrane potential that stays from one step to the next."""

from __future__ import annotations

from typing import Any

from spikingjelly.activation_based import neuron
from torch import Tensor, nn

from rbp.rate.errors import NoRuleError
from rbp.rate.network.modules import Layer
from rbp.rate.neurons.eligibility import NeuronRule

OWN = "trace_leak"  # the attribute by which a neuron of the user's own says its leak
_LEAKY = ("LIFNode", "SimpleLIFNode", "ComplementaryLIFNode", "TernaryLIFNode")
_PERFECT = ("IFNode", "SimpleIFNode", "HalfThresholdIFNode", "TernaryIFNode")
# Subclasses of LIFNode whose membrane does something else, or that bring an online method of their own.
_OTHERS = ("MPBNBaseNode", "OTTTLIFNode")


def is_spiking(found: Layer) -> bool:
    """Whether a module gives spikes, so that OTTT keeps a trace of them."""
    kinds = (neuron.BaseNode, neuron.SimpleBaseNode)
    by_rule = isinstance(found.kind.rule, NeuronRule)
    return by_rule or isinstance(found.module, kinds) or hasattr(found.module, OWN)


def leak_of(found: Layer) -> Tensor | float:
    """Return the leak as it is now, [] or broadcasting against the spikes [B, ...].

    It is 1 - 1/tau of LIF neurons, learnt or not, and 1 of neurons that do not leak (IF): these never forget,
    and their trace is the sum of their spikes. A neuron of the user's own says it by its attribute
    `trace_leak`, a number or a tensor.

    Raises:
        NoRuleError: It is unknown, or no single number, as of neurons with several state variables.
    """
    module: Any = found.module
    if hasattr(module, OWN):
        return _number(getattr(module, OWN))
    # A subclass of the user's that computes something else has no rule.
    known = found.kind.rule is not None or type(module).__module__.startswith("spikingjelly.")
    if known and not isinstance(module, _types(_OTHERS)):
        if isinstance(module, neuron.ParametricLIFNode):
            return 1 - module.w.detach().sigmoid()
        if isinstance(module, _types(_LEAKY)):
            return 1 - 1 / _number(module.tau)
        if isinstance(module, _types(_PERFECT)):
            return 1.0
    raise unknown(found)


def _number(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else float(value)


def _types(names: tuple[str, ...]) -> tuple[type[nn.Module], ...]:
    return tuple(getattr(neuron, name) for name in names if hasattr(neuron, name))


def unknown(found: Layer) -> NoRuleError:
    """Return the error for a neuron whose leak is unknown."""
    kind = type(found.module)
    error = NoRuleError(
        f"grad_mode='ottt' does not know the leak of {found.path or 'the network'} "
        f"({kind.__module__}.{kind.__qualname__}), the share of its membrane potential that stays from one "
        f"step to the next: say it by the attribute {OWN}, as in layer.{OWN} = 0.5, or use grad_mode='sltt'"
    )
    error.path = found.path
    return error
