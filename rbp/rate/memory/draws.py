"""Random numbers that a network draws itself: the same at every step of a call, as a dropout mask is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor


class RandomState(NamedTuple):
    """The state of Python's, torch's and, for a GPU, the device's random numbers."""

    python: Any
    cpu: Tensor
    gpu: Tensor | None
    device: torch.device


def random_state(device: torch.device) -> RandomState:
    """The state now, for a network on this device."""
    gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return RandomState(random.getstate(), torch.get_rng_state(), gpu, device)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Whatever is drawn on the CPU, random numbers go on as before."""
    before = random_state(torch.device("cpu"))
    try:
        yield
    finally:
        set_random_state(before)


def set_random_state(state: RandomState) -> None:
    """Go on from there."""
    random.setstate(state.python)
    torch.set_rng_state(state.cpu)
    if state.gpu is not None:
        torch.cuda.set_rng_state(state.gpu, state.device)
