"""Input currents in unevaluated form: sums of sequences, each scaled and shifted per channel.

Batch normalisation and residual sums sit between a convolution and a neuron. Evaluated eagerly, each is a
pass over T x B x C x H x W elements. Kept as a formula, they are evaluated by the neuron's scan while the
block is in the processor's cache. Any other consumer gets the sequence written out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rbp.rate.memory.lazy import Lazy
from rbp.rate.memory.traces import is_constant

# Elements of a block per thread. Together with the scan's other five arrays they fit into a core's L2 cache.
BLOCK = 1 << 16

AtStep = Callable[[int], Tensor]  # the currents of time step t, read-only


@dataclass
class Term:
    """One summand of the currents: x_seq, or scale * x_seq + shift with one scale and shift per channel.

    Attributes:
        x_seq: [t, B, C, ...], a tensor, or a `Lazy` in a pass in chunks.
        scale: [C], or None.
        shift: [C]; None if and only if scale is.
        reader: called once with the term's value [t, B, C, ...] if the currents are written out.
    """

    x_seq: Any
    scale: Tensor | None = None
    shift: Tensor | None = None
    reader: Callable[[Tensor], None] | None = None


class Currents:
    """The sum of terms of the same shape: [t, B, C, ...], or [t, B] without channels.

    `shape`, `dtype` and `device` are those of the sequence that `written_out` returns.

    Args:
        terms: one or more summands.
    """

    def __init__(self, terms: list[Term]) -> None:
        self.terms = terms
        first = terms[0].x_seq
        self.shape, self.dtype, self.device = first.shape, first.dtype, first.device

    def __add__(self, other: Currents) -> Currents:
        return Currents([*self.terms, *other.terms])

    @property
    def constant(self) -> bool:
        """Whether all steps are known to be identical."""
        return all(is_constant(term.x_seq) for term in self.terms)

    @property
    def alone(self) -> Any:
        """The sequence, a tensor or a Lazy, if it is the only term and has no scale and shift, else None."""
        return self.terms[0].x_seq if len(self.terms) == 1 and self.terms[0].scale is None else None

    @property
    def template(self) -> Tensor:
        """A tensor with the shape, dtype and device of one step."""
        first = self.terms[0].x_seq
        return first.like if isinstance(first, Lazy) else first[0]

    def at(self, steps: slice) -> Currents:
        """Return the currents of some of the steps, with every term in memory."""
        return Currents([Term(term.x_seq[steps], term.scale, term.shift) for term in self.terms])

    def parts(self) -> Iterator[Currents]:
        """Yield the currents chunk by chunk, each in memory; all steps at once if they already are."""
        chunks = [term.x_seq.chunk for term in self.terms if isinstance(term.x_seq, Lazy)]
        size = min(chunks, default=self.shape[0])
        for start in range(0, self.shape[0], size):
            yield self.at(slice(start, start + size))

    def written_out(self) -> Tensor:
        """Evaluate the sum, [t, B, C, ...]: an expanded view (stride 0 in time) if it is constant in time."""
        out = self._computed()
        for term in self.terms:
            if term.reader is not None:
                alone = len(self.terms) == 1
                term.reader(
                    out if alone else Currents([Term(term.x_seq, term.scale, term.shift)])._computed()
                )
                term.reader = None  # a mean over time must not count a step twice
        return out

    def _computed(self) -> Tensor:
        if any(isinstance(term.x_seq, Lazy) for term in self.terms):
            return torch.cat([part._computed() for part in self.parts()])
        if self.alone is not None:
            return self.alone
        at = self._at_step([_whole(term) for term in self.terms])
        if self.constant:
            return at(0).to(self.dtype).expand(self.shape)
        out = empty_like(self)
        for t in range(self.shape[0]):
            out[t] = at(t)
        return out

    def blocks(self) -> Iterator[tuple[slice | None, AtStep]]:
        """Yield the currents, which must be in memory, in blocks that fit the processor's cache.

        Each block is a slice of the B*C rows of a step, viewed as [B*C, places], and a function that maps t
        to that slice of step t. There is a single block, (None, steps of [B, C, ...]), where blocking does
        not pay: on a GPU, for small tensors, and for tensors that are not contiguous.
        """
        size, block = self.shape[1:].numel(), BLOCK * torch.get_num_threads()
        in_order = all(term.x_seq[0].is_contiguous() for term in self.terms)
        if self.device.type != "cpu" or size <= block or not in_order:
            yield None, self.whole_steps()
            return
        n_rows = self.shape[1:3].numel()
        flat = [_in_rows(term, n_rows) for term in self.terms]
        step = max(1, block // (size // n_rows))
        for start in range(0, n_rows, step):
            rows = slice(start, start + step)
            yield rows, self._at_step([_cut(term, rows) for term in flat])

    def whole_steps(self) -> AtStep:
        """Return the function that maps t to the currents of step t, [B, C, ...]."""
        return self._at_step([_whole(term) for term in self.terms])

    def _at_step(self, terms: list[Term]) -> AtStep:
        if self.constant:
            only = _sum(terms, 0)
            return lambda t: only
        return lambda t: _sum(terms, t)


def empty_like(currents: Currents, dtype: torch.dtype | None = None, steps: int | None = None) -> Tensor:
    """Return an uninitialised sequence [t, B, C, ...] in the memory format of the currents.

    Args:
        currents: gives shape, device and memory format (contiguous or channels last).
        dtype: that of the currents if None.
        steps: t; that of the currents if None.
    """
    shape = (currents.shape[0] if steps is None else steps, *currents.shape[1:])
    dtype = dtype or currents.dtype
    first = currents.terms[0].x_seq[0]
    if len(shape) > 3 and first.movedim(1, -1).is_contiguous() and not first.is_contiguous():
        moved = (*shape[:2], *shape[3:], shape[2])
        return torch.empty(moved, dtype=dtype, device=currents.device).movedim(-1, 2)
    return torch.empty(shape, dtype=dtype, device=currents.device)


def _sum(terms: list[Term], t: int) -> Tensor:
    """Return the sum at step t in float32 or wider.

    Intermediate results are rounded to the terms' dtype, as they would be by separate layers.
    """
    total: Tensor | None = None
    for term in terms:
        x = term.x_seq[t]
        if term.scale is not None:
            assert term.shift is not None
            # torch vectorises these two operations; addcmul with per-channel operands takes twice as long.
            x = torch.mul(x.to(term.scale.dtype), term.scale).add_(term.shift).to(x.dtype)
        total = x if total is None else total + x
    assert total is not None
    return total if total.dtype == torch.float64 else total.float()


def _whole(term: Term) -> Term:
    """Return the term with scale and shift as [C, 1, ...], to broadcast against a step [B, C, ...]."""
    if term.scale is None:
        return term
    assert term.shift is not None
    wide = (-1, *(1,) * (term.x_seq.dim() - 3))
    return Term(term.x_seq, term.scale.view(wide), term.shift.view(wide))


def _in_rows(term: Term, n_rows: int) -> Term:
    """Return the term as [t, B*C, places], with scale and shift as [B*C, 1]."""
    steps = term.x_seq.shape[0]
    x_seq = term.x_seq[0].reshape(1, n_rows, -1).expand(steps, -1, -1)
    if not is_constant(term.x_seq):
        x_seq = term.x_seq.reshape(steps, n_rows, -1)
    if term.scale is None or term.shift is None:
        return Term(x_seq)
    images = n_rows // len(term.scale)
    return Term(x_seq, term.scale.repeat(images)[:, None], term.shift.repeat(images)[:, None])


def _cut(term: Term, rows: slice) -> Term:
    if term.scale is None or term.shift is None:
        return Term(term.x_seq[:, rows])
    return Term(term.x_seq[:, rows], term.scale[rows], term.shift[rows])
