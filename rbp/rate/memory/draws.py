"""Save and restore the random state.

A pass rewinds it so that the random numbers a network draws in its own forward are the same at every time
step, as a dropout mask is.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor


class RandomState(NamedTuple):
    """The state of the random number generators of Python, of torch and, on a GPU, of the device."""

    python: Any
    cpu: Tensor
    gpu: Tensor | None
    device: torch.device


def random_state(device: torch.device) -> RandomState:
    """Return the current state, for a network on the given device."""
    gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return RandomState(random.getstate(), torch.get_rng_state(), gpu, device)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Restore the states of Python's and torch's CPU generators on exit."""
    before = random_state(torch.device("cpu"))
    try:
        yield
    finally:
        set_random_state(before)


def set_random_state(state: RandomState) -> None:
    """Continue from a state that `random_state` returned."""
    random.setstate(state.python)
    torch.set_rng_state(state.cpu)
    if state.gpu is not None:
        torch.cuda.set_rng_state(state.gpu, state.device)
