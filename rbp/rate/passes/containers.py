"""SpikingJelly's containers that hand their children one step after another, in rate mode and step mode m."""

from __future__ import annotations

import torch
from spikingjelly.activation_based import layer
from torch import nn

from rbp.rate.dispatch.carry import hide, show
from rbp.rate.dispatch.pair import Pair
from rbp.rate.memory.run import Run


def goes_step_by_step(module: nn.Module) -> bool:
    """Whether it is a container whose children see one step at a time, and keep their state between them."""
    if isinstance(module, layer.StepModeContainer):
        return module.stateful and module.step_mode == "m"
    return isinstance(module, layer.MultiStepContainer)


def by_single_steps(container: nn.Module, x: Pair) -> Pair:
    """A container of single steps on a pair that shows [T, B, ...]: a pass in step mode s of its own, so that
    batch normalisation has the statistics of each step."""
    hidden = hide(x, sequence=True)
    assert hidden.spikes is not None and hidden.rate is not None
    run = Run(x.run.T, rate=True, single_step=True, kernels=x.run.kernels)
    run.drafts, run.net = x.run.drafts, x.run.net
    outputs = []
    with torch.no_grad():
        for step in hidden.spikes.split(1):
            y = nn.Sequential.forward(container, Pair(step, None, run))  # type: ignore[arg-type]
            outputs.append(y.spikes)
            run.next_pass()
    y = nn.Sequential.forward(container, Pair(None, hidden.rate, run))  # type: ignore[arg-type]
    return show(Pair(torch.cat(outputs), y.rate, x.run), x, sequence=True)
