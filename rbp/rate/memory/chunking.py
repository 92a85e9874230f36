"""Step mode m in chunks of time steps, so that its transient memory does not grow with T.

Batch normalisation in step mode m wants the statistics of all T steps before the first neuron may fire, so a
network cannot be run chunk by chunk from end to end. It goes layer by layer instead: what is held over all T
steps is the spikes, a bit each; convolutions, and whatever else can be computed again, are computed a chunk
of steps at a time, once for the statistics and once for the neurons. The result is the same to rounding, the
price about one more forward pass.

What is no spike and cannot be computed again (group and layer normalisation, products of spiking tensors,
layers with a rule of one's own) is held in full, as are sums that no neuron follows once their convolutions
are MOST_AGAIN.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from rbp.rate.memory.currents import Currents, Term
from rbp.rate.memory.folding import fold_time
from rbp.rate.memory.lazy import Bits, Lazy
from rbp.rate.memory.traces import Trace

MOST_AGAIN = 3


def by_chunks(rule: Any, layer: Any, source: Currents, rate: Tensor, trace: Trace, chunk: int) -> Currents:
    """The layer's output over all steps of source [T, B, ...]; what rule.rate will want is left in trace.

    A rule says by `recomputes` that it may be computed as often as is wanted, by `over_time` that it takes
    all steps at once.
    """
    if rule.recomputes:
        with torch.no_grad():
            like = rule.again(layer, rate)
            trace.value.add_mean(like, trace.T)

        def read(steps: slice) -> Tensor:
            return fold_time(lambda x: rule.again(layer, x), source.at(steps).written_out())

        return Currents([Term(Lazy(like, trace.T, chunk, read))])
    with torch.no_grad():
        if rule.over_time:
            y_seq = rule.spikes(layer, source, trace)
        else:
            y_seq = _held(rule, layer, source, trace, chunk)
    return y_seq if isinstance(y_seq, Currents) else Currents([Term(y_seq)])


def _held(rule: Any, layer: Any, source: Currents, trace: Trace, chunk: int) -> Tensor | Bits:
    """The output of a rule that leaves its mark in the trace, and so sees each step once: as bits where it is
    zeros and ones."""
    binary = rule.emits_bits(layer, isinstance(source.alone, Bits))
    outputs = _outputs(rule, layer, source, trace, chunk)
    if not binary:
        return torch.cat([y_seq for _, y_seq in outputs])
    bits = None
    for start, y_seq in outputs:
        bits = bits or Bits(y_seq[0], trace.T, chunk)
        bits.write(start, y_seq)
    assert bits is not None
    return bits


def _outputs(
    rule: Any, layer: Any, source: Currents, trace: Trace, chunk: int
) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, trace.T, chunk):
        part = source.at(slice(start, start + chunk))
        yield start, rule.spikes(layer, part if rule.takes_currents else part.written_out(), trace)


def held_if_long(total: Currents) -> Currents:
    """A sum that would take many convolutions each time it is read, written out."""
    again = sum(isinstance(t.x_seq, Lazy) and not isinstance(t.x_seq, Bits) for t in total.terms)
    return total if again < MOST_AGAIN else Currents([Term(total.written_out())])
