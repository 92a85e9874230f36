"""Numbers drawn on the CPU, on their way to the images' device."""

import torch
from torch import Tensor


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Values of the CPU on the device. A plain `.to` would wait until a GPU has done all that it was given
    before, so that the steps of training could no longer be queued ahead of it."""
    return values.to(device, non_blocking=True)
