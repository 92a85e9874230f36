"""Which of SpikingJelly's neurons train in rate mode, and why the others do not.

FAST has a scan of its own (integrate_and_fire.py). ELEMENTWISE and SEQUENCE get their eligibility by
differentiating their own forward (elementwise.py). REFUSED raise NoRuleError by name. A neuron that is in no
list, a user's own, is one line away: `rbp.rate.register(rbp.rate.ElementwiseNeuron(), MyNeuron)`, where
MyNeuron, a subclass of SpikingJelly's or a plain nn.Module, treats each element by itself and emits 0 or 1.
"""

from __future__ import annotations

from typing import Any

from spikingjelly.activation_based import base, layer, neuron
from torch import Tensor, nn

from rbp.rate.errors import NoRuleError
from rbp.rate.memory.currents import Currents
from rbp.rate.memory.traces import Trace
from rbp.rate.neurons.elementwise import ElementwiseNeuron, SequenceNeuron
from rbp.rate.neurons.integrate_and_fire import IntegrateAndFireRule, NeuronRule
from rbp.rate.rules.base import find_rule, register

FAST = ("IFNode", "LIFNode", "ParametricLIFNode")
ELEMENTWISE = (
    *(
        "SimpleIFNode",
        "SimpleLIFNode",
        "HalfThresholdIFNode",
        "KLIFNode",
        "ComplementaryLIFNode",
        "CUBALIFNode",
    ),
    *("QIFNode", "EIFNode", "IzhikevichNode", "RAFNode"),
)
SEQUENCE = ("GatedLIFNode",)  # step mode m only, and its T must be the network's

_PARALLEL = "a parallel neuron: it mixes the time steps by learnt weights, so it has no step to shift"
_ONLINE = "an online-learning neuron: it cuts its own graph between steps, for a training method of its own"
_TERNARY = "a ternary neuron: it emits -1, 0 and 1"
_LEVELS = "it emits more levels than 0 and 1"
_OWN_BACKWARD = "it brings a backward pass of its own over the whole sequence"
_NOISY = "it draws noise, and emits it"
_CONNECTED = "its neurons act on one another, not each element by itself"
_NOT_SPIKING = "it emits membrane potentials, not spikes"
_NORMALISED = (
    "it normalises its membrane potential over the batch, so it does not treat each element by itself"
)
REFUSED: dict[str, str] = {
    **dict.fromkeys(("PSN", "MaskedPSN", "SlidingPSN"), _PARALLEL),
    **dict.fromkeys(("OTTTLIFNode", "SLTTLIFNode"), _ONLINE),
    **dict.fromkeys(("TernaryIFNode", "TernaryLIFNode"), _TERNARY),
    **dict.fromkeys(("ILIFNode", "LIAFNode", "STBIFNode", "ActivationAwareIFNode"), _LEVELS),
    **dict.fromkeys(("FewSpikeNode", "OutlierAwareThresholdNode", "HGNode"), _LEVELS),
    **dict.fromkeys(("DSRIFNode", "DSRLIFNode"), _OWN_BACKWARD),
    **dict.fromkeys(("NoisyBaseNode", "NoisyNonSpikingBaseNode"), _NOISY),
    **dict.fromkeys(("NoisyCUBALIFNode", "NoisyILCCUBALIFNode", "NoisyNonSpikingIFNode"), _NOISY),
    **dict.fromkeys(("ILCBaseNode", "ILCIFNode", "ILCLIFNode", "ILCCUBALIFNode"), _CONNECTED),
    **dict.fromkeys(("NonSpikingIFNode", "NonSpikingLIFNode"), _NOT_SPIKING),
    **dict.fromkeys(("MPBNBaseNode", "MPBNLIFNode"), _NORMALISED),
    "FlexSN": "its equations may be any function",
}


def is_neuron(module: nn.Module) -> bool:
    """Whether it is a spiking neuron, with a rule or without."""
    if isinstance(find_rule(module), NeuronRule) or refusal(module) is not None:
        return True
    return isinstance(module, neuron.BaseNode | neuron.SimpleBaseNode)


def is_plain_neuron(module: nn.Module) -> bool:
    """Whether it is a neuron that is a plain nn.Module, registered by its user."""
    return isinstance(find_rule(module), ElementwiseNeuron) and not isinstance(module, base.MemoryModule)


def refusal(module: nn.Module) -> str | None:
    """Why a layer has no rule, for SpikingJelly's neurons and other layers that keep a state; else None."""
    if find_rule(module) is not None:
        return None
    for kind in type(module).__mro__:
        if kind.__module__.startswith("spikingjelly") and kind.__name__ in REFUSED:
            return REFUSED[kind.__name__]
    if isinstance(module, neuron.BaseNode | neuron.SimpleBaseNode):
        return (
            "this neuron has no rule for its eligibility. Where it treats each element by itself and emits 0 "
            "or 1, this line is one: rbp.rate.register(rbp.rate.ElementwiseNeuron(), "
            f"{type(module).__name__}). Where it does not, it needs a rule of its own"
        )
    if isinstance(module, base.MemoryModule):
        return "it keeps a state from step to step, and has no rule that carries it"
    if isinstance(module, layer.TLastMultiStepContainer | layer.TLastSeqToANNContainer):
        return "it has time as its last axis, where a pair has it first"
    return None


_SETTINGS = ("tau", "v_threshold", "v_reset")


class AnyIntegrateAndFire(IntegrateAndFireRule):
    """The scan where every setting is a number. A threshold, time constant or reset that is learnt, or is a
    tensor such as one threshold per channel, goes by the neuron's own forward: slower, and right."""

    by_own_forward = ElementwiseNeuron()

    def spikes(self, layer: Any, x_seq: Currents, trace: Trace) -> Tensor:
        if _is_all_numbers(layer):
            return super().spikes(layer, x_seq, trace)
        _refuse_unseen(layer)
        return self.by_own_forward.spikes(layer, x_seq.written_out(), trace)

    def rate(self, layer: Any, rate: Tensor, trace: Trace) -> Tensor:
        if _is_all_numbers(layer):
            return super().rate(layer, rate, trace)
        return self.by_own_forward.rate(layer, rate, trace)


def _is_all_numbers(layer: Any) -> bool:
    """But for ParametricLIF's w, which the scan knows."""
    learnt = {name for name, p in layer.named_parameters() if p.requires_grad}
    settings = [getattr(layer, name, None) for name in _SETTINGS]
    settings.append(getattr(layer.surrogate_function, "alpha", None))
    return learnt <= {"w"} and not any(isinstance(setting, Tensor) for setting in settings)


def _refuse_unseen(layer: Any) -> None:
    """Raise NoRuleError for a setting whose gradient would be lost, being no parameter of the layer."""
    for name in _SETTINGS:
        value = getattr(layer, name, None)
        if isinstance(value, Tensor) and value.requires_grad and name not in layer._parameters:
            raise NoRuleError(
                f"its {name} is a tensor with a gradient and no parameter of the layer: make it one "
                f"(layer.{name} = nn.Parameter(...)), or detach it"
            )
    alpha = getattr(layer.surrogate_function, "alpha", None)
    if isinstance(alpha, Tensor) and alpha.requires_grad:
        raise NoRuleError("its surrogate's alpha is learnt, which has no gradient in rate mode: detach it")


for _rule, _names in (
    (AnyIntegrateAndFire(), FAST),
    (ElementwiseNeuron(), ELEMENTWISE),
    (SequenceNeuron(), SEQUENCE),
):
    register(_rule, *(getattr(neuron, name) for name in _names if hasattr(neuron, name)))
