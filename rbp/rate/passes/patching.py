"""Leaving the network as it was: whatever a pass changes in it is put back, also when the pass fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from spikingjelly.activation_based import base, layer
from torch import nn

from rbp.rate.errors import InputError

# They hand their children single steps, or T*B of them as one batch: the children keep a step mode of their
# own.
CONTAINERS = (
    *(
        layer.StepModeContainer,
        layer.MultiStepContainer,
        layer.SeqToANNContainer,
        layer.TLastMultiStepContainer,
        layer.TLastSeqToANNContainer,
    ),
    *(layer.ElementWiseRecurrentContainer, layer.LinearRecurrentContainer),
)


@contextmanager
def neurons_reset(net: nn.Module) -> Iterator[None]:
    """Neurons, and what else keeps a state from step to step, start and end at rest."""
    stateful: list[Any] = [m for m in net.modules() if isinstance(m, base.StepModule) and hasattr(m, "reset")]
    try:
        for module in stateful:
            module.reset()
        yield
    finally:
        for module in stateful:
            module.reset()


@contextmanager
def step_modes(net: nn.Module, step_mode: str) -> Iterator[None]:
    """Every layer that knows step modes in this one; InputError where one cannot be."""
    knowing = [m for path, m in with_step_modes(net) if _chooses(path, m, step_mode)]
    before = [(module, module.step_mode) for module in knowing]
    try:
        for module, _ in before:
            module.step_mode = step_mode
        yield
    finally:
        for module, old in before:
            module.step_mode = old


def with_step_modes(module: nn.Module, path: str = "") -> Iterator[tuple[str, base.StepModule]]:
    """The layers that know step modes, but for what a container holds, with their paths."""
    if isinstance(module, base.StepModule):
        yield path, module
    if not isinstance(module, CONTAINERS):
        for name, child in module.named_children():
            yield from with_step_modes(child, f"{path}.{name}" if path else name)


def _chooses(path: str, module: base.StepModule, step_mode: str) -> bool:
    """Whether the layer knows both modes; InputError where it knows the other one only."""
    allowed = module.supported_step_mode()
    if step_mode not in allowed:
        kind = type(module).__name__
        takes = "all time steps at once" if "m" in allowed else "one time step at a time"
        raise InputError(
            f"step_mode={step_mode!r}: {path} ({kind}) takes {takes}; use step_mode={allowed[0]!r}"
        )
    return len(allowed) > 1


@contextmanager
def replaced(net: nn.Module, choose: Callable[[str, nn.Module], Callable | None]) -> Iterator[None]:
    """Give modules another forward (where choose returns one) and take it away again."""
    before: list[tuple[nn.Module, Callable | None]] = []
    try:
        for path, module in net.named_modules():
            new = choose(path, module)
            if new is not None:
                before.append((module, module.__dict__.get("forward")))
                module.__dict__["forward"] = new
        yield
    finally:
        for module, old in before:
            if old is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = old


@contextmanager
def stand_in(parent: nn.Module, name: str, child: nn.Module) -> Iterator[None]:
    """Let child stand in for parent's child of that name."""
    own = parent._modules[name]
    try:
        parent._modules[name] = child
        yield
    finally:
        parent._modules[name] = own
