"""Table from layer type to rule: the built-in rules, and those added by `register`."""

from __future__ import annotations

from typing import NamedTuple

from spikingjelly.activation_based import base, layer, neuron
from torch import nn

from rbp.rate.errors import InputError
from rbp.rate.neurons.elementwise import ElementwiseNeuron, SequenceNeuron
from rbp.rate.neurons.eligibility import NeuronRule
from rbp.rate.neurons.integrate_and_fire import IntegrateAndFireRule
from rbp.rate.neurons.supported import ELEMENTWISE, FAST, SEQUENCE, refusal
from rbp.rate.rules import window_pooling
from rbp.rate.rules.base import Rule
from rbp.rate.rules.batchnorm import BatchNormRule
from rbp.rate.rules.commuting import AveragePoolRule, CommutingRule
from rbp.rate.rules.dropout import DROPOUT, DropoutRule
from rbp.rate.rules.norms import GroupNormRule, LayerNormRule
from rbp.rate.rules.pooling import MaxPoolRule
from rbp.rate.rules.sync_batchnorm import SyncBatchNormRule
from rbp.rate.rules.weighted import ConvRule, LinearRule

AVERAGE_POOLS = (
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(layer.AvgPool1d, layer.AvgPool2d, layer.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(layer.AdaptiveAvgPool1d, layer.AdaptiveAvgPool2d, layer.AdaptiveAvgPool3d),
)
BATCH_NORMS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    *(layer.BatchNorm1d, layer.BatchNorm2d, layer.BatchNorm3d),
)
COMMUTING = (
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    *(layer.ConvTranspose1d, layer.ConvTranspose2d, layer.ConvTranspose3d),
    *(nn.ZeroPad1d, nn.ZeroPad2d, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle),
    *(layer.Upsample, layer.Flatten),
)

_LIBRARIES = ("torch.", "torchvision.", "spikingjelly.", "timm.", "einops.")


def _neurons(names: tuple[str, ...]) -> list[type[nn.Module]]:
    """Return the SpikingJelly neurons of these names that exist in the installed version."""
    return [getattr(neuron, name) for name in names if hasattr(neuron, name)]


_RULES: dict[type[nn.Module], Rule] = {
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d, layer.Conv1d, layer.Conv2d, layer.Conv3d), ConvRule()),
    **dict.fromkeys((nn.Linear, layer.Linear), LinearRule()),
    **dict.fromkeys(AVERAGE_POOLS, AveragePoolRule()),
    **dict.fromkeys(COMMUTING, CommutingRule()),
    **dict.fromkeys((*DROPOUT, layer.Dropout, layer.Dropout2d), DropoutRule()),
    **dict.fromkeys(BATCH_NORMS, BatchNormRule()),
    nn.SyncBatchNorm: SyncBatchNormRule(),
    nn.LayerNorm: LayerNormRule(),
    **dict.fromkeys((nn.GroupNorm, layer.GroupNorm), GroupNormRule()),
    **dict.fromkeys((nn.MaxPool1d, layer.MaxPool1d), MaxPoolRule(1)),
    **dict.fromkeys((nn.MaxPool2d, layer.MaxPool2d), MaxPoolRule(2)),
    **dict.fromkeys((nn.MaxPool3d, layer.MaxPool3d), window_pooling.MAX_POOL_3D),
    nn.AdaptiveMaxPool1d: window_pooling.ADAPTIVE_1D,
    nn.AdaptiveMaxPool2d: window_pooling.ADAPTIVE_2D,
    nn.AdaptiveMaxPool3d: window_pooling.ADAPTIVE_3D,
    **dict.fromkeys(_neurons(FAST), IntegrateAndFireRule()),
    **dict.fromkeys(_neurons(ELEMENTWISE), ElementwiseNeuron()),
    **dict.fromkeys(_neurons(SEQUENCE), SequenceNeuron()),
}
# A subclass that overrides any of these may compute something other than what the rule was written for.
_COMPUTING = (
    *("forward", "_conv_forward", "create_mask", "single_step_forward", "multi_step_forward"),
    *("single_step_functional_forward", "multi_step_functional_forward"),
    *("neuronal_charge", "neuronal_fire", "neuronal_reset"),
)


def register(rule: Rule, *layer_types: type[nn.Module]) -> None:
    """Use a rule for layers of these types and for subclasses that do not override the computation.

    It replaces any rule the types had before.

    Args:
        rule: Instance of a subclass of `rbp.rate.Rule`, such as `rbp.rate.CommutingRule()` for a layer that
            commutes with the time mean, `rbp.rate.ElementwiseNeuron()` for a neuron, or a user-defined rule
            (see rbp.rate.rules.base).
        layer_types: Subclasses of torch.nn.Module.

    Raises:
        InputError: If rule is not an instance of `rbp.rate.Rule`, or a type is not a subclass of
            torch.nn.Module.
    """
    if not isinstance(rule, Rule):
        raise InputError(f"register({rule!r}, ...): an instance of a subclass of rbp.rate.Rule is needed")
    for layer_type in layer_types:
        if not (isinstance(layer_type, type) and issubclass(layer_type, nn.Module)):
            raise InputError(f"register(rule, {layer_type!r}): a subclass of torch.nn.Module is needed")
    for layer_type in layer_types:
        _RULES[layer_type] = rule
    _kinds.clear()


class Kind(NamedTuple):
    """How the engine classifies a module.

    Attributes:
        rule: Its rule; None if its type has none or if it overrides the computation.
        is_neuron: Whether it is a spiking neuron, with or without a rule.
        is_plain_neuron: Whether it is a user-registered neuron that is a plain nn.Module.
        written_by_user: Whether its class comes from outside the libraries that the engine knows.
        keeps_own_state: Whether it may keep state that neither SpikingJelly nor a rule manages: it is
            user-defined, not one of SpikingJelly's memory modules, and has no rule.
    """

    rule: Rule | None
    is_neuron: bool
    is_plain_neuron: bool
    written_by_user: bool
    keeps_own_state: bool


_kinds: dict[tuple[type, bool], Kind] = {}  # by type, and whether the instance has its own forward


def kind_of(module: nn.Module) -> Kind:
    """Classify a module by the rules registered so far."""
    key = type(module), "forward" in module.__dict__
    if key not in _kinds:
        _kinds[key] = _kind(module, None if key[1] else _rule_of(key[0]))
    return _kinds[key]


def find_rule(module: nn.Module) -> Rule | None:
    """Return the rule for a module; None if its type has none or if it overrides the computation."""
    return kind_of(module).rule


def is_neuron(module: nn.Module) -> bool:
    """Whether a module is a spiking neuron, with or without a rule."""
    return kind_of(module).is_neuron


def is_plain_neuron(module: nn.Module) -> bool:
    """Whether a module is a user-registered neuron that is a plain nn.Module."""
    return kind_of(module).is_plain_neuron


def _kind(module: nn.Module, rule: Rule | None) -> Kind:
    is_neuron = isinstance(rule, NeuronRule) or isinstance(module, neuron.BaseNode | neuron.SimpleBaseNode)
    if rule is None:
        is_neuron = is_neuron or refusal(module) is not None
    has_memory = isinstance(module, base.MemoryModule)
    by_user = not type(module).__module__.startswith(_LIBRARIES)
    return Kind(
        rule=rule,
        is_neuron=is_neuron,
        is_plain_neuron=isinstance(rule, ElementwiseNeuron) and not has_memory,
        written_by_user=by_user,
        keeps_own_state=by_user and not has_memory and rule is None,
    )


def _rule_of(kind: type) -> Rule | None:
    for layer_type in kind.__mro__:
        if layer_type in _RULES:
            same = all(getattr(kind, f, None) is getattr(layer_type, f, None) for f in _COMPUTING)
            return _RULES[layer_type] if same else None
    return None
