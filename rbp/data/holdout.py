"""Stratified splitting: hold out the same share of every class of a set of images."""

from typing import Protocol, Self, TypeVar

import torch
from torch import Generator, Tensor


class Labelled(Protocol):
    """What is split: Images, or ImageFiles."""

    @property
    def labels(self) -> Tensor:
        """Labels, int64 [N]."""

    def take(self, indices: Tensor) -> Self:
        """Return those at the positions `indices`, int64 [n]."""


Set = TypeVar("Set", bound=Labelled)


def hold_out(images: Set, n: int, generator: Generator) -> tuple[Set, Set]:
    """Draw n images without replacement, stratified by class.

    Every class contributes n times its share of the images, rounded down. The remaining places go to the
    classes that lost most by rounding down.

    Returns:
        (the rest, the n held-out images), both in their original order.
    """
    labels = images.labels.cpu()
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label, count in enumerate(_places(torch.bincount(labels), n).tolist()):
        members = (labels == label).nonzero()[:, 0]
        held_out[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return images.take((~held_out).nonzero()[:, 0]), images.take(held_out.nonzero()[:, 0])


def _places(class_sizes: Tensor, n: int) -> Tensor:
    """Return how many of n places each class gets, int64 [K]; integer arithmetic avoids rounding errors."""
    shares = class_sizes * n
    total = int(class_sizes.sum())
    places = shares // total
    left_over = n - int(places.sum())
    places[(shares % total).argsort(descending=True, stable=True)[:left_over]] += 1
    return places
