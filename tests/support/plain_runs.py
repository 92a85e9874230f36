"""A network's own run, as SpikingJelly's users write it: what the engine's runs are held against."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from spikingjelly.activation_based import base, functional
from torch import Tensor, nn

from tests.support.networks import BPTT, RATE, distance, step


def as_seen(x_seq: Tensor, layout: str) -> Tensor:
    """x_seq, time first, as a network of this layout takes it."""
    return x_seq.transpose(0, 1).contiguous() if layout == "BT" else x_seq


def plain(net: nn.Module, x: Tensor, layout: str, step_mode: str = "m", **kwargs: Any) -> Tensor:
    """The time mean of the network's own output, [B, K].

    x: x_seq, time first; an image where the layout is "static". Step mode s is one call for each step, and
    with "TB" and "BT" on a sequence of one. Layout "step" is run in SpikingJelly's own step modes, so in m
    the network is of its wrappers.
    """
    functional.reset_net(net)
    modes = {m: m.step_mode for m in net.modules() if hasattr(m, "step_mode")}
    if layout == "step":
        functional.set_step_mode(net, step_mode)
    if step_mode == "m" or layout == "static":
        y = _mean(net(as_seen(x, layout), **kwargs), layout)
    elif layout == "step":
        y = torch.stack([net(x_t, **kwargs) for x_t in x]).mean(0)
    else:
        steps = (as_seen(x[t : t + 1], layout) for t in range(len(x)))
        y = torch.stack([_mean(net(x_t, **kwargs), layout) for x_t in steps]).mean(0)
    functional.reset_net(net)
    for module, mode in modes.items():
        module.step_mode = mode
    return y


def _mean(y: Tensor, layout: str) -> Tensor:
    return y if y.dim() == 2 else y.mean(1 if layout == "BT" else 0)


@contextmanager
def spikes_counted(net: nn.Module) -> Iterator[dict[str, float]]:
    """The firing rate of each neuron layer, by its path, once the network has run."""
    rates: dict[str, list[float]] = {}
    handles = [
        m.register_forward_hook(
            lambda _, __, y, path=path: rates.setdefault(path, []).append(float(y.detach().mean()))
        )
        for path, m in net.named_modules()
        if isinstance(m, base.MemoryModule)
    ]
    means: dict[str, float] = {}
    try:
        yield means
    finally:
        for handle in handles:
            handle.remove()
        means.update({path: sum(r) / len(r) for path, r in rates.items()})


def gradients_of(net: nn.Module, y: Tensor) -> dict[str, Tensor]:
    net.zero_grad()
    F.cross_entropy(y, torch.arange(len(y)) % y.shape[-1]).backward()
    trained = {k: p for k, p in net.named_parameters() if p.requires_grad}
    return {k: torch.zeros_like(p) if p.grad is None else p.grad.clone() for k, p in trained.items()}


class Truth:
    """The plain run of a network in float64, its gradients, running statistics and firing rates.

    `twin`: the network that runs in place of net, with its weights, where net itself cannot (a network of
    torch's layers in step mode m).
    """

    def __init__(
        self,
        net: nn.Module,
        x: Tensor,
        layout: str,
        step_mode: str = "m",
        twin: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        self.state = copy.deepcopy(net.state_dict())
        ran = twin or net
        ran.load_state_dict(self.state)
        with spikes_counted(ran) as self.firing:
            y = plain(ran, x, "TB" if twin is not None else layout, step_mode, **kwargs)
        self.y, self.gradients = y.detach(), gradients_of(ran, y)
        self.statistics = {k: b.clone() for k, b in ran.named_buffers()}
        net.load_state_dict(self.state)

    def holds(self, net: nn.Module, x: Tensor, *, one_step: bool, **how: Any) -> None:
        """BPTT's outputs, gradients and running statistics are these, rate's outputs too, and at one step its
        gradients."""
        for grad_mode in (BPTT, RATE):
            net.load_state_dict(self.state)
            y, gradients = step(net, x, **grad_mode, **how)
            torch.testing.assert_close(y, self.y, rtol=1e-6, atol=1e-6)
            for k, b in net.named_buffers():
                torch.testing.assert_close(b, self.statistics[k], rtol=1e-6, atol=1e-6)
            if one_step or grad_mode is BPTT:
                assert distance(gradients, self.gradients) < 1e-6
            assert all(g.isfinite().all() for g in gradients.values())
        net.load_state_dict(self.state)


def once(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return make().double()
