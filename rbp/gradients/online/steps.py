"""Training step by step: forward, loss and backward of each time step, before the next one runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rbp.gradients.objective import Around, Loss, Step, mean_of, outside_autocast, scaled, value_of, wide
from rbp.gradients.online.cut import states_cut
from rbp.gradients.online.drawing import Choice
from rbp.gradients.online.traced import plain
from rbp.gradients.online.traces import Traces, backward_hooks_keep_traces
from rbp.rate.arguments import Given, from_rest, read
from rbp.rate.distributed import in_one_call
from rbp.rate.errors import InputError
from rbp.rate.network.modules import Network
from rbp.rate.neurons.supported import SEQUENCE
from rbp.rate.passes.bptt import adapted_step, stepping


def run(
    net: nn.Module,
    x: Tensor,
    loss: Loss,
    *,
    by: str,
    chosen: Choice,
    scale: float,
    around: Around,
    **shown: Any,
) -> Step:
    """Train on one batch by an online mode.

    Args:
        net: The network, perhaps in DistributedDataParallel.
        x: The input, as in `rbp.backward`.
        loss: Maps outputs [B, K] to a scalar.
        by: "sltt" or "ottt".
        chosen: Which steps are differentiated.
        scale: Factor of the loss in the backward pass.
        around: Makes the context of a step's graph.
        shown: T, layout, output and kwargs of `rbp.backward`.

    Returns and raises: as `rbp.backward`.
    """
    if chosen.K is not None and chosen.generator is None and isinstance(net, DistributedDataParallel):
        raise InputError(
            f"backprop_steps={chosen.K} with DistributedDataParallel: all ranks must draw the same steps; "
            "pass a generator of the same seed on each, generator=torch.Generator().manual_seed(0)"
        )
    with _only_single_steps(by):
        given = read(net, x, step_mode="s", **shown)
        _check_single_steps(given.called.network)
        drawn = chosen.steps(len(given.x))
        traces = Traces(given.called.network) if by == "ottt" else None
        adapt = adapted_step if traces is None else traces.adapt
        factor = chosen.factor(len(given.x)) * scale
        with (
            from_rest(given.called.network),
            stepping(given.called, given.x, given.layout, adapt) as step,
            nullcontext() if traces is None else backward_hooks_keep_traces(),
            states_cut(given.called.network) as cut,
        ):
            return _each_step(net, given, loss, lambda x: plain(step(x)), cut, drawn, factor, around)


def _each_step(
    net: nn.Module,
    given: Given,
    loss: Loss,
    step: Callable[[Tensor], Tensor],
    cut: Callable[[], None],
    drawn: set[int],
    factor: float,
    around: Around,
) -> Step:
    values, outputs = [], []
    # Weights that are computed from others are computed once for all steps, so their graph is needed again.
    again = bool(given.called.network.computing_weights)
    for t, x in enumerate(given.x):
        with around(), _gradients(net, of_step=t in drawn, last=t == max(drawn)):
            y = in_one_call(net, step, x) if t in drawn else step(x)
            with outside_autocast(y.device):
                y = wide(y)
                outputs.append(y.detach().clone())  # before the loss, which may change what it gets
                value = value_of(loss, y)
                values.append(value.detach())
                if t in drawn:
                    scaled(value, factor).backward(retain_graph=again)
            del y, value  # with them goes the step's graph
        cut()
    return Step(mean_of(values), mean_of(outputs))


@contextmanager
def _gradients(net: nn.Module, *, of_step: bool, last: bool) -> Iterator[None]:
    """Run one step with gradients, averaged over ranks if it is the last one, or without."""
    if not of_step:
        with torch.no_grad():
            yield
        # It holds weights cast without a graph, which a later step would take for its own.
        torch.clear_autocast_cache()
        return
    alone: AbstractContextManager[Any] = nullcontext()
    if isinstance(net, DistributedDataParallel) and not last:
        alone = net.no_sync()
    with alone:
        yield


def _check_single_steps(network: Network) -> None:
    """Refuse neurons that have no single step, although SpikingJelly lets their step mode be set to it."""
    for found in network.neurons:
        kind = type(found.module).__name__
        if kind in SEQUENCE:
            raise InputError(f"{found.path} ({kind}) takes all time steps at once; use step_mode='m'")


@contextmanager
def _only_single_steps(by: str) -> Iterator[None]:
    """Say what goes instead where a network cannot take single steps."""
    try:
        yield
    except InputError as error:
        if "step_mode='m'" not in str(error):
            raise
        raise InputError(
            f"grad_mode={by!r} goes step by step, which this network cannot: use grad_mode='rate' or 'bptt' "
            f"with step_mode='m' ({error})"
        ) from error
