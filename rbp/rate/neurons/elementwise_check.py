"""Does a neuron treat each element by itself, as its rule takes for granted? Tried once per neuron."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from rbp.rate.errors import NoRuleError
from rbp.rate.memory.draws import random_state, set_random_state
from rbp.rate.neurons.eligibility import summed_to
from rbp.rate.neurons.memories import lent, one_step

_checked: WeakSet[nn.Module] = WeakSet()


def check_elementwise(
    layer: Any, x: Tensor, memories: dict[str, Any], learnt: dict[str, Tensor], elements: dict[str, Tensor]
) -> None:
    """Compare one step of a neuron with what it would be element by element.

    With random weights w, the gradient of sum(w*s) by an input or a parameter must be that of sum(s), each
    element times its weight.

    Args:
        layer: the neuron.
        x: input current of a step, [B, ...].
        memories: its state before the step.
        learnt: its learnable parameters by name.
        elements: the same, one number per element of x.

    Raises:
        NoRuleError: if they differ.
    """
    of_spikingjelly = type(layer).__module__.startswith("spikingjelly.")
    if of_spikingjelly or layer in _checked or x.device.type == "meta":  # which has no numbers to compare
        return
    before = random_state(x.device)
    weights = torch.rand_like(x)
    set_random_state(before)
    own = _slopes(layer, x, memories, learnt, weights)
    set_random_state(before)
    alone = _slopes(layer, x, memories, elements, torch.ones_like(weights))
    set_random_state(before)
    expected = [alone[0], alone[1] * weights]
    expected += [
        summed_to(slope * weights, p.shape) for slope, p in zip(alone[2:], learnt.values(), strict=True)
    ]
    if not all(_equal(a, b) for a, b in zip(own, expected, strict=True)):
        raise NoRuleError(
            "it does not treat each element by itself: its spikes at one place depend on its input or on a "
            "parameter's number at another"
        )
    _checked.add(layer)


def _slopes(
    layer: Any, x: Tensor, memories: dict[str, Any], parameters: dict[str, Tensor], weights: Tensor
) -> list[Tensor]:
    """Return the spikes, and the gradient of their weighted sum by the input and the parameters."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        parameters = {name: p.detach().clone().requires_grad_() for name, p in parameters.items()}
        with lent(layer, memories, parameters):
            s = one_step(layer, x)
        inputs = (x, *parameters.values())
        if not s.requires_grad:
            return [s, *(torch.zeros_like(i) for i in inputs)]
        grads = torch.autograd.grad((s * weights).sum(), inputs, allow_unused=True)
    return [
        s.detach(),
        *(torch.zeros_like(i) if g is None else g for g, i in zip(grads, inputs, strict=True)),
    ]


def _equal(a: Tensor, b: Tensor) -> bool:
    tolerance = 1e-3 * float(b.abs().max()) if b.numel() else 0.0
    return bool(((a - b).abs() <= tolerance + 1e-6).all())
