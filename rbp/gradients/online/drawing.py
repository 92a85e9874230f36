"""Which of the T time steps an online mode differentiates: all, or K drawn anew per batch (SLTT-K)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from rbp.rate.arguments import is_whole
from rbp.rate.errors import InputError


class Choice(NamedTuple):
    """The steps to differentiate, for a T that is not known yet.

    Attributes:
        K: Their number; None: all.
        rescale: Whether their losses are multiplied by T/K.
        generator: What they are drawn from; None: torch's global generator.
    """

    K: int | None = None
    rescale: bool = False
    generator: torch.Generator | None = None

    def steps(self, T: int) -> set[int]:
        """Draw the steps, without replacement.

        Raises:
            InputError: There are fewer than K.
        """
        if self.K is None:
            return set(range(T))
        if self.K > T:
            raise InputError(f"backprop_steps={self.K}: a whole number from 1 to T={T} is needed, or None")
        return set(torch.randperm(T, generator=self.generator, device="cpu")[: self.K].tolist())

    def factor(self, T: int) -> float:
        """Return what each step's loss is multiplied by."""
        return 1 / self.K if self.rescale and self.K is not None else 1 / T


def choice(K: Any, rescale: Any, generator: torch.Generator | None) -> Choice:
    """Check the arguments of `rbp.backward` that choose steps.

    Raises:
        InputError: One of them is wrong.
    """
    if K is not None and (not is_whole(K) or K < 1):
        raise InputError(f"backprop_steps={K!r}: a whole number from 1 to T is needed, or None for all steps")
    if not isinstance(rescale, bool):
        raise InputError(f"rescale={rescale!r}: True or False")
    if rescale and K is None:
        raise InputError("rescale=True without backprop_steps: all steps count already; leave rescale out")
    return Choice(K, rescale, generator)
