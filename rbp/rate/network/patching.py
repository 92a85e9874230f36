"""Context managers that change a network for one pass and restore it, also if the pass fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

from torch import nn

from rbp.rate.errors import InputError
from rbp.rate.network.modules import Layer, Network


@contextmanager
def neurons_reset(network: Network) -> Iterator[None]:
    """Reset neurons and SpikingJelly's other stateful modules on entry and on exit."""
    try:
        for module in network.stateful:
            module.reset()
        yield
    finally:
        for module in network.stateful:
            module.reset()


@contextmanager
def step_modes(network: Network, step_mode: str) -> Iterator[None]:
    """Set the step mode of every layer that has one, except those inside a container.

    Raises:
        InputError: a layer does not support this step mode.
    """
    before = [
        (found.module, found.module.step_mode)
        for found in network.with_step_modes
        if _chooses(found, step_mode)
    ]
    try:
        for module, _ in before:
            module.step_mode = step_mode  # type: ignore[assignment]
        yield
    finally:
        for module, old in before:
            module.step_mode = old


def _chooses(found: Layer, step_mode: str) -> bool:
    """Whether the layer supports both step modes. Raise InputError if it supports only the other one."""
    module: Any = found.module
    allowed = module.supported_step_mode()
    if step_mode not in allowed:
        takes = "all time steps at once" if "m" in allowed else "one time step at a time"
        raise InputError(
            f"step_mode={step_mode!r}: {found.path} ({type(module).__name__}) takes {takes}; use "
            f"step_mode={allowed[0]!r}"
        )
    return len(allowed) > 1


@contextmanager
def replaced(network: Network, choose: Callable[[Layer], Callable | None]) -> Iterator[None]:
    """Replace the forward of every module for which `choose` returns a function (not None)."""
    before: list[tuple[nn.Module, Callable | None]] = []
    try:
        for found in network.layers:
            new = choose(found)
            if new is not None:
                old = found.module.__dict__.get("forward")
                before.append((found.module, old))
                if isinstance(new, FunctionType):
                    new.instead_of = old  # type: ignore[attr-defined]
                found.module.__dict__["forward"] = new
        yield
    finally:
        for module, old in before:
            if old is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = old


@contextmanager
def stand_in(parent: nn.Module, name: str, child: nn.Module) -> Iterator[None]:
    """Replace the parent's child of this name by another module."""
    own = parent._modules[name]
    try:
        parent._modules[name] = child
        yield
    finally:
        parent._modules[name] = own
