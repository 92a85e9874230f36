"""Mixup (Zhang et al., 2018): the images of a batch are mixed in pairs, and so are their losses."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from rbp.data.transfer import to_device
from rbp.seeds import stream
from rbp.train.ranks import Ranks
from rbp.train.step.loss import LossFunction


@dataclass(frozen=True)
class Target:
    """What the outputs of a batch are to be.

    Attributes:
        labels: Labels [B].
        mixed_in: With mixup, the labels [B] of the images that are mixed in; else None.
        weight: The weight of `labels`, lambda; that of `mixed_in` is the rest.
    """

    labels: Tensor
    mixed_in: Tensor | None = None
    weight: float = 1.0

    def loss(self, loss: LossFunction, outputs: Tensor) -> Tensor:
        """Return the loss of outputs [B, K], weighted between the two labels of each image.

        For the cross-entropy, this is the loss for the mixed targets. It holds for any loss of labels.
        """
        if self.mixed_in is None:
            return loss(outputs, self.labels)
        return self.weight * loss(outputs, self.labels) + (1 - self.weight) * loss(outputs, self.mixed_in)

    def correct(self, outputs: Tensor) -> Tensor:
        """Return how many answers are the label with the larger weight, as a scalar tensor."""
        heavier = self.labels if self.mixed_in is None or self.weight >= 0.5 else self.mixed_in
        return outputs.argmax(1).eq(heavier).sum()

    def split(self, parts: int) -> "list[Target]":
        """Return the targets of the parts into which `Tensor.tensor_split` splits the batch."""
        labels = self.labels.tensor_split(parts)
        if self.mixed_in is None:
            return [Target(own) for own in labels]
        mixed_in = self.mixed_in.tensor_split(parts)
        return [Target(*both, self.weight) for both in zip(labels, mixed_in, strict=True)]


def mixed_share(
    x: Tensor, y: Tensor, ranks: Ranks, *, alpha: float, seed: int, epoch: int, batch: int, parts: int = 1
) -> tuple[Tensor, Target]:
    """Return this rank's share of a batch, mixed with images of the whole batch.

    One lambda is drawn for the batch. It and the pairs depend on seed, epoch and batch alone, so that they
    are the same on all ranks and in a resumed run.

    Args:
        x: All images of the batch [B, C, H, W], or frames [B, T, C, H, W], which are mixed alike at every T.
        y: Labels [B].
        ranks: This process's place among the ranks.
        alpha: Both parameters of lambda's Beta distribution; 0 mixes nothing.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        batch: Number of the batch in the epoch, from 0.
        parts: Parts in which the batch is computed.
    """
    own_x, own_y = ranks.share(x, parts), ranks.share(y, parts)
    if not alpha:
        return own_x, Target(own_y)
    weight, partners = draw(alpha, len(y), seed, epoch, batch)
    own = to_device(ranks.share(partners, parts), y.device)
    return own_x.mul(weight).add_(x[own], alpha=1 - weight), Target(own_y, y[own], weight)


def draw(alpha: float, images: int, seed: int, epoch: int, batch: int) -> tuple[float, Tensor]:
    """Return lambda of a batch and the number of the image that is mixed into each image, a permutation."""
    partners = torch.randperm(images, generator=stream(seed, "mixup pairs", epoch, batch))
    # Python's generator, as torch has no Beta distribution that takes one.
    weight = random.Random(stream(seed, "mixup", epoch, batch).initial_seed()).betavariate(alpha, alpha)
    return weight, partners
