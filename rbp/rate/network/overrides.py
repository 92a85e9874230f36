"""Which of SpikingJelly's methods a user's subclass overrides, and which of them SpikingJelly then calls.

Its neurons compute many steps in code of their own, apart from that of a single step. A subclass that
overrides only the single step would compute something else in step mode m.
"""

from __future__ import annotations

from functools import lru_cache
from types import FunctionType
from typing import Any

from spikingjelly.activation_based import base, neuron
from torch import nn

from rbp.rate.errors import InputError
from rbp.rate.network.owners import written_by_user

_SINGLE = ("single_step_forward", "single_step_functional_forward")
_MULTI = ("multi_step_forward", "multi_step_functional_forward")
_EQUATIONS = ("neuronal_charge", "neuronal_fire", "neuronal_reset")


@lru_cache(maxsize=1024)
def loops_over_steps(kind: type[base.MemoryModule]) -> bool:
    """Whether all steps of a layer type are its single step in a loop.

    They are where SpikingJelly's MemoryModule runs them, and where the user's own code overrides the single
    step alone.
    """
    single, multi = _definer(kind, _SINGLE), _definer(kind, _MULTI)
    overridden = single is not multi and issubclass(single, multi) and written_by_user(single)
    return multi is base.MemoryModule or overridden


def check_overrides(module: nn.Module) -> None:
    """Refuse a neuron whose own equations nothing calls.

    Raises:
        InputError: if it overrides neuronal_charge, neuronal_fire or neuronal_reset, and neither SpikingJelly
            nor the user's own code calls it.
    """
    kind: Any = type(module)
    if isinstance(module, neuron.BaseNode) and (name := _never_called(kind)) is not None:
        known = next(k for k in kind.__mro__ if not written_by_user(k))
        raise InputError(
            f"the neuron {kind.__qualname__} overrides {name}, which SpikingJelly's {known.__name__} "
            "does not call: derive it from one of SpikingJelly's simple neurons (SimpleBaseNode, "
            "SimpleLIFNode), which do, or override single_step_forward"
        )


@lru_cache(maxsize=1024)
def _never_called(kind: type[neuron.BaseNode]) -> str | None:
    """Return the name of an equation of the user's own that nothing calls; None if there is none."""
    methods: list[Any] = [getattr(kind, name, None) for name in ("forward", *_SINGLE, *_MULTI)]
    functions = [method for method in methods if isinstance(method, FunctionType)]
    if any(written_by_user(function) for function in functions):
        return None
    called = {name for function in functions for name in function.__code__.co_names}
    own = (name for name in _EQUATIONS if hasattr(kind, name) and written_by_user(_definer(kind, (name,))))
    return next((name for name in own if name not in called), None)


def _definer(kind: type, names: tuple[str, ...]) -> type:
    """Return the most derived class that defines one of the methods."""
    return next(k for k in kind.__mro__ if any(name in vars(k) for name in names))
