"""Who is compared: one network by Rate-BP, by BPTT as users of SpikingJelly train it, and with ReLUs."""

import copy
import functools
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig
from spikingjelly.activation_based import base, functional, layer, memopt
from torch import Tensor, nn

from rbp.models import build
from rbp.models.resnet import BasicBlock
from rbp.rate import forward

RELU, BPTT, MEMOPT, RATE = "relu", "bptt", "bptt + memopt", "rate"
NAMES = (RELU, BPTT, MEMOPT, RATE)

Forward = Callable[[Tensor, int], Tensor]  # images [B, C, H, W] and T -> outputs [B, K]

# SpikingJelly's wrappers of torch's layers: the same computation, for one step or for [T, B, ...].
_WRAPPERS = (
    *(layer.Conv2d, layer.BatchNorm2d, layer.Linear),
    *(layer.AvgPool2d, layer.AdaptiveAvgPool2d, layer.Flatten),
)


def contestant(
    name: str, cfg: DictConfig, example: Tensor, rate_options: dict[str, Any] | None = None
) -> tuple[nn.Module, Forward]:
    """The network of this name with its forward pass over T steps, on the device of the example images.

    The ReLU network is the same with every neuron a ReLU, and sees the image once: the unit of cost. BPTT is
    SpikingJelly's own layers in the config's step mode, with the neurons' own backend; with memopt, its
    gradient checkpointing and spike compression (level 1) as the rival in memory. (What it computes again in
    the backward pass is not among its bytes kept.)
    """
    if name == RELU:
        net = _relu_network(cfg).to(example.device)
        return net, lambda x, steps: net(x)
    net = build(cfg).to(example.device)
    if name == RATE:
        how = {"step_mode": cfg.step_mode, "grad_mode": "rate"} | (rate_options or {})
        return net, lambda x, steps: forward(net, x.expand(steps, *x.shape), **how)
    net = as_spikingjelly(net)
    functional.set_step_mode(net, cfg.step_mode)
    run = functools.partial(_bptt, net, cfg.step_mode)
    if name == MEMOPT:
        # A residual block is what memopt's authors checkpoint; a network without them, each layer of neurons.
        kind = BasicBlock if any(isinstance(m, BasicBlock) for m in net.modules()) else base.MemoryModule
        memopt.optimize_memory(net, kind, lambda model: _bptt(model, cfg.step_mode, example, cfg.T), level=1)
    return net, run


def _bptt(net: nn.Module, step_mode: str, x: Tensor, steps: int) -> Tensor:
    """The time mean [B, K] of a SpikingJelly network's output, as its tutorials compute it."""
    functional.reset_net(net)
    if step_mode == "m":
        return net(x.expand(steps, *x.shape)).mean(0)
    total = net(x)
    for _ in range(steps - 1):
        total = total + net(x)
    return total / steps


def _relu_network(cfg: DictConfig) -> nn.Module:
    """The architecture with a ReLU in every neuron's place, and the same initial weights."""
    net = build(cfg)
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, base.MemoryModule):
                setattr(module, name, nn.ReLU())
    return net


def as_spikingjelly(net: nn.Module) -> nn.Module:
    """A copy of net in which every torch layer is SpikingJelly's wrapper of it, with the same parameters."""
    net = copy.deepcopy(net)
    for module in net.modules():
        for wrapper in _WRAPPERS:
            if type(module) is wrapper.__mro__[1]:
                module.__class__ = wrapper  # a wrapper adds to its layer no more than a step mode
                module.__dict__["_step_mode"] = "s"
    return net
