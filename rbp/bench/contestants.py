"""The contestants: one network trained by each gradient mode, and with ReLUs for neurons."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from spikingjelly.activation_based import base, functional
from torch import Tensor, nn

from rbp.bench.spikingjelly_nets import as_spikingjelly, checkpointed, with_float_states
from rbp.errors import ConfigError
from rbp.gradients.online import ONLINE
from rbp.models import build
from rbp.rate import forward
from rbp.rate.arguments import read
from rbp.rate.layout.layout import Layout
from rbp.rate.layout.outputs import steps_and_mean
from rbp.rate.neurons import compiled

RELU, BPTT, MEMOPT, RATE = "relu", "bptt", "bptt + memopt", "rate"
DEFAULT_MODES = (BPTT, RATE)
RELU_COMPILED, RATE_COMPILED, RATE_GRAPH = "relu compiled", "rate compiled", "rate compiled + graph"
NAMES = (RELU, BPTT, MEMOPT, RATE)
ALL = (RELU, RELU_COMPILED, BPTT, MEMOPT, RATE, RATE_COMPILED, RATE_GRAPH)
_WITHOUT_SECOND_RATE = (RELU, RELU_COMPILED, BPTT, MEMOPT, RATE)

Forward = Callable[[Tensor, int], Tensor]  # images [B, C, H, W] and T -> outputs [B, K]


def who(
    compile: bool,
    kernels: str,
    segments: Sequence[int] = (1,),
    grad_modes: Sequence[str] = DEFAULT_MODES,
) -> tuple[str, ...]:
    """Return the contestants' names.

    Args:
        compile: Whether to include contestants compiled by torch.compile.
        kernels: Kernels of the rate contestants. If "plain" or "compiled" rather than "auto", `rate` uses
            those, and there is no second rate contestant.
        segments: Numbers of time segments to measure rate mode with.
        grad_modes: The gradient modes to measure, beside the ReLU network.
    """
    known = NAMES if not compile else ALL if kernels == "auto" else _WITHOUT_SECOND_RATE
    names = [name for name in known if _is_of(name, grad_modes)]
    dial = tuple(with_segments(k) for k in segments if k > 1 and RATE in grad_modes)
    online = tuple(mode for mode in ONLINE if mode in grad_modes)
    return (*(name for name in names if name != RATE or 1 in segments), *dial, *online)


def _is_of(name: str, grad_modes: Sequence[str]) -> bool:
    if name in (RELU, RELU_COMPILED):
        return True
    return (BPTT if name in (BPTT, MEMOPT) else RATE) in grad_modes


def with_segments(k: int) -> str:
    """Return the name of the rate contestant with `k` time segments."""
    return RATE if k == 1 else f"{RATE}, {k} segments"


def segments_of(name: str) -> int:
    """Return a contestant's number of time segments: 1 except for those named by `with_segments`."""
    found = re.fullmatch(rf"{RATE}, (\d+) segments", name)
    return int(found[1]) if found else 1


def is_rate(name: str) -> bool:
    """Whether a name is that of a rate contestant, with any kernels and number of segments."""
    return name in (RATE, RATE_COMPILED, RATE_GRAPH) or segments_of(name) > 1


def contestant(
    name: str, cfg: DictConfig, example: Tensor, rate_options: dict[str, Any] | None = None
) -> tuple[nn.Module, Forward]:
    """Build a contestant's network and its forward pass over T steps, on the device of `example`.

    The ReLU network has a ReLU in place of every neuron and sees the image once: the unit of cost. BPTT uses
    SpikingJelly's own layers in the config's step mode, with its fastest neuron kernels (see
    rbp.bench.spikingjelly_nets). With memopt it adds SpikingJelly's gradient checkpointing and spike
    compression (level 1), as the rival in memory; what memopt recomputes in the backward pass is not counted
    in its bytes kept. An online mode has a step of its own (rbp.bench.step); its forward pass is that of
    rbp alone.

    Args:
        name: The contestant's name.
        cfg: The config of the network, with T.
        example: A batch of images [B, C, H, W].
        rate_options: Keyword arguments of `rbp.forward`, for rate contestants.

    Returns:
        The network and its forward pass.
    """
    net = build(cfg).to(example.device)
    layout = _layout(net, cfg, example)
    if name in (RELU, RELU_COMPILED):
        net = _relu_network(net, layout)
        # Compile separate kernels for each size and layout, and fail if anything cannot be compiled.
        run = torch.compile(net, fullgraph=True, dynamic=False) if name == RELU_COMPILED else net
        return net, lambda x, steps: run(x)
    if is_rate(name):
        return net, _rate(net, cfg, rate_options_of(name, rate_options or {}))
    if name in ONLINE:  # whose step is no forward pass alone
        how: dict[str, Any] = {"step_mode": "s", "grad_mode": "bptt", "layout": layout.name}
        return net, lambda x, steps: forward(net, x.expand(steps, *x.shape), **how)
    return _spikingjelly(name, net, layout, cfg, example)


def rate_options_of(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of `rbp.forward` for the rate contestant of this name."""
    if name in (RATE_COMPILED, RATE_GRAPH):
        return options | {"kernels": "compiled"}
    return options if name == RATE else options | {"segments": segments_of(name)}


def eager(name: str, net: nn.Module, cfg: DictConfig, forward: Forward, options: dict[str, Any]) -> Forward:
    """Return a forward pass with the same operations but no compiled kernels, so that torch sees them all."""
    if name in (RELU, RELU_COMPILED):
        return lambda x, steps: net(x)
    if is_rate(name):
        return _rate(net, cfg, rate_options_of(name, options) | {"kernels": "plain"})
    return forward


def runs_compiled(name: str, options: dict[str, Any], device: torch.device) -> bool:
    """Whether the contestant's operations run in kernels made by torch.compile."""
    if not is_rate(name):
        return name == RELU_COMPILED
    if segments_of(name) > 1:  # segments have only plain kernels
        return False
    kernels = rate_options_of(name, options).get("kernels", "auto")
    return compiled.wanted(kernels, device) and compiled.works(device)


def _rate(net: nn.Module, cfg: DictConfig, options: dict[str, Any]) -> Forward:
    """Return the forward pass of a rate contestant."""
    how = {"step_mode": cfg.step_mode, "grad_mode": "rate", "layout": cfg.arch.get("layout")} | options
    return lambda x, steps: forward(net, x.expand(steps, *x.shape), **how)


def _layout(net: nn.Module, cfg: DictConfig, example: Tensor) -> Layout:
    """Return how a network takes time, as `arch.layout` says or as is found out.

    Raises:
        ConfigError: It repeats an image itself, so that its number of steps cannot be set.
    """
    if cfg.arch.get("layout") == "static":
        raise ConfigError(
            f"arch={cfg.arch.name} with arch.layout=static: the network repeats an image itself, by its own "
            "number of steps; rbp bench needs one that takes steps or sequences (step, TB, BT)"
        )
    x_seq = example.expand(cfg.T, *example.shape)
    return read(net, x_seq, step_mode=cfg.step_mode, layout=cfg.arch.get("layout")).layout


def _spikingjelly(
    name: str, net: nn.Module, layout: Layout, cfg: DictConfig, example: Tensor
) -> tuple[nn.Module, Forward]:
    """Build BPTT with SpikingJelly's layers, and with memopt if the name says so.

    A network that takes sequences runs as it is written.
    """
    if layout.name == "step":
        net = as_spikingjelly(net)
        functional.set_step_mode(net, cfg.step_mode)
    if example.device.type == "cuda":
        with_float_states(net)
    if name == MEMOPT:
        net = checkpointed(net, lambda model: _bptt(model, layout, cfg.step_mode, example, cfg.T))
    return net, functools.partial(_bptt, net, layout, cfg.step_mode)


def _bptt(net: nn.Module, layout: Layout, step_mode: str, x: Tensor, steps: int) -> Tensor:
    """Return the time mean [B, K] of a SpikingJelly network's output, computed as in its tutorials."""
    functional.reset_net(net)
    if step_mode == "m":
        y = net(layout.seen_by_network(x.expand(steps, *x.shape)))
        return steps_and_mean(y, steps, len(x), False, layout.time_dim)
    total = layout.output_of_step(net(layout.one_step(x)), len(x))
    for _ in range(steps - 1):
        total = total + layout.output_of_step(net(layout.one_step(x)), len(x))
    return total / steps


def _relu_network(net: nn.Module, layout: Layout) -> nn.Module:
    """Put a ReLU in place of every neuron, and return the network as one of a single step."""
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, base.MemoryModule):
                setattr(module, name, nn.ReLU())
    return net if layout.name == "step" else _OfImages(net, layout)


class _OfImages(nn.Module):
    """A network of sequences, given images [B, C, H, W] as sequences of one step."""

    def __init__(self, net: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.net, self.layout = net, layout

    def forward(self, x: Tensor) -> Tensor:
        return self.layout.output_of_step(self.net(self.layout.one_step(x)), len(x))
