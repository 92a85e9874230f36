"""The neurons' scan (rbp.rate.neurons.scan) as one fused kernel, made by torch.compile.

A kernel reads the layer's currents (the output of the convolution, scale and shift of batch normalisation,
the other terms of a residual sum), holds membrane potential and derivatives in registers over the steps, and
writes spikes and sums. That is one pass over memory and one launch, where the plain scan has about ten per
step.

A kernel is specific to a kind of neuron, a number of steps and a form of currents (number of terms, scaled or
not, constant or not), but not to sizes. More than SEGMENT steps run as segments of up to SEGMENT steps.
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
from rbp.rate.neurons.scan import EligibilitySums, ScanSettings, ScanState, step
from rbp.rate.neurons.surrogates import has_slope

CHOICES = ("auto", "plain", "compiled")
SEGMENT = 4
# Limit of recompilations per kernel (torch's default is 8): torch recompiles if sizes that differed before
# coincide, or if one is 1.
VARIANTS = 64
ran: Counter[str] = Counter()  # scans by kind of kernel since it was last cleared


def wanted(kernels: str, device: torch.device) -> bool:
    """Whether to run compiled kernels for this setting on this device.

    "auto" compiles on a GPU, where the cost of the plain scan is its kernel launches.

    Args:
        kernels: One of CHOICES.
        device: Device of the network.
    """
    return kernels == "compiled" or (kernels == "auto" and device.type == "cuda")


def what_ran() -> str | None:
    """Return which kernels the scans counted in `ran` used.

    They may differ from the requested ones: a surrogate may have no formula here, a compiler may fail.

    Returns:
        "plain", "compiled" or "partly compiled"; None before the first scan.
    """
    kinds = [kind for kind, scans in ran.items() if scans]
    return "partly compiled" if len(kinds) > 1 else next(iter(kinds), None)


def scan(
    neuron: ScanSettings, currents: Currents, state: ScanState, sums: EligibilitySums, out: Tensor
) -> bool:
    """Run the neurons over the steps of currents, as rbp.rate.neurons.scan.scan but in a single block.

    Args:
        neuron: Settings of the neurons.
        currents: Input currents, [t, B, C, ...] or [t, B].
        state: State of the neurons, updated.
        sums: Sums over the steps, [B, C, ...], updated.
        out: Where the spikes are written, [t, B, C, ...].

    Returns:
        False, with nothing done, if there is no kernel: the surrogate has no formula in
        rbp.rate.neurons.surrogates, the tensors are neither contiguous nor channels-last, or torch.compile
        does not work. A segment whose kernel fails to compile runs on plain kernels, and counts as done.
    """
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
            sums.fresh = False
    return True


_broken: set[tuple] = set()  # kernels that could not be compiled


def _run(kernel: tuple, arguments: tuple) -> tuple | None:
    """Run a kernel, compiling it on first use; return None, with nothing done, if that fails.

    Only the first failure in a process warns.
    """
    if kernel in _broken:
        return None
    _free_sizes(arguments)
    # Without specialize_float, a second kernel with other constants would get them as variables.
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


def _run_plain(
    neuron: ScanSettings, currents: Currents, state: ScanState, sums: EligibilitySums, out: Tensor
) -> None:
    at_step = currents.whole_steps()
    for t in range(len(out)):
        step(neuron, at_step(t), state, sums, out[t])


def _warn(what: str, error: Exception) -> None:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    warnings.warn(f"{what}: plain kernels run instead ({reason})", stacklevel=2)


@functools.cache
def works(device: torch.device) -> bool:
    """Whether torch.compile works on this device. Tried once per process; warns if it does not."""
    try:
        x = torch.ones(8, device=device)
        return bool((torch.compile(lambda a: a * 2 + 1, fullgraph=True)(x) == 3).all())
    except Exception as error:  # of many types: no compiler, no Triton, no Python headers
        _warn("torch.compile does not work here", error)
        return False


def _free_sizes(arguments: tuple) -> None:
    """Tell torch.compile that every size but the number of steps may change.

    `dynamic=True` would apply to the neuron's constants as well.
    """
    *others, out = arguments
    first = {id(x_seq) for x_seq, constant, *_ in arguments[0] if not constant}
    for x in tree_leaves((others, out)):
        if isinstance(x, Tensor) and x.dim():
            steps = 1 if x is out or id(x) in first else 0
            torch._dynamo.maybe_mark_dynamic(x, list(range(steps, x.dim())))


def _key(neuron: ScanSettings) -> tuple:
    leak = None if isinstance(neuron.leak, Tensor) else neuron.leak
    settings = (neuron.decays_input, neuron.threshold, neuron.reset_to, neuron.detached)
    return leak, settings, (type(neuron.surrogate), neuron.surrogate.alpha)


def _form(term: tuple) -> tuple:
    """Return what a kernel depends on in a term: everything but its sizes."""
    x_seq, constant, scale, _ = term
    return constant, x_seq.dim(), x_seq.dtype, None if scale is None else scale.dtype


@functools.cache
def _kernel(key: Any, form: Any, last: bool, start: Any) -> Callable:
    """Return the kernel for a kind of neuron and a form of currents.

    Args:
        key: The neuron's settings, see `_key`.
        form: Number of steps, and the form of each term, see `_form`.
        last: Whether the channels of a step are last in memory.
        start: The neurons' state at rest, as numbers; None for a kernel that continues from a given state.
    """
    number, (decays, threshold, reset_to, detached), (kind, alpha) = key
    surrogate = kind(alpha)

    def kernel(terms: list, leak: Any, memory: Any, totals: list, out: Tensor) -> tuple:
        k = number if leak is None else leak
        neuron = ScanSettings(k, decays, threshold, reset_to, detached, surrogate)
        state, sums = ScanState(*(memory or start)), EligibilitySums(*totals)
        sums.fresh = memory is None
        for t in range(out.shape[0]):
            step(neuron, _current(terms, t), state, sums, out[t])
        return state.v, state.dv, state.dv_leak

    # torch limits the variants per code object, so each kernel gets its own.
    own = types.FunctionType(
        kernel.__code__.replace(), kernel.__globals__, "kernel", None, kernel.__closure__
    )
    return torch.compile(own, fullgraph=True)


def _current(terms: list, t: int) -> Tensor:
    """Return a step's current, with the intermediate rounding of rbp.rate.memory.currents._sum."""
    total: Any = None
    for x_seq, constant, scale, shift in terms:
        x = x_seq if constant else x_seq[t]
        if scale is not None:
            x = (x.to(scale.dtype) * scale + shift).to(x.dtype)
        total = x if total is None else total + x
    return total if total.dtype == torch.float64 else total.float()


def _in_order(x: Tensor, last: bool) -> bool:
    """Whether x [B, C, ...] is contiguous, with last: channels-last."""
    return x.dim() > 2 and x.movedim(1, -1).is_contiguous() if last else x.is_contiguous()


def _memory(x: Any, like: Tensor, last: bool) -> Any:
    """Return a part of the state as a kernel takes it.

    A number becomes a tensor [], as the kernel would be recompiled for another number.
    """
    return torch.full((), x, device=like.device) if isinstance(x, float) else _flat(x, last)


def _flat_term(term: Term, last: bool) -> tuple[Tensor, bool, Tensor | None, Tensor | None]:
    constant = is_constant(term.x_seq)
    x = _flat(term.x_seq[0], last) if constant else _flat(term.x_seq, last, steps=True)
    if term.scale is None or term.shift is None:
        return x, constant, None, None
    wide = (-1,) if last else (-1, 1)
    return x, constant, term.scale.view(wide), term.shift.view(wide)


def _flat(x: Any, last: bool, steps: bool = False) -> Any:
    """Reshape [B, C, ...] to [B, C, places], or to [B, places, C] if channels are last.

    With steps, a time axis comes first. Numbers, None and tensors [] are returned unchanged.
    """
    if not isinstance(x, Tensor) or x.dim() == 0:
        return x
    lead = x.shape[: steps + 1]
    if last:
        return x.movedim(1 + steps, -1).view(*lead, -1, x.shape[1 + steps])
    return x.view(*lead, x.shape[1 + steps] if x.dim() > 1 + steps else 1, -1)


def _like(x: Any, step: Tensor, last: bool) -> Any:
    """Undo _flat for a result with the shape of step, [B, C, ...]."""
    if not isinstance(x, Tensor) or x.dim() == 0:
        return x
    return x.view(step.movedim(1, -1).shape).movedim(-1, 1) if last else x.view(step.shape)
