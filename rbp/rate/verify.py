"""Check that the engine handles a given network correctly.

`verify` compares the network's plain forward pass, without the engine, with BPTT and rate mode.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rbp.rate.api import forward
from rbp.rate.dispatch.pair import Pair
from rbp.rate.errors import InputError
from rbp.rate.layout.layout import Layout
from rbp.rate.layout.outputs import Called, steps_and_mean
from rbp.rate.layout.probe import find_layout
from rbp.rate.network.modules import Network, is_leaf
from rbp.rate.network.patching import neurons_reset, step_modes
from rbp.rate.registry import is_neuron
from rbp.rate.rules.dropout import DROPOUT

ForwardPass = Callable[[nn.Module, Tensor, int], Tensor]  # (network, batch [B, ...], T) -> time mean [B, K]


@dataclass(frozen=True)
class Verification:
    """Result of `verify`. Distances are relative, in the Euclidean norm.

    Attributes:
        outputs: Distance of the output over T steps from the network's own, by gradient mode.
        gradients: Distance of the gradients at T=1 from those of plain backpropagation, by gradient mode.
        differs: Path of the first leaf module whose output, averaged over its calls, differs from the
            network's own run, by gradient mode. Modes without a difference are left out. Modules whose output
            has another shape in the two runs are not compared.
        tolerance: Largest distance that counts as equal.
    """

    outputs: dict[str, float]
    gradients: dict[str, float]
    differs: dict[str, str]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether all outputs and gradients agree within the tolerance."""
        return max(*self.outputs.values(), *self.gradients.values()) <= self.tolerance

    def __str__(self) -> str:
        lines = [
            f"{mode:<5} output off by {output:.1e}, gradients at T=1 by {self.gradients[mode]:.1e}"
            + (f"; first at {self.differs[mode]}" if mode in self.differs else "")
            for mode, output in self.outputs.items()
        ]
        return "\n".join([*lines, "ok" if self.ok else f"not equal to {self.tolerance:g}"])


def verify(
    net: nn.Module, x: Tensor, *, T: int = 4, tolerance: float = 1e-4, layout: str | None = None
) -> Verification:
    """Compare a network's plain forward pass with `rbp.forward` in both gradient modes.

    Args:
        net: Network as for `rbp.forward`. It is copied and left unchanged; dropout is off in the copies,
            since the masks would differ.
        x: Batch [B, ...], shown at every step, on the device of net.
        T: Number of steps for the outputs. Gradients are compared at T=1, where BPTT and rate mode agree.
        tolerance: Largest relative distance that counts as equal; about 1e-4 is suitable for float32.
        layout: How the network handles time, see `rbp.forward`. With "static" the network sets T itself, and
            gradients are compared at that T, where those of rate mode are an approximation.

    Returns:
        The distances of outputs and gradients, and where they first appear.

    Raises:
        InputError: If x is not a batch, or as for `rbp.forward`.
        NoRuleError: As for `rbp.forward`.
    """
    if not isinstance(x, Tensor) or x.dim() < 1 or x.numel() == 0:
        raise InputError("x: a batch [B, ...] with at least one value is needed")
    seen = Layout(layout) if layout is not None else find_layout(Network(net), x, T, {}).layout
    runs: dict[str, ForwardPass] = {
        "own": _own_run(seen),
        **{m: _by_engine(m, seen) for m in ("bptt", "rate")},
    }
    outputs, means = {}, {}
    for name, run in runs.items():
        outputs[name], means[name] = _watched(_copy(net), x, T, run)
    gradients = {name: _gradients(_copy(net), x, run) for name, run in runs.items()}
    modes = ("bptt", "rate")
    differing = {mode: _first_difference(means["own"], means[mode], tolerance) for mode in modes}
    return Verification(
        outputs={mode: _distance(outputs[mode], outputs["own"]) for mode in modes},
        gradients={mode: _distance(gradients[mode], gradients["own"]) for mode in modes},
        differs={mode: path for mode, path in differing.items() if path is not None},
        tolerance=tolerance,
    )


def _copy(net: nn.Module) -> nn.Module:
    net = copy.deepcopy(net)
    for module in net.modules():
        if isinstance(module, DROPOUT):
            module.eval()
    return net


def _own_run(layout: Layout) -> ForwardPass:
    """Return a run without the engine: step by step, or all steps at once if the network handles time."""

    def single_steps(net: nn.Module, x: Tensor, steps: int) -> Tensor:
        network = Network(net)
        with neurons_reset(network), step_modes(network, "s"):
            return torch.stack([Called(network)(x) for _ in range(steps)]).mean(0)

    def at_once(net: nn.Module, x: Tensor, steps: int) -> Tensor:
        network = Network(net)
        with neurons_reset(network):
            if layout.name == "static":
                y = Called(network)(x)
                return y.mean(0) if y.dim() > 2 else y
            x_seq = x.expand(steps, *x.shape)
            y = Called(network)(layout.seen_by_network(x_seq))
            return steps_and_mean(y, steps, len(x), False, layout.time_dim)

    return single_steps if layout.name == "step" else at_once


def _by_engine(grad_mode: str, layout: Layout) -> ForwardPass:
    how: dict[str, Any] = {"grad_mode": grad_mode, "layout": layout.name}
    if layout.name == "static":
        return lambda net, x, steps: forward(net, x, **how)
    mode = "s" if layout.name == "step" else "m"
    return lambda net, x, steps: forward(net, x.expand(steps, *x.shape), step_mode=mode, **how)


def _watched(net: nn.Module, x: Tensor, steps: int, run: ForwardPass) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a run's output and each leaf module's mean output over its calls, by path in call order."""
    seen: dict[str, list[Tensor]] = {}
    hooks = [
        module.register_forward_hook(lambda module, args, out, path=path: _note(seen, path, out))
        for path, module in _layers(net)
    ]
    try:
        y = run(net, x, steps).detach()
    finally:
        for hook in hooks:
            hook.remove()
    return y, {path: torch.stack(found).mean(0) for path, found in seen.items()}


def _layers(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the neurons and the other modules without children, by path, but for what neurons hold."""
    neurons = [(path, module) for path, module in net.named_modules() if path and is_neuron(module)]
    inside = {child for _, module in neurons for child in module.modules()}
    leaves = [(p, m) for p, m in net.named_modules() if p and is_leaf(m)]
    return [*neurons, *((path, module) for path, module in leaves if module not in inside)]


def _note(seen: dict[str, list[Tensor]], path: str, out: Any) -> None:
    """Store the output of a layer's call, unless the pass only builds the graph of the rates (no spikes)."""
    if isinstance(out, Pair):
        out = out.spikes if out.spikes is None or out.time is not None else out.spikes[0]
    if isinstance(out, Tensor):
        seen.setdefault(path, []).append(out.detach().float())


def _gradients(net: nn.Module, x: Tensor, run: ForwardPass) -> Tensor:
    """Return all gradients at T=1, as one vector, of the outputs' sum with fixed random weights."""
    y = run(net, x, 1)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).to(y)
    (y * weights).sum().backward()
    found = [p.grad.flatten().float() for p in net.parameters() if p.grad is not None]
    return torch.cat(found) if found else torch.zeros(1)


def _first_difference(own: dict[str, Tensor], other: dict[str, Tensor], tolerance: float) -> str | None:
    for path, mean in own.items():
        if path in other and other[path].shape == mean.shape and _distance(other[path], mean) > tolerance:
            return path
    return None


def _distance(found: Tensor, truth: Tensor) -> float:
    if found.shape != truth.shape:
        return float("inf")
    return float((found - truth).norm() / truth.norm().clamp(min=1e-12))
