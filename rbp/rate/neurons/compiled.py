"""The neurons' scan as one fused kernel, by torch.compile.

A kernel reads the layer's currents (the convolution's output, batch normalisation's scale and shift, the
residual sum's other terms), holds membrane potential and derivatives in registers over the steps, and writes
spikes and sums: one pass over memory and one launch, where the plain scan has some ten a step.

A kernel is for one kind of neuron, one number of steps and one form of currents (how many terms, scaled or
not, constant or not); sizes are free. More steps than SEGMENT are a kernel of SEGMENT steps run again.
"""

from __future__ import annotations

import functools
import types
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from rbp.rate.memory.currents import Currents, Term
from rbp.rate.memory.traces import is_constant
from rbp.rate.neurons.scan import Neuron, State, Sums, step
from rbp.rate.neurons.surrogates import has_slope

CHOICES = ("auto", "plain", "compiled")
SEGMENT = 4
# Of one kernel: torch makes a new one where sizes that differed coincide, or one is 1; its own limit is 8.
VARIANTS = 64
ran: Counter[str] = Counter()  # what the neurons' scans have run on since it was last cleared


def wanted(kernels: str, device: torch.device) -> bool:
    """Whether to run compiled kernels: auto has them on a GPU, where launches are what plain ones cost."""
    return kernels == "compiled" or (kernels == "auto" and device.type == "cuda")


def what_ran() -> str | None:
    """Which kernels the scans counted in `ran` were; None before the first. Not always those that were asked
    for: a surrogate may have no formula, a compiler may fail."""
    kinds = [kind for kind, scans in ran.items() if scans]
    return "partly compiled" if len(kinds) > 1 else next(iter(kinds), None)


def scan(neuron: Neuron, currents: Currents, state: State, sums: Sums, out: Tensor) -> bool:
    """As neurons.scan.scan, for currents in one block. False, and nothing done, where there is no kernel: a
    surrogate without a formula here, a layout that is not one of the two usual ones, no working compiler."""
    if not has_slope(neuron.surrogate) or not works(out.device):
        return False
    tensors = [*(term.x_seq[0] for term in currents.terms), out[0], sums.spikes]
    last = next((last for last in (False, True) if all(_in_order(x, last) for x in tensors)), None)
    if last is None:
        return False
    for start in range(0, currents.shape[0], SEGMENT):
        part = slice(start, start + SEGMENT)
        terms = [_flat_term(Term(t.x_seq[part], t.scale, t.shift), last) for t in currents.terms]
        started = isinstance(state.v, Tensor)
        form = (len(out[part]), *(_form(term) for term in terms))
        kernel = (_key(neuron), form, last, None if started else (state.v, state.dv, state.dv_leak))
        memory = [_memory(x, out, last) for x in (state.v, state.dv, state.dv_leak)] if started else None
        totals = [_flat(x, last) for x in (sums.spikes, sums.by_current, sums.by_leak)]
        leak = neuron.leak if isinstance(neuron.leak, Tensor) else None
        arguments = (terms, leak, memory, totals, _flat(out[part], last, steps=True))
        after = _run(kernel, arguments)
        ran["plain" if after is None else "compiled"] += 1
        if after is None:
            _run_plain(neuron, currents.at(part), state, sums, out[part])
        else:
            state.v, state.dv, state.dv_leak = (_like(x, sums.spikes, last) for x in after)
    return True


_broken: set[tuple] = set()  # kernels that could not be compiled


def _run(kernel: tuple, arguments: tuple) -> tuple | None:
    """What a kernel returns, compiled when it is first met; None, and nothing done, where that fails.

    Whichever kernel fails, at whatever time: one warning in a process, and the plain steps run instead.
    """
    if kernel in _broken:
        return None
    _free_sizes(arguments)
    # Numbers are part of a kernel: a second one, with other numbers, would get them as variables.
    settings = torch._dynamo.config.patch(recompile_limit=VARIANTS, specialize_float=True)
    try:
        with settings:
            return _kernel(*kernel)(*arguments)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of many types, from Dynamo, Inductor, Triton or a C++ compiler
        if not _broken:
            _warn("A kernel could not be compiled", error)
        _broken.add(kernel)
        return None


def _run_plain(neuron: Neuron, currents: Currents, state: State, sums: Sums, out: Tensor) -> None:
    at_step = currents.whole_steps()
    for t in range(len(out)):
        step(neuron, at_step(t), state, sums, out[t])


def _warn(what: str, error: Exception) -> None:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    warnings.warn(f"{what}: plain kernels run instead ({reason})", stacklevel=2)


@functools.cache
def works(device: torch.device) -> bool:
    """Whether torch.compile makes kernels for this device; tried once in a process, and warned of if not."""
    try:
        x = torch.ones(8, device=device)
        return bool((torch.compile(lambda a: a * 2 + 1, fullgraph=True)(x) == 3).all())
    except Exception as error:  # of many types: no compiler, no Triton, no Python headers
        _warn("torch.compile does not work here", error)
        return False


def _free_sizes(arguments: tuple) -> None:
    """Tell torch.compile that every size but the number of steps may change. (`dynamic=True` would say so of
    the neuron's constants as well.)"""
    *others, out = arguments
    first = {id(x_seq) for x_seq, constant, *_ in arguments[0] if not constant}
    for x in tree_leaves((others, out)):
        if isinstance(x, Tensor) and x.dim():
            steps = 1 if x is out or id(x) in first else 0
            torch._dynamo.maybe_mark_dynamic(x, list(range(steps, x.dim())))


def _key(neuron: Neuron) -> tuple:
    leak = None if isinstance(neuron.leak, Tensor) else neuron.leak
    settings = (neuron.decays_input, neuron.threshold, neuron.reset_to, neuron.detached)
    return leak, settings, (type(neuron.surrogate), neuron.surrogate.alpha)


def _form(term: tuple) -> tuple:
    """What a term's kernel is made for, its sizes apart."""
    x_seq, constant, scale, _ = term
    return constant, x_seq.dim(), x_seq.dtype, None if scale is None else scale.dtype


@functools.cache
def _kernel(key: Any, form: Any, last: bool, start: Any) -> Callable:
    """The kernel of a kind of neurons and a form of currents; `last`: channels are the last axis of a step in
    memory; start: the numbers that their state is at rest, None for a kernel that goes on from where another
    ended."""
    number, (decays, threshold, reset_to, detached), (kind, alpha) = key
    surrogate = kind(alpha)

    def kernel(terms: list, leak: Any, memory: Any, totals: list, out: Tensor) -> tuple:
        k = number if leak is None else leak
        neuron = Neuron(k, decays, threshold, reset_to, detached, surrogate)
        state, sums = State(*(memory or start)), Sums(*totals)
        for t in range(out.shape[0]):
            step(neuron, _current(terms, t), state, sums, out[t])
        return state.v, state.dv, state.dv_leak

    # torch counts the variants of one code object: each kernel gets one of its own.
    own = types.FunctionType(
        kernel.__code__.replace(), kernel.__globals__, "kernel", None, kernel.__closure__
    )
    return torch.compile(own, fullgraph=True)


def _current(terms: list, t: int) -> Tensor:
    """A step's current, rounded on the way as layers of the terms' precision would (as currents._sum)."""
    total: Any = None
    for x_seq, constant, scale, shift in terms:
        x = x_seq if constant else x_seq[t]
        if scale is not None:
            x = (x.to(scale.dtype) * scale + shift).to(x.dtype)
        total = x if total is None else total + x
    return total if total.dtype == torch.float64 else total.float()


def _in_order(x: Tensor, last: bool) -> bool:
    """Whether x [B, C, ...] lies in memory in that order, or with the channels last."""
    return x.dim() > 2 and x.movedim(1, -1).is_contiguous() if last else x.is_contiguous()


def _memory(x: Any, like: Tensor, last: bool) -> Any:
    """State on its way into a kernel: a number, the same everywhere, as a tensor [], which no kernel is made
    anew for."""
    return torch.full((), x, device=like.device) if isinstance(x, float) else _flat(x, last)


def _flat_term(term: Term, last: bool) -> tuple[Tensor, bool, Tensor | None, Tensor | None]:
    constant = is_constant(term.x_seq)
    x = _flat(term.x_seq[0], last) if constant else _flat(term.x_seq, last, steps=True)
    if term.scale is None or term.shift is None:
        return x, constant, None, None
    wide = (-1,) if last else (-1, 1)
    return x, constant, term.scale.view(wide), term.shift.view(wide)


def _flat(x: Any, last: bool, steps: bool = False) -> Any:
    """[B, C, ...] as [B, C, places], with channels last as [B, places, C]; with steps ahead of it; what is
    no tensor of that kind as it is."""
    if not isinstance(x, Tensor) or x.dim() == 0:
        return x
    lead = x.shape[: steps + 1]
    if last:
        return x.movedim(1 + steps, -1).view(*lead, -1, x.shape[1 + steps])
    return x.view(*lead, x.shape[1 + steps] if x.dim() > 1 + steps else 1, -1)


def _like(x: Any, step: Tensor, last: bool) -> Any:
    """Undo _flat, for a result of the shape of a step [B, C, ...]."""
    if not isinstance(x, Tensor) or x.dim() == 0:
        return x
    return x.view(step.movedim(1, -1).shape).movedim(-1, 1) if last else x.view(step.shape)
