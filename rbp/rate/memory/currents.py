"""Input currents that are not computed yet: sums of sequences, each scaled and shifted by channel.

Batch normalisation and a residual sum stand between a convolution and a neuron. Written out, each is a pass
over T x B x C x H x W numbers; kept as a formula, the neuron's scan computes them while it has the block in
the processor's cache. Whatever else asks for the sequence gets it written out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rbp.rate.memory.lazy import Lazy
from rbp.rate.memory.traces import is_constant

# Numbers in a thread's share of a block: with a scan's other five it fits into a core's second-level cache.
BLOCK = 1 << 16

AtStep = Callable[[int], Tensor]  # a time step's currents; not to be written to


@dataclass
class Term:
    """x_seq [t, B, C, ...], or scale[c] * x_seq + shift[c] with scale and shift [C]."""

    x_seq: Any  # a tensor; or a Lazy, in a run by chunks
    scale: Tensor | None = None
    shift: Tensor | None = None
    reader: Callable[[Tensor], None] | None = None  # wants the sequence, if anyone has it written out


class Currents:
    """The sum of terms of one shape, [t, B, C, ...] or, without channels, [t, B]."""

    def __init__(self, terms: list[Term]) -> None:
        self.terms = terms
        first = terms[0].x_seq
        self.shape, self.dtype, self.device = first.shape, first.dtype, first.device

    def __add__(self, other: Currents) -> Currents:
        return Currents([*self.terms, *other.terms])

    @property
    def constant(self) -> bool:
        """Whether every step is the same."""
        return all(is_constant(term.x_seq) for term in self.terms)

    @property
    def alone(self) -> Any:
        """The sequence, a tensor or a Lazy, where there is only that and nothing to compute; else None."""
        return self.terms[0].x_seq if len(self.terms) == 1 and self.terms[0].scale is None else None

    @property
    def template(self) -> Tensor:
        """A tensor of the shape, dtype and device of a step."""
        first = self.terms[0].x_seq
        return first.like if isinstance(first, Lazy) else first[0]

    def at(self, steps: slice) -> Currents:
        """Some of the steps, in memory."""
        return Currents([Term(term.x_seq[steps], term.scale, term.shift) for term in self.terms])

    def parts(self) -> Iterator[Currents]:
        """A chunk of steps after the other, in memory: one of all steps where they are."""
        chunks = [term.x_seq.chunk for term in self.terms if isinstance(term.x_seq, Lazy)]
        size = min(chunks, default=self.shape[0])
        for start in range(0, self.shape[0], size):
            yield self.at(slice(start, start + size))

    def written_out(self) -> Tensor:
        """The sequence itself [t, B, C, ...], a view of stride 0 in time where every step is the same."""
        out = self._computed()
        for term in self.terms:
            if term.reader is not None:
                alone = len(self.terms) == 1
                term.reader(
                    out if alone else Currents([Term(term.x_seq, term.scale, term.shift)])._computed()
                )
                term.reader = None  # told once a step
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
        """The currents block by block: rows of the B*C places of a step, and the steps of [rows, ...].

        One block of everything (None, steps of [B, C, ...]) where cutting does not pay: on a GPU, where a
        small tensor fits in any case, where memory is not laid out in that order.
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
        """The steps of [B, C, ...], uncut."""
        return self._at_step([_whole(term) for term in self.terms])

    def _at_step(self, terms: list[Term]) -> AtStep:
        if self.constant:
            only = _sum(terms, 0)
            return lambda t: only
        return lambda t: _sum(terms, t)


def empty_like(currents: Currents, dtype: torch.dtype | None = None, steps: int | None = None) -> Tensor:
    """A sequence to be filled, [t, B, C, ...], its channels last in memory where those of currents are."""
    shape = (currents.shape[0] if steps is None else steps, *currents.shape[1:])
    dtype = dtype or currents.dtype
    first = currents.terms[0].x_seq[0]
    if len(shape) > 3 and first.movedim(1, -1).is_contiguous() and not first.is_contiguous():
        moved = (*shape[:2], *shape[3:], shape[2])
        return torch.empty(moved, dtype=dtype, device=currents.device).movedim(-1, 2)
    return torch.empty(shape, dtype=dtype, device=currents.device)


def _sum(terms: list[Term], t: int) -> Tensor:
    """In float32 or wider, rounded on the way as layers of the terms' precision would."""
    total: Tensor | None = None
    for term in terms:
        x = term.x_seq[t]
        if term.scale is not None:
            assert term.shift is not None
            # Two operations, which torch vectorises: its addcmul with numbers a channel takes twice as long.
            x = torch.mul(x.to(term.scale.dtype), term.scale).add_(term.shift).to(x.dtype)
        total = x if total is None else total + x
    assert total is not None
    return total if total.dtype == torch.float64 else total.float()


def _whole(term: Term) -> Term:
    """The term with scale and shift as [C, 1, ...], to go with a step [B, C, ...]."""
    if term.scale is None:
        return term
    assert term.shift is not None
    wide = (-1, *(1,) * (term.x_seq.dim() - 3))
    return Term(term.x_seq, term.scale.view(wide), term.shift.view(wide))


def _in_rows(term: Term, n_rows: int) -> Term:
    """The term as [t, B*C, places], scale and shift as [B*C, 1]."""
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
