"""BPTT as SpikingJelly does it at its best: its layers, its fused neurons, its gradient checkpointing.

SpikingJelly 2.0 chooses a GPU's kernels for neurons by itself: native CUDA, else Triton, else plain torch,
the first that there is. `SJ_LIF_CUDA_IMPLEMENTATION` (SJ_IF_..., SJ_PLIF_...), read when it is imported, asks
for one of them; it is left as the user set it. PyPI's wheel has no native kernels.
"""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from spikingjelly.activation_based import base, functional, layer, memopt, neuron
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from rbp.rate.registry import is_neuron

# SpikingJelly's wrappers of torch's layers: the same computation, for one step or for [T, B, ...].
_WRAPPERS = (
    *(layer.Conv2d, layer.BatchNorm2d, layer.Linear),
    *(layer.AvgPool2d, layer.AdaptiveAvgPool2d, layer.Flatten),
)
# The neurons with fused kernels, by SpikingJelly's names for them.
_FUSED = {neuron.LIFNode: "lif", neuron.IFNode: "if", neuron.ParametricLIFNode: "plif"}


class Unit(nn.Sequential):
    """Consecutive layers of which memopt keeps the input alone, and computes the rest again."""


def as_spikingjelly(net: nn.Module) -> nn.Module:
    """A copy of net in which every torch layer is SpikingJelly's wrapper of it, with the same parameters."""
    net = copy.deepcopy(net)
    for module in net.modules():
        for wrapper in _WRAPPERS:
            if type(module) is wrapper.__mro__[1]:
                module.__class__ = wrapper  # a wrapper adds to its layer no more than a step mode
                module.__dict__["_step_mode"] = "s"
    return net


def checkpointed(net: nn.Module, run: Any) -> nn.Module:
    """net with SpikingJelly's memopt (level 1): units are computed again in the backward pass, and inputs of
    spikes kept as bits. run: a function of the network that does a forward pass, by which memopt finds them.

    A unit ends with its neurons, so that the next one's input is spikes: in a Sequential the layers up to a
    layer of neurons (pools included), or a block that has neurons inside.
    """
    net = _in_units(net)
    return memopt.optimize_memory(net, Unit, run, level=1)


@contextlib.contextmanager
def count_packed_bytes(sizes: list[int]) -> Iterator[None]:
    """Add to sizes the bytes of spikes that memopt packs, and keeps where no hook of autograd sees them."""
    compressor: Any = memopt.BitSpikeCompressor
    compress = compressor.compress

    def counted(self: Any, x: Tensor) -> object:
        packed = compress(self, x)
        sizes.extend(part.nbytes for part in tree_leaves(packed) if isinstance(part, Tensor))
        return packed

    compressor.compress = counted
    try:
        yield
    finally:
        compressor.compress = compress


def _in_units(net: nn.Module) -> nn.Module:
    if not isinstance(net, nn.Sequential):
        for name, child in net.named_children():
            if _spikes(child):
                setattr(net, name, Unit(child))
        return net
    parts: list[nn.Module] = []
    waiting: list[nn.Module] = []
    for child in net:
        if _spikes(child) and not is_neuron(child):
            parts += [*waiting, Unit(child)]
            waiting = []
            continue
        waiting.append(child)
        if is_neuron(child):
            parts.append(Unit(*waiting))
            waiting = []
    return nn.Sequential(*parts, *waiting)


def _spikes(module: nn.Module) -> bool:
    return any(isinstance(inner, base.MemoryModule) for inner in module.modules())


def with_float_states(net: nn.Module) -> nn.Module:
    """net, its neurons with membrane potentials in float32 whatever their currents' precision.

    Under autocast SpikingJelly would give them the currents' bfloat16, for which it has no fused kernel: it
    then runs plain torch without a word.
    """
    for module in net.modules():
        if type(module) in _FUSED:
            module.materialize_states = _float_states(module)
    return net


def _float_states(module: Any) -> Any:
    materialize = module.materialize_states

    def float_states(inputs: tuple[Tensor, ...], states: tuple, step_mode: str) -> tuple:
        like = inputs[0][:1] if step_mode == "m" else inputs[0]
        return materialize((like.float(), *inputs[1:]), states, step_mode)

    return float_states


def neurons_used(
    net: nn.Module, device: torch.device, namespaces: frozenset[str] | None = None
) -> tuple[str, str]:
    """Which kernels SpikingJelly's neurons ran in, and why not better ones ("" where it says nothing).

    The first is "torch", "triton" or "cuda" (native). namespaces: of the operators that a step called (see
    rbp.bench.limits), where they are known. Without one of `sj_...` among them the neurons ran as plain
    torch, whatever SpikingJelly has bound: so it does for precisions, surrogates and neurons that it has no
    kernel for.
    """
    if device.type != "cuda":
        return "torch", ""
    kind = next((_FUSED[type(module)] for module in net.modules() if type(module) in _FUSED), None)
    seen = namespaces is None or any(name.startswith("sj_") for name in namespaces)
    if kind is None or not seen:
        return "torch", "no fused kernel for this neuron, surrogate or precision"
    bound: Any = functional.neuron_implementation(kind, device)
    return bound["implementation"], "; ".join(f"{k}: {v}" for k, v in bound["unavailable"].items())
