"""Losses as a lab writes them, right ones and wrong ones."""

import torch
import torch.nn.functional as F
from torch import Tensor


def focal(outputs: Tensor, labels: Tensor, gamma: float = 0.0) -> Tensor:
    """(1 - p)^gamma times the cross-entropy, where p is the probability of the label."""
    log_p = F.log_softmax(outputs, 1).gather(1, labels[:, None])
    return -((1 - log_p.exp()) ** gamma * log_p).mean()


def total(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs, labels, reduction="sum")


def of_each_image(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs, labels, reduction="none")


def without_gradient(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs.detach(), labels)


def number(outputs: Tensor, labels: Tensor) -> float:
    return F.cross_entropy(outputs, labels).item()


def failing(outputs: Tensor, labels: Tensor) -> Tensor:
    return outputs[:, labels, 0]


def weighted(outputs: Tensor, labels: Tensor) -> Tensor:
    """Classes from 5 on count five times: a mean by weights, not by images."""
    weights = torch.ones(outputs.shape[1])
    weights[5:] = 5
    return F.cross_entropy(outputs, labels, weight=weights)


def but_the_last_class(outputs: Tensor, labels: Tensor) -> Tensor:
    """Images of the last class do not count."""
    return F.cross_entropy(outputs, labels, ignore_index=outputs.shape[1] - 1)


def spread_of_classes(outputs: Tensor, labels: Tensor) -> Tensor:
    """A loss of pairs of images: the spread of the outputs within each class is added."""
    apart = (outputs[:, None] - outputs[None]).square().sum(2)
    same = labels[:, None] == labels[None]
    return F.cross_entropy(outputs, labels) + (apart * same).mean()


def changes_labels(outputs: Tensor, labels: Tensor) -> Tensor:
    """Works in place on the labels."""
    return F.cross_entropy(outputs, labels.zero_())


def changes_outputs(outputs: Tensor, labels: Tensor) -> Tensor:
    """Works in place on the outputs' memory."""
    outputs.data.mul_(2)
    return F.cross_entropy(outputs, labels)
