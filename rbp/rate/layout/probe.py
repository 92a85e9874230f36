"""Inferring a network's layout by running a copy of it on the meta device.

The copy gets an input in each layout that fits, with T steps and a batch size that differs from T and from
every axis of a sample, so that time and batch cannot be confused. What reaches the first neuron shows whether
the network took the input in that layout. The values of the input do not matter; the result is cached by
network, input shape, T, and the network's settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from rbp.rate.dry_run.ghost import Ghost, emptied, run_ghost
from rbp.rate.errors import InputError
from rbp.rate.layout.layout import Layout
from rbp.rate.layout.time_first import has_time_axis
from rbp.rate.network.modules import Network
from rbp.rate.network.patching import step_modes
from rbp.rate.network.settings import remember, settings_of, signature

_kinds: WeakKeyDictionary[nn.Module, dict[Any, bool | None]] = WeakKeyDictionary()
_known: WeakKeyDictionary[nn.Module, dict[Any, tuple[str, bool]]] = WeakKeyDictionary()


class FoundLayout(NamedTuple):
    """The result of `find_layout`.

    Attributes:
        layout: the layout.
        is_sequence: whether the input is a sequence [T, B, ...] rather than an image [B, ...]; None if this
            was not determined.
    """

    layout: Layout
    is_sequence: bool | None


def find_layout(network: Network, x: Tensor, T: int | None, kwargs: Mapping[str, Any]) -> FoundLayout:
    """Infer the layout of a network.

    A network of PyTorch layers whose neurons are all in step mode "s" is assumed to map single steps, which
    is checked while it runs. For any other network the layout is found by running a copy on the meta device.

    Args:
        network: the network.
        x: the input, a sequence [T, B, ...] or an image [B, ...].
        T: the number of steps, if given by the user.
        kwargs: the other arguments of the network's call.

    Returns:
        The layout, and whether x is a sequence.

    Raises:
        InputError: no layout fits, or more than one does; asks the user to set `layout`.
        Exception: the network's own error, if it fails and the error does not look like one of a wrong shape.
    """
    if network.neuron_modes <= {"s"} and not network.time_visible:
        return FoundLayout(Layout("step", found=True), _known_kind(network, x, T, kwargs))
    steps = x.shape[0] if _surely_a_sequence(x) else None
    key = (tuple(x.shape), T, steps, settings_of(network, signs=True), signature(kwargs))
    known = _known.setdefault(network.net, {})
    if key not in known:
        remember(known, key, _probed(network, x, T, kwargs))
    name, is_sequence = known[key]
    return FoundLayout(Layout(name, found=True), is_sequence)


def _known_kind(network: Network, x: Tensor, T: int | None, kwargs: Mapping[str, Any]) -> bool | None:
    """Whether a network of single steps takes x as a sequence rather than as an image.

    Only determined for an x of three axes with T given. None otherwise, and if both or neither give [B, K].
    """
    if T is None or x.dim() != 3 or _surely_a_sequence(x):
        return None
    known = _kinds.setdefault(network.net, {})
    key = (tuple(x.shape), T, settings_of(network, signs=True), signature(kwargs))
    if key not in known:
        remember(known, key, _kind(network, x, T, kwargs))
    return known[key]


def _kind(network: Network, x: Tensor, T: int, kwargs: Mapping[str, Any]) -> bool | None:
    found, kwargs = [], emptied(kwargs)
    try:
        ghost = Ghost(network)
        for is_sequence, shape in ((True, x.shape[2:]), (False, x.shape[1:])):
            batch = 1 + max(*shape, T)
            outcome = run_ghost(ghost, torch.empty(batch, *shape, dtype=x.dtype, device="meta"), kwargs)
            if not isinstance(outcome, Exception) and outcome[1][:1] == (batch,) and len(outcome[1]) == 2:
                found.append(is_sequence)
    except Exception:  # copying a module may raise anything
        return None
    return found[0] if len(found) == 1 and (x.shape[0] == T or not found[0]) else None


def _surely_a_sequence(x: Tensor) -> bool:
    return x.dim() > 1 and x.shape[0] > 1 and x.stride(0) == 0


def _hypotheses(x: Tensor, T: int | None) -> Iterator[tuple[str, bool, torch.Size, int]]:
    """Yield the combinations to try: layout name, whether x is a sequence, the shape of a sample, steps."""
    if x.dim() > 1 and T in (None, x.shape[0]):
        yield from ((name, True, x.shape[2:], x.shape[0]) for name in ("step", "TB", "BT"))
    if not _surely_a_sequence(x):
        yield "static", False, x.shape[1:], T or 2
        if T is not None:
            yield from ((name, False, x.shape[1:], T) for name in ("step", "TB", "BT"))


def _probed(network: Network, x: Tensor, T: int | None, kwargs: Mapping[str, Any]) -> tuple[str, bool]:
    kwargs = emptied(kwargs)
    try:
        ghost = Ghost(network)
    except Exception as error:  # copying a module may raise anything
        raise _unclear(f"it cannot be copied ({error})") from None
    tries = []
    for name, is_sequence, shape, steps in _hypotheses(x, T):
        tries.append((name, is_sequence, _reads(ghost, name, shape, steps, kwargs, x.dtype)))
    found = [(name, is_sequence) for name, is_sequence, outcome in tries if outcome is True]
    # If the network takes the image itself, that it also takes the repeated image is no evidence.
    if ("static", False) in found:
        found = [(name, is_sequence) for name, is_sequence in found if is_sequence or name == "static"]
    if found[:2] in ([("step", True), ("TB", True)], [("step", False), ("TB", False)]):
        step = (
            _takes_one_step(ghost, x, found[0][1], kwargs)
            if network.time_visible
            else network.neuron_modes != {"m"}
        )
        del found[step]  # in step mode m the two are equivalent except for random numbers
    if found == [("BT", True), ("static", False)]:
        del found[1]  # static fits only because a sample's first axis is taken for time
    elif len({is_sequence for _, is_sequence in found}) == 2:
        found = [pair for pair in found if pair[1] == _has_time_axis(network.net, x)]
    if len(found) == 1:
        return found[0]
    if found:
        names = (f"{name}, x being {'a sequence' if seq else 'an image'}" for name, seq in found)
        raise _unclear(f"it could be {' or '.join(names)}")
    first = tries[0][-1]
    if isinstance(first, Exception):
        if not isinstance(first, RuntimeError | ValueError | TypeError | IndexError | AssertionError):
            raise first  # a bug in the network's code, not a wrong input
        raise _unclear(f"no form of the input goes through it. Given {tries[0][0]}: {first}") from first
    raise _unclear("no form of the input goes through it")


def _unclear(why: str) -> InputError:
    return InputError(
        f"how the network handles the time axis is not clear: {why}. Say layout= 'step' (it maps one step), "
        "'TB' (it takes [T, B, ...]), 'BT' ([B, T, ...]) or 'static' (an image, which it repeats itself)"
    )


def _reads(
    ghost: Ghost,
    name: str,
    shape: torch.Size,
    steps: int,
    kwargs: Mapping[str, Any],
    dtype: torch.dtype,
) -> bool | Exception:
    """Whether the network takes its input in this layout.

    It does if what the first neuron receives and the shape of the output fit. If the network fails, its
    exception is returned.
    """
    batch = next(n for n in range(steps + 1, steps + len(shape) + 3) if n not in shape)
    lead = {"step": (batch,), "static": (batch,), "TB": (steps, batch), "BT": (batch, steps)}[name]
    x = torch.empty(*lead, *shape, dtype=dtype, device="meta")
    if name == "step":
        return _as_steps(ghost, x, steps, batch, kwargs)
    outcome = run_ghost(ghost, x, kwargs)
    if isinstance(outcome, Exception):
        return outcome
    reading, y = outcome
    at_once = reading.shape[1:2] == (batch,) and reading.step_mode == "m"
    shown = reading.shape[0] if at_once else reading.calls
    looped = reading.step_mode == "s" and reading.shape[:1] == (batch,) and reading.calls > 1
    fits = at_once or looped
    if name == "static":
        return fits and _ends(y, (shown, batch), batch)
    return fits and shown == steps and _ends(y, (lead[0], lead[1]), batch)


def _as_steps(ghost: Ghost, x: Tensor, steps: int, batch: int, kwargs: Mapping[str, Any]) -> bool | Exception:
    """Whether the network maps a single step.

    A network with SpikingJelly's wrappers is run on all steps in step mode m, as its authors intend. The
    shape of its output is not checked here but in the real pass.
    """
    shows = ghost.time_visible
    try:
        with step_modes(ghost, "m") if shows else nullcontext():
            outcome = run_ghost(ghost, x.expand(steps, *x.shape) if shows else x, kwargs)
    except InputError:  # a layer supports step mode s only
        return False
    if isinstance(outcome, Exception):
        return outcome
    reading, y = outcome
    if shows:
        looped = reading.shape[:1] == (batch,) and reading.calls == steps
        return reading.shape[:2] == (steps, batch) or (reading.step_mode == "s" and looped)
    return reading.calls == 1 and reading.shape[:1] == y[:1] == (batch,)


def _has_time_axis(net: nn.Module, x: Tensor) -> bool | None:
    try:
        return has_time_axis(net, x)
    except InputError:  # the network's layers do not determine it
        return None


def _takes_one_step(ghost: Ghost, x: Tensor, is_sequence: bool, kwargs: Mapping[str, Any]) -> bool:
    """Whether a network with SpikingJelly's wrappers maps a single step in step mode s."""
    shape = x.shape[2:] if is_sequence else x.shape[1:]
    batch = next(n for n in range(2, len(shape) + 4) if n not in shape)
    try:
        with step_modes(ghost, "s"):
            outcome = run_ghost(ghost, torch.empty(batch, *shape, dtype=x.dtype, device="meta"), kwargs)
    except InputError:  # a layer supports step mode m only
        return False
    if isinstance(outcome, Exception):
        return False
    return outcome[0].calls == 1 and outcome[0].shape[:1] == (batch,)


def _ends(y: tuple[int, ...], lead: tuple[int, ...], batch: int) -> bool:
    return y[:2] == lead or (y[:1] == (batch,) and len(y) > 1)
