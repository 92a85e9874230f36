"""Send random numbers drawn on the CPU to the images' device without blocking."""

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return CPU values on the device without waiting for the device.

    A blocking `.to` waits until the GPU has finished all work queued so far, so that training steps could no
    longer be queued ahead.
    """
    return values.to(device, non_blocking=True)
