"""Training one cell: from a frozen config to a run folder with its result."""

from rbp.train.evaluate import evaluate
from rbp.train.run import train

__all__ = ["evaluate", "train"]
