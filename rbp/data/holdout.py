"""Hold some images out of a set, the same share of every class."""

import torch
from torch import Generator, Tensor

from rbp.data.images import Images


def hold_out(images: Images, n: int, generator: Generator) -> tuple[Images, Images]:
    """(the rest, n held-out images), drawn without replacement; both keep the order of the files.

    Every class gives n times its share of the images, rounded down; the places left over go to the classes
    that rounding down cost most.
    """
    labels = images.labels.cpu()
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label, count in enumerate(_places(torch.bincount(labels), n).tolist()):
        members = (labels == label).nonzero()[:, 0]
        held_out[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return images.take((~held_out).nonzero()[:, 0]), images.take(held_out.nonzero()[:, 0])


def _places(class_sizes: Tensor, n: int) -> Tensor:
    """How many of n places each class gets, int64 [K]; in whole numbers, so that no rounding error counts."""
    shares = class_sizes * n
    total = int(class_sizes.sum())
    places = shares // total
    left_over = n - int(places.sum())
    places[(shares % total).argsort(descending=True, stable=True)[:left_over]] += 1
    return places
