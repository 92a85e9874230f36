"""Which of SpikingJelly's neurons train in rate mode, and why the others do not.

FAST neurons have a dedicated scan (integrate_and_fire.py). ELEMENTWISE and SEQUENCE neurons get their
eligibility by differentiating their own forward (elementwise.py). REFUSED neurons raise NoRuleError with the
reason given here. User-defined neurons that treat each element independently and emit 0 or 1, whether a
subclass of a SpikingJelly neuron or a plain nn.Module, need one line:
`rbp.rate.register(rbp.rate.ElementwiseNeuron(), MyNeuron)`.
"""

from __future__ import annotations

from typing import Any

from spikingjelly.activation_based import base, layer, neuron
from torch import Tensor, nn

from rbp.rate.errors import NoRuleError
from rbp.rate.neurons.hidden_state import unguarded

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
SEQUENCE = ("GatedLIFNode",)  # step mode m only; its T must equal that of the pass

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


def refusal(module: nn.Module) -> str | None:
    """Return why rate mode cannot run a layer that has no rule.

    Args:
        module: A module without a rule.

    Returns:
        The reason, for neurons, other layers that keep state, and containers with time as the last axis; None
        for any other module.
    """
    for kind in type(module).__mro__:
        if kind.__module__.startswith("spikingjelly") and kind.__name__ in REFUSED:
            return REFUSED[kind.__name__]
    if isinstance(module, neuron.BaseNode | neuron.SimpleBaseNode):
        return (
            f"this neuron has no rule for its eligibility. {how_to_register(module)}. If it does not, it "
            "needs a rule of its own"
        )
    if isinstance(module, base.MemoryModule):
        return "it keeps a state from step to step, and has no rule that carries it"
    if isinstance(module, layer.TLastMultiStepContainer | layer.TLastSeqToANNContainer):
        return "it has time as its last axis, where a pair has it first"
    return None


def how_to_register(module: nn.Module) -> str:
    """Return the sentence of an error message that tells how to register a user-defined neuron."""
    return (
        "If it is a neuron that treats each element by itself and emits 0 or 1, this line makes it one of "
        f"rbp's: rbp.rate.register(rbp.rate.ElementwiseNeuron(), {type(module).__qualname__})"
    )


_SETTINGS = ("tau", "v_threshold", "v_reset")


def settings_are_numbers(layer: Any) -> bool:
    """Whether no setting is learnable or a tensor, apart from w of ParametricLIFNode.

    Raises:
        NoRuleError: For a setting whose gradient would be lost because it is not a parameter of the layer.
    """
    if not _starts_at_rest(layer) or _is_hooked(layer.surrogate_function):
        return False
    settings = {name: getattr(layer, name, None) for name in _SETTINGS}
    alpha = getattr(layer.surrogate_function, "alpha", None)
    learnt = {name for name, p in layer.named_parameters() if p.requires_grad}
    if learnt <= {"w"} and not any(isinstance(value, Tensor) for value in (*settings.values(), alpha)):
        return True
    for name, value in settings.items():
        if isinstance(value, Tensor) and value.requires_grad and name not in layer._parameters:
            raise NoRuleError(
                f"its {name} is a tensor with a gradient and no parameter of the layer: make it one "
                f"(layer.{name} = nn.Parameter(...)), or detach it"
            )
    if isinstance(alpha, Tensor) and alpha.requires_grad:
        raise NoRuleError("its surrogate's alpha is learnt, which has no gradient in rate mode: detach it")
    return False


def _starts_at_rest(layer: Any) -> bool:
    """Whether the membrane potential starts where the scan lets it start: at v_reset, or at 0."""
    rest = getattr(layer, "v_reset", None)
    rest = 0.0 if rest is None else rest
    v = unguarded(layer._memories).get("v", 0.0)
    return not isinstance(v, Tensor) and (isinstance(rest, Tensor) or v == rest)


def _is_hooked(surrogate: Any) -> bool:
    """Whether a surrogate function does something else than its class, by a hook or a forward of its own."""
    if not isinstance(surrogate, nn.Module):
        return False
    own = vars(surrogate).get("forward")
    own = getattr(own, "instead_of", own)  # a pass puts its forward in the place of the module's
    return bool(surrogate._forward_hooks or surrogate._forward_pre_hooks or own is not None)
