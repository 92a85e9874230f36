"""A pair through a layer that has a rule, its time axis hidden from the rule or not."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from spikingjelly.activation_based import base
from torch import Tensor

from rbp.rate.dispatch.pair import Pair
from rbp.rate.memory.chunking import by_chunks
from rbp.rate.memory.packing import counts_of, with_counts
from rbp.rate.memory.traces import Trace
from rbp.rate.rules.base import Rule


def hide(pair: Pair, sequence: bool) -> Pair:
    """The pair as rules want it: spikes [T, B, ...], rate [B, ...].

    sequence: whether what is shown is [T, B, ...]; else the leading axis is time and batch in one (for a
    layer that works on other axes, as a linear one on the last, either will do).
    """
    if not pair.shown:
        return pair
    assert pair.rate is not None
    if sequence and pair.rate.shape[0] == 1:
        return Pair(pair.given, with_counts(pair.rate[0], counts_of(pair.rate)), pair.run)
    assert pair.spikes is not None
    return Pair(pair.spikes.unflatten(0, (pair.run.steps, -1)), pair.rate, pair.run)


def show(pair: Pair, like: Pair, sequence: bool) -> Pair:
    """Undo hide."""
    if not like.shown:
        return pair
    assert pair.given is not None and pair.rate is not None and like.rate is not None
    if sequence and like.rate.shape[0] == 1:
        rate = with_counts(pair.rate.unsqueeze(0), counts_of(pair.rate))
        return Pair(pair.given, rate, pair.run, shown=True)
    assert pair.spikes is not None
    return Pair(pair.spikes.flatten(0, 1), pair.rate, pair.run, shown=True)


def by_rule(rule: Rule, layer: Any, x: Pair, trace: Trace) -> Pair:
    """The layer's output: spikes without a graph, and the rate with one."""
    x.check()
    sequence = takes_sequence(layer, x.looks) if x.shown else False
    hidden = hide(x, sequence)
    varies = hasattr(rule, "binary") or x.run.chunk is None or not hidden.currents.constant  # neurons' do
    if x.run.chunk is not None and varies:
        assert hidden.rate is not None
        currents = by_chunks(rule, layer, hidden.currents, hidden.rate, trace, x.run.chunk)
        return show(Pair(currents, rule.rate(layer, hidden.rate, trace), x.run), x, sequence)
    spikes = rate = None
    if hidden.given is not None:
        with torch.no_grad() if x.run.rate else nullcontext():
            source = hidden.currents if getattr(rule, "takes_currents", False) else hidden.spikes
            spikes = rule.spikes(layer, source, trace)
    if hidden.rate is not None:
        rate = rule.rate(layer, hidden.rate, trace)
    return show(Pair(spikes, rate, x.run), x, sequence)


def takes_sequence(layer: Any, shown: Tensor | None) -> bool:
    """Whether a layer of a network that shows the time axis works on [T, B, ...] and not on [T*B, ...].

    SpikingJelly's wrappers and neurons do. A SyncBatchNorm may stand for SpikingJelly's BatchNorm, which
    `convert_sync_batchnorm` replaces by it, or for torch's: the place of its channels tells.
    """
    channels = getattr(layer, "num_features", None)
    if isinstance(layer, torch.nn.SyncBatchNorm) and shown is not None and shown.dim() > 2:
        return shown.shape[2] == channels
    return isinstance(layer, base.StepModule)
