"""Rate mode, step mode m, for SpikingJelly's containers that run their children one step after another."""

from __future__ import annotations

import torch
from spikingjelly.activation_based import layer
from torch import nn

from rbp.rate.dispatch.carry import hide, show
from rbp.rate.dispatch.pair import Pair
from rbp.rate.memory.forward_pass import ForwardPass


def goes_step_by_step(module: nn.Module) -> bool:
    """Whether the module is a container that calls its children step by step, keeping their state."""
    if isinstance(module, layer.StepModeContainer):
        return module.stateful and module.step_mode == "m"
    return isinstance(module, layer.MultiStepContainer)


def by_single_steps(container: nn.Module, x: Pair) -> Pair:
    """Run a container of single steps as a nested pass in step mode s.

    Batch normalisation inside it thus uses the statistics of each step, as in the container's own forward.

    Args:
        container: a module for which `goes_step_by_step` holds.
        x: a pair that shows [T, B, ...].

    Returns:
        The output, a pair that shows [T, B, ...].
    """
    hidden = hide(x, sequence=True)
    assert hidden.spikes is not None and hidden.rate is not None
    k = x.run.k
    run = ForwardPass(x.run.T, rate=True, single_step=True, kernels=x.run.kernels, k=k, coupled=x.run.coupled)
    run.drafts, run.net = x.run.drafts, x.run.net
    outputs = []
    with torch.no_grad():
        for step in hidden.spikes.split(1):
            y = nn.Sequential.forward(container, Pair(step, None, run))  # type: ignore[arg-type]
            outputs.append(y.spikes)
            run.next_pass()
    rates = hidden.rate if k == 1 else hidden.rate.unflatten(0, (k, -1))
    y = nn.Sequential.forward(container, Pair(None, rates, run))  # type: ignore[arg-type]
    rate = y.rate if k == 1 else y.rate.flatten(0, 1)
    return show(Pair(torch.cat(outputs), rate, x.run), x, sequence=True)
