"""Which images of a batch a rank trains on, and which others it needs as mixup mixes them into its own."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rbp.data.transfer import to_device
from rbp.train.ranks import Ranks
from rbp.train.step.mixup import Target, draw


@dataclass(frozen=True)
class Share:
    """The images of a batch that a rank trains on, and those that are mixed into them.

    Attributes:
        needed: Positions in the batch, int64 [n], of the images that the rank needs; None for all.
        own: Where its own images are among those, int64 [m]; None for all in order.
        mixed_in: With mixup, where the image that is mixed into each of its own is among those.
        weight: The weight of its own images.
    """

    needed: Tensor | None = None
    own: Tensor | None = None
    mixed_in: Tensor | None = None
    weight: float = 1.0

    def take(self, x: Tensor, y: Tensor) -> tuple[Tensor, Target]:
        """Return this rank's images, mixed, and their target.

        Args:
            x: The needed images [n, C, H, W], or frames [n, T, C, H, W], which are mixed alike at every T.
            y: Their labels [n].
        """
        own, mixed_in = (i if i is None else to_device(i, y.device) for i in (self.own, self.mixed_in))
        own_x, own_y = (x, y) if own is None else (x[own], y[own])
        if mixed_in is None:
            return own_x, Target(own_y)
        mixed = own_x.mul(self.weight).add_(x[mixed_in], alpha=1 - self.weight)
        return mixed, Target(own_y, y[mixed_in], self.weight)


def share_of(
    images: int, ranks: Ranks, *, alpha: float, seed: int, epoch: int, batch: int, parts: int = 1
) -> Share:
    """Return this rank's share of a batch, mixed with images of the whole batch.

    One lambda is drawn for the batch. It and the pairs depend on seed, epoch and batch alone, so that they
    are the same on all ranks and in a resumed run.

    Args:
        images: Number of images of the batch.
        ranks: This process's place among the ranks.
        alpha: Both parameters of lambda's Beta distribution; 0 mixes nothing.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        batch: Number of the batch in the epoch, from 0.
        parts: Parts in which the batch is computed.
    """
    if not alpha:
        return Share() if ranks.world == 1 else Share(ranks.share(torch.arange(images), parts))
    weight, partners = draw(alpha, images, seed, epoch, batch)
    if ranks.world == 1:
        return Share(mixed_in=partners, weight=weight)
    own = ranks.share(torch.arange(images), parts)
    needed, places = torch.cat([own, partners[own]]).unique(return_inverse=True)
    own_places, mixed_places = places.split(len(own))
    return Share(needed, own_places, mixed_places, weight)
