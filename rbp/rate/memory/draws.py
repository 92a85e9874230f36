"""Save and restore the random state.

A pass rewinds it so that the random numbers a network draws in its own forward are the same at every time
step, as a dropout mask is.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor


class RandomState(NamedTuple):
    """The state of the random number generators of Python, of torch and, on a GPU, of the device.

    own: the user's own generators with their states, see `with_generators`.
    """

    python: Any
    numpy: Any
    cpu: Tensor
    gpu: Tensor | None
    device: torch.device
    own: list[tuple[torch.Generator, Tensor]]


def random_state(device: torch.device) -> RandomState:
    """Return the current state, for a network on the given device."""
    gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    numpy = sys.modules.get("numpy")
    of_numpy = None if numpy is None else numpy.random.get_state()
    own = [(generator, generator.get_state()) for generator in _own.get()]
    return RandomState(random.getstate(), of_numpy, torch.get_rng_state(), gpu, device, own)


_own: ContextVar[Sequence[torch.Generator]] = ContextVar("own generators", default=())


@contextmanager
def with_generators(generators: Sequence[torch.Generator]) -> Iterator[None]:
    """Let these generators, which a network draws from, be part of the random state inside the block."""
    before = _own.set(generators)
    try:
        yield
    finally:
        _own.reset(before)


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Restore the random state on exit, for a network on the given device."""
    before = random_state(device)
    try:
        yield
    finally:
        set_random_state(before)


def set_random_state(state: RandomState) -> None:
    """Continue from a state that `random_state` returned."""
    random.setstate(state.python)
    if state.numpy is not None:
        sys.modules["numpy"].random.set_state(state.numpy)
    torch.set_rng_state(state.cpu)
    if state.gpu is not None:
        torch.cuda.set_rng_state(state.gpu, state.device)
    for generator, own in state.own:
        generator.set_state(own)


def at_each_step(f: Callable[[Any], Any], steps: Sequence[Any], device: torch.device) -> list[Any]:
    """Apply f to each step; whatever random numbers it draws are the same at every step."""
    before, results = random_state(device), []
    for t, step in enumerate(steps):
        if t:
            set_random_state(before)
        results.append(f(step))
    return results
