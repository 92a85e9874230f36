"""BPTT as SpikingJelly does it best: with its layers, its fused neurons and its gradient checkpointing.

On a GPU, SpikingJelly 2.0 itself chooses the kernels of neurons, the first available of native CUDA, Triton
and plain torch. `SJ_LIF_CUDA_IMPLEMENTATION` (SJ_IF_..., SJ_PLIF_...), read at import, requests one of them;
it is left as the user set it. PyPI's wheel has no native kernels.
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

# SpikingJelly's wrappers of torch layers: the same computation, for one step or for [T, B, ...].
_WRAPPERS = (
    *(layer.Conv2d, layer.BatchNorm2d, layer.Linear),
    *(layer.AvgPool2d, layer.AdaptiveAvgPool2d, layer.MaxPool2d, layer.Flatten),
)
# The neurons with fused kernels, and SpikingJelly's names for them.
_FUSED = {neuron.LIFNode: "lif", neuron.IFNode: "if", neuron.ParametricLIFNode: "plif"}


class Unit(nn.Sequential):
    """Consecutive layers that memopt checkpoints together: it keeps their input and recomputes the rest."""


def as_spikingjelly(net: nn.Module) -> nn.Module:
    """Return a copy of `net` with every torch layer replaced by SpikingJelly's wrapper of it.

    The copy has parameters of its own, with the same values.
    """
    net = copy.deepcopy(net)
    for module in net.modules():
        for wrapper in _WRAPPERS:
            if type(module) is wrapper.__mro__[1]:
                module.__class__ = wrapper  # a wrapper only adds a step mode to its layer
                module.__dict__["_step_mode"] = "s"
    return net


def checkpointed(net: nn.Module, run: Any) -> nn.Module:
    """Return `net` with SpikingJelly's memopt (level 1).

    memopt recomputes units in the backward pass, and keeps inputs that are spikes as bits. A unit ends with a
    layer of neurons, so that the next unit's input is spikes. In a Sequential, it is the layers up to a layer
    of neurons (pools included), or a block that has neurons inside.

    Args:
        net: A network with SpikingJelly layers.
        run: Runs a forward pass of the network it is given; memopt uses it to find such inputs.
    """
    net = _in_units(net)
    return memopt.optimize_memory(net, Unit, run, level=1)


@contextlib.contextmanager
def count_packed_bytes(sizes: list[int]) -> Iterator[None]:
    """Append to `sizes` the bytes of spikes that memopt packs inside the block.

    memopt keeps them where autograd's hooks do not see them.
    """
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
    """Group the layers of a network into units."""
    if not isinstance(net, nn.Sequential):
        for name, child in net.named_children():
            if _spikes(child):
                setattr(net, name, _stage(child))
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


def _stage(module: nn.Module) -> nn.Module:
    """Make a unit of a module, or of each block that it lists."""
    if type(module) is not nn.ModuleList:
        return Unit(module)
    return nn.ModuleList(Unit(block) if _spikes(block) else block for block in module)


def _spikes(module: nn.Module) -> bool:
    """Whether a module is or contains a layer of neurons."""
    return any(isinstance(inner, base.MemoryModule) for inner in module.modules())


def with_float_states(net: nn.Module) -> nn.Module:
    """Make the neurons of `net` keep membrane potentials in float32, whatever their currents' precision.

    Under autocast, SpikingJelly would give them the bfloat16 of the currents. It has no fused kernel for
    that, and would silently run plain torch.
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
    """Return which kernels SpikingJelly's neurons ran in, and why not better ones.

    Args:
        net: The network.
        device: Where it ran.
        namespaces: Namespaces of the operators that a step called (see rbp.bench.limits), if known. If none
            begins with `sj_`, the neurons ran as plain torch, whatever SpikingJelly has bound. This happens
            for precisions, surrogates and neurons that it has no kernel for.

    Returns:
        "torch", "triton" or "cuda" (native); and the reason, "" if SpikingJelly gives none.
    """
    if device.type != "cuda":
        return "torch", ""
    kind = next((_FUSED[type(module)] for module in net.modules() if type(module) in _FUSED), None)
    seen = namespaces is None or any(name.startswith("sj_") for name in namespaces)
    if kind is None or not seen:
        return "torch", "no fused kernel for this neuron, surrogate or precision"
    bound: Any = functional.neuron_implementation(kind, device)
    return bound["implementation"], "; ".join(f"{k}: {v}" for k, v in bound["unavailable"].items())
