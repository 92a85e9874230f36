"""Pass a pair through a layer that has a rule.

Rules work on spikes [T, B, ...] and a rate [B, ...]. In a network that handles time itself, a pair may have
its time axis elsewhere, or folded into the batch. Here it is moved to the front for the rule (`hide`), and
back afterwards (`show`).
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn

from rbp.rate.dispatch.pair import Pair, TimeAxis
from rbp.rate.dispatch.rates import as_batch, as_seen, steps_first, steps_in_place
from rbp.rate.errors import NoRuleError
from rbp.rate.memory.chunking import by_chunks
from rbp.rate.memory.currents import Currents
from rbp.rate.memory.traces import Trace
from rbp.rate.rules.base import Rule

# Layers that act on the last axes only, and how many these are. Time may be any axis before them.
_LAST_AXES = {nn.Linear: lambda layer: 1, nn.LayerNorm: lambda layer: len(layer.normalized_shape)}


def hide(pair: Pair, sequence: bool, joins: bool = False) -> Pair:
    """Return the pair in the form that rules work on.

    Args:
        pair: what the layer was called with.
        sequence: whether the layer takes [T, B, ...]; if not, time is part of the batch or an axis that the
            layer treats as one.
        joins: whether a layer that takes a sequence only folds its first two axes, and so may be given
            [B, T, ...] as well.

    Returns:
        A pair without a visible time axis: spikes [T, B, ...], rate [B, ...], of k segments [k*B, ...].

    Raises:
        NoRuleError: if the layer takes a sequence and the first axis is not time, or not time alone.
    """
    if pair.time is None and not sequence and pair.run.k == 1:
        return pair
    if sequence:
        _check_sequence(pair, joins)
    rate = as_batch(pair, sequence, joins)
    if pair.time is None and not sequence:
        spikes: Any = pair.sequence
    elif pair.time is None:
        spikes = None if pair.spikes is None else pair.spikes[:, 0]  # one step, seen as [1, B, ...]
    elif not sequence:
        spikes = steps_first(pair.spikes, pair.time, pair.run.visible_steps)  # type: ignore[arg-type]
    else:
        spikes = pair.spikes.movedim(1, 0) if pair.time.dim == 1 else pair.sequence  # type: ignore[union-attr]
    return Pair(spikes, rate, pair.run, constant=pair.constant)


def show(pair: Pair, like: Pair, sequence: bool) -> Pair:
    """Undo `hide`.

    Args:
        pair: the layer's output, in the form that rules work on.
        like: the layer's input as it was before `hide`, which says where time goes.
        sequence: as for `hide`.
    """
    if like.time is None and not sequence and like.run.k == 1:
        return pair
    rate = as_seen(pair.rate, like, sequence)
    if like.time is None and not sequence:
        spikes: Any = pair.sequence
    elif like.time is None:
        spikes = None if pair.spikes is None else pair.spikes.unsqueeze(1)
    elif not sequence:
        spikes = steps_in_place(pair.spikes, like.time, like.shape[like.time.dim])  # type: ignore[arg-type]
    else:
        spikes = pair.spikes.movedim(0, 1) if like.time.dim == 1 else pair.sequence  # type: ignore[union-attr]
    return Pair(spikes, rate, pair.run, like.time, pair.constant)


def _check_sequence(pair: Pair, joins: bool) -> None:
    """Raise NoRuleError if a layer that takes a sequence is given another form; see `hide`."""
    steps = pair.run.visible_steps
    if joins and pair.time == TimeAxis(1, 1) and pair.shape[1] == steps:
        return
    alone = pair.time == TimeAxis() or pair.time is None
    if not alone or pair.shape[0] != steps:
        folded = "with time folded into it" if pair.time and pair.time.inner > 1 else "which is not time"
        raise NoRuleError(
            f"it takes time first, [T, B, ...] with T={steps}, and is given {tuple(pair.shape)}, whose first "
            f"axis is of another size or {folded}"
        )


def by_rule(rule: Rule, layer: Any, x: Pair, caller: Any) -> Pair:
    """Apply a layer's rule to a pair.

    Args:
        rule: the rule.
        layer: the module, or an object with its settings.
        x: the layer's input.
        caller: the key under which the pass keeps the trace: the layer, or the equivalent torch function.

    Returns:
        The layer's output: spikes, which have no graph in rate mode, and the rate with its graph.

    Raises:
        NoRuleError: if the layer would mix time steps, or does not support the place of the time axis; also
            from `Pair.check` and from the rule itself.
    """
    x.check()
    trace = x.run.trace(caller, rule.trace_type)
    plain_neuron = rule.fires and not isinstance(layer, base.MemoryModule)
    sequence = _shows_steps(x) if plain_neuron else takes_sequence(layer, x)
    _check_time(layer, x, sequence)
    hidden = hide(x, sequence, joins=not rule.fires)
    spikes = _spikes(rule, layer, hidden, trace)
    rate = None if hidden.rate is None else rule.rate(layer, hidden.rate, trace)
    return show(Pair(spikes, rate, x.run, constant=hidden.constant and not rule.fires), x, sequence)


def _spikes(rule: Rule, layer: Any, x: Pair, trace: Trace) -> Tensor | Currents | None:
    """Return the layer's output on the spikes; None in the call of step mode s that only builds the graph."""
    if x.sequence is None:
        return None
    if x.run.chunk is not None and (rule.fires or not x.currents.constant):
        assert x.rate is not None
        return by_chunks(rule, layer, x.currents, x.rate, trace, x.run.chunk)
    with torch.no_grad() if x.run.rate else nullcontext():
        return rule.spikes(layer, x.currents if rule.takes_currents else x.spikes, trace)


def _shows_steps(x: Pair) -> bool:
    """Whether a neuron that is a plain nn.Module, written for [B, ...], is given [T, B, ...]."""
    alone = x.time is None or x.time == TimeAxis()
    return x.run.time_visible and alone and x.shape[0] == x.run.visible_steps


def takes_sequence(layer: Any, x: Pair | Tensor) -> bool:
    """Whether a layer takes [T, B, ...] rather than [B, ...] or [T*B, ...].

    SpikingJelly's wrappers and neurons do in step mode m. `convert_sync_batchnorm` replaces SpikingJelly's
    BatchNorm as well as torch's by SyncBatchNorm; the position of the channel axis in x tells them apart.

    Args:
        layer: the module.
        x: its input, a pair or, in BPTT, a plain tensor.
    """
    if isinstance(x, Pair) and not x.run.time_visible:
        return False
    channels = getattr(layer, "num_features", None)
    if isinstance(layer, nn.SyncBatchNorm) and x.dim() > 2:
        return x.shape[2] == channels and getattr(x, "time", None) in (None, TimeAxis())
    return isinstance(layer, base.StepModule) and layer.step_mode == "m"


def _check_time(layer: Any, x: Pair, sequence: bool) -> None:
    """Raise NoRuleError if a layer would mix the steps of a pair with a visible time axis."""
    if sequence or x.time is None:
        return
    if isinstance(layer, base.MemoryModule):
        raise NoRuleError(
            "it is in step mode 's', and given all steps at once: set it to 'm', as in "
            "functional.set_step_mode(net, 'm')"
        )
    last = next((axes(layer) for kind, axes in _LAST_AXES.items() if isinstance(layer, kind)), None)
    free = x.dim() - last if last is not None else 1
    if x.time.dim >= free and not isinstance(layer, nn.Dropout):
        raise NoRuleError(
            f"it is given {tuple(x.shape)} with time as axis {x.time.dim}, where it does not see a batch"
        )
