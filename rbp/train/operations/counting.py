"""Counting operations in the course of an evaluation: on which images, and by which rank."""

import contextlib
from contextlib import AbstractContextManager
from typing import Any

from omegaconf import DictConfig
from torch import Tensor, nn

from rbp.train.operations.calls import Counts
from rbp.train.operations.counter import Counter, is_compiled
from rbp.train.operations.energy import operations
from rbp.train.ranks import Ranks

# What is counted: one image in ONE_IN of every second batch, but of at most MOST_BATCHES. They are spread
# over the images, which may be sorted by class. docs/energy.md has what it costs: about 2 % of an evaluation
# of a few hundred images, less where there are more.
ONE_IN = 16
MOST_BATCHES = 8


class Counting:
    """Counts operations during one evaluation.

    Args:
        cfg: The run's config.
        net: The network.
        batches: Number of batches of the evaluation, over all ranks.

    Attributes:
        why_not: Why nothing can be counted; None if something can.
    """

    def __init__(self, cfg: DictConfig, net: nn.Module, batches: int) -> None:
        self.counter = Counter(net, cfg.T, single_steps=cfg.step_mode == "s", one_in=ONE_IN)
        self.every = max(2, -(-batches // MOST_BATCHES))
        self.why_not = "torch.compile hides what the network computes" if is_compiled(net) else None

    def batch(self, number: int, x: Tensor) -> AbstractContextManager[None]:
        """Count the operations inside the block, if this batch is one of those.

        Args:
            number: Number of the batch among those of all ranks, from 0.
            x: Images [B, C, H, W], or frames [B, T, C, H, W].
        """
        if self.why_not is not None or number % self.every:
            return contextlib.nullcontext()
        return self.counter.batch(x.shape if x.dim() < 5 else x[:, 0].shape)

    def operations(self, ranks: Ranks) -> dict[str, Any] | None:
        """Return the operations that all ranks have counted."""
        if self.why_not is not None:
            return None
        counts = Counts(self.counter.T)
        for found in ranks.gather(self.counter.counts):
            counts.add(found)
        return operations(counts)
