"""Step mode m in chunks of time steps (`chunk=` of `rbp.forward`).

The backward pass of rate-based backpropagation keeps nothing that grows with T, but the forward pass of step
mode m still computes each layer's output over all T steps. Chunking bounds this transient memory.

In step mode m, batch normalisation needs the statistics of all T steps before the first neuron can fire, so
a network cannot run end to end one chunk at a time. It runs layer by layer instead. Spikes are held for all T
steps, one bit each. Convolutions, and other layers that can be recomputed, are computed one chunk of steps at
a time: once for the statistics and once for the neurons. The result is the same up to rounding; the cost is
about one extra forward pass.

Outputs that are neither spikes nor recomputable are held in full: group and layer normalisation, products of
spiking tensors, layers with a user-defined rule. So are sums of MOST_AGAIN or more recomputed sequences, such
as residual connections with no neuron in between.
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

MOST_AGAIN = 3  # recomputed terms from which a sum is held instead


def by_chunks(rule: Any, layer: Any, source: Currents, rate: Tensor, trace: Trace, chunk: int) -> Currents:
    """Run the first half of a rule over all T steps, at most `chunk` steps at a time.

    Args:
        rule: the layer's rule. With `recomputes`, the output is computed each time it is read; with
            `over_time`, the rule is given all steps at once.
        layer: the module.
        source: the layer's input, [T, B, ...].
        rate: the time mean of the input, [B, ...].
        trace: filled with what `rule.rate` needs.
        chunk: the number of steps to compute at a time.

    Returns:
        The layer's output, [T, B, ...].
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
    """Return the output of a rule that adds to the trace and so must see each step exactly once.

    A binary output is held as bits.
    """
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
    """Write the sum out if reading it would recompute MOST_AGAIN or more terms, else return it unchanged."""
    again = sum(isinstance(t.x_seq, Lazy) and not isinstance(t.x_seq, Bits) for t in total.terms)
    return total if again < MOST_AGAIN else Currents([Term(total.written_out())])
