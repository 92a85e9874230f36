"""Find the parameters whose gradient is 0 in truth, such as the bias of a layer before batch normalisation.

What a pass computes there is rounding alone, so that its cosine and norm say nothing. In float64 it is some
1e-16 of the whole gradient, far below any gradient that is not 0.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from rbp.gradients.backward import backward
from rbp.gradients.objective import Loss, outside_autocast
from rbp.rate.errors import InputError

VANISHING = 1e-12  # share of the norm of the whole gradient


def without_gradient(net: nn.Module, x: Tensor, loss: Loss, how: dict[str, Any]) -> list[str]:
    """Return the parameters that BPTT gives no gradient, or one that is 0 but for rounding, on a batch.

    Args:
        net: The network, which is copied.
        x: Input as of `rbp.backward`.
        loss: Maps outputs [B, K] to a scalar; it gets them in the precision of the network's weights.
        how: Further arguments of `rbp.backward`.

    Raises:
        InputError: The network does not run in float64.
    """
    dtype = next((p.dtype for p in net.parameters()), torch.float32)
    try:
        wide = copy.deepcopy(net).double()
        with outside_autocast(x.device):
            backward(wide, x.double(), lambda y: loss(y.to(dtype)), grad_mode="bptt", **how)
    except Exception as error:  # whatever a network that knows float32 alone raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(
            "alignment: the network does not run as a copy in float64, which tells gradients that are 0 in "
            f"truth from rounding: {reason}"
        ) from error
    norms = {name: 0.0 if p.grad is None else float(p.grad.norm()) for name, p in wide.named_parameters()}
    whole = sum(norm**2 for norm in norms.values()) ** 0.5
    return [name for name, norm in norms.items() if norm <= VANISHING * whole]
