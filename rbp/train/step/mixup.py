"""Mixup (Zhang et al., 2018): the images of a batch are mixed in pairs, and so are their losses."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from rbp.seeds import stream
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


def draw(alpha: float, images: int, seed: int, epoch: int, batch: int) -> tuple[float, Tensor]:
    """Return lambda of a batch and the number of the image that is mixed into each image, a permutation."""
    partners = torch.randperm(images, generator=stream(seed, "mixup pairs", epoch, batch))
    # Python's generator, as torch has no Beta distribution that takes one.
    weight = random.Random(stream(seed, "mixup", epoch, batch).initial_seed()).betavariate(alpha, alpha)
    return weight, partners
