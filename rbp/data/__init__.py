"""Data sets: from a `dataset` config group to batches of normalised images."""

from rbp.data.batches import eval_batches, n_train_batches, train_batches
from rbp.data.images import Images, Splits
from rbp.data.loading import load

__all__ = ["Images", "Splits", "eval_batches", "load", "n_train_batches", "train_batches"]
