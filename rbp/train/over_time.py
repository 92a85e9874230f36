"""How many answers are right after t = 1, ..., T steps, by the mean of the outputs so far."""

import torch
from torch import Tensor

NO_STEPS = "the network takes the time mean of its output itself, and so hides its steps"


def time_mean(y_TBK: Tensor, step_mode: str) -> Tensor:
    """Return the time mean [B, K] of the steps' outputs, with the bits of that of `rbp.forward`."""
    return y_TBK.mean(0) if step_mode == "m" else sum(y_TBK[1:], y_TBK[0]) / len(y_TBK)


def right_so_far(y_TBK: Tensor, labels: Tensor) -> Tensor:
    """Return [T]: how many of a batch are right by the sum of the outputs up to each step."""
    sums = y_TBK.to(torch.float32).cumsum(0)
    return (sums.argmax(2) == labels).sum(1)
