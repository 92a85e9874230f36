"""Whether a network computes the same at each of its steps, which a pass over all steps at once relies on.

A copy of the network runs several times on the meta device, and the expressions that compute its output are
compared. They differ if a step reads what a previous one wrote, wherever that is kept, or counts its calls.
They are equal if state is only written (the last spikes), or computed at the first call and kept (a table of
positions).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from rbp.rate.dry_run.expressions import Expressions
from rbp.rate.dry_run.ghost import Ghost, dry_run, emptied
from rbp.rate.network.modules import Layer, Network
from rbp.rate.network.own_state import keeps
from rbp.rate.network.owners import owners
from rbp.rate.network.patching import step_modes
from rbp.rate.network.settings import Place, plain_values, remember, settings_of

FEW_STEPS = 3  # are enough for a network whose attributes stay as they are
STEPS_TRIED = 8  # shows what counts its steps


class Difference(NamedTuple):
    """Where a network's second step, or a later one, computes something else than its first.

    Attributes:
        path: the path of the innermost module that does, "" for the network itself.
        names: the attributes of that module that changed, with the objects that they are in.
    """

    path: str
    names: tuple[str, ...]


class Answer(NamedTuple):
    """The result of `compare_steps`.

    Attributes:
        tried: whether the network could be copied to, and run on, the meta device.
        difference: None if the steps compute the same.
        changing: the attributes that changed.
    """

    tried: bool
    difference: Difference | None
    changing: frozenset[Place]


SAME = Answer(True, None, frozenset())
UNKNOWN = Answer(False, None, frozenset())


class _Known:
    """Answers for one network; settings that change at each step are no part of their keys."""

    def __init__(self) -> None:
        self.changing: frozenset[Place] = frozenset()
        self.answers: dict[Any, Answer] = {}


_known: WeakKeyDictionary[nn.Module, _Known] = WeakKeyDictionary()


def compare_steps(
    network: Network, x: Tensor, kwargs: Mapping[str, Any], *, step_mode: str | None, loops: bool
) -> Answer:
    """Compare the computations of a network's first STEPS_TRIED calls.

    The answer is cached by network, shape and settings, except for calls with kwargs.

    Args:
        network: the network.
        x: the input of one call; only its shape and dtype matter.
        kwargs: the other arguments of the call.
        step_mode: the step mode to run the layers in; None leaves them as they are.
        loops: whether the user's own layers run step by step in the pass, so that they may keep state.
    """
    known = _known.setdefault(network.net, _Known())
    shape = (tuple(x.shape), x.dtype, step_mode, loops)
    key = (*shape, settings_of(network, known.changing))
    if not kwargs and key in known.answers:
        return known.answers[key]
    answer = _compared(network, x, kwargs, step_mode, loops)
    known.changing |= answer.changing
    return remember(known.answers, (*shape, settings_of(network, known.changing)), answer)


def refuse_difference(network: Network, answer: Answer) -> None:
    """Raise InputError if the network's steps differ, naming the module and what it keeps."""
    if answer.difference is None:
        return
    path, names = answer.difference
    raise keeps(next(layer for layer in network.layers if layer.path == path), names)


def _compared(
    network: Network, x: Tensor, kwargs: Mapping[str, Any], step_mode: str | None, loops: bool
) -> Answer:
    try:
        ghost = Ghost(network)
        with step_modes(ghost, step_mode) if step_mode is not None else nullcontext():
            return _steps(ghost, x.to("meta"), emptied(kwargs), loops)
    except Exception:  # copying a module, and its own code, may raise anything
        return UNKNOWN


def _steps(ghost: Ghost, x: Tensor, kwargs: Mapping[str, Any], loops: bool) -> Answer:
    expressions, events = Expressions(), _Events(loops)
    held, outputs = [_held(ghost, expressions)], []
    for n in range(STEPS_TRIED):
        if n == FEW_STEPS and held[1] == held[n] and not _has_other_state(ghost):
            break
        with events.of_a_step(ghost, expressions), dry_run(ghost), expressions.active():
            expressions.name_input((x, kwargs))
            y = ghost.net(x, **kwargs)
        outputs.append(expressions.look(y))
        held.append(_held(ghost, expressions))
        if outputs[n] != outputs[0]:
            break
    changing = _changes(held[0], held[-1])
    if outputs[-1] != outputs[0]:
        path = events.first_difference()
        return Answer(True, Difference(path, _names(ghost, path, changing)), changing)
    gathering = _gathering(ghost, _changes(held[1], held[2]), expressions, loops)
    return Answer(True, gathering, changing)


def _has_other_state(ghost: Ghost) -> bool:
    """Whether the network's code may keep state that `_held` does not show."""
    values = [leaf for owner in owners(ghost) for leaf in tree_leaves(list(owner.values.values()))]
    return ghost.outside.holds_data or not all(_is_shown(leaf) for leaf in values)


def _is_shown(leaf: Any) -> bool:
    return callable(leaf) or isinstance(leaf, Tensor | nn.Module) or plain_values(leaf) == [leaf]


def _held(ghost: Ghost, expressions: Expressions) -> dict[Place, tuple]:
    """Return what the attributes of the user's own code hold."""
    return {
        Place(number, name): expressions.look(value)
        for number, owner in enumerate(owners(ghost))
        for name, value in owner.values.items()
    }


def _changes(before: dict[Place, tuple], now: dict[Place, tuple]) -> frozenset[Place]:
    return frozenset(place for place in before.keys() | now.keys() if before.get(place) != now.get(place))


def _gathering(
    ghost: Ghost, changed: frozenset[Place], expressions: Expressions, loops: bool
) -> Difference | None:
    """Return the first attribute that gathers what reaches it at each step, as a moving average does."""
    for number, owner in enumerate(owners(ghost)):
        if loops and _is_leaf(owner.layer):
            continue
        for name, value in owner.values.items():
            if Place(number, name) in changed and expressions.has_input(value):
                return Difference(owner.layer.path, (owner.prefix + name,))
    return None


def _is_leaf(layer: Layer) -> bool:
    return next(layer.module.children(), None) is None


def _names(ghost: Ghost, path: str, changing: frozenset[Place]) -> tuple[str, ...]:
    names = []
    for number, owner in enumerate(owners(ghost)):
        if owner.layer.path == path:
            names += [owner.prefix + place.name for place in sorted(changing) if place.owner == number]
    return tuple(names)


class _Event(NamedTuple):
    """A call of a module: its path, and the expressions of its inputs and its output."""

    path: str
    inputs: tuple
    output: tuple


class _Events:
    """The calls of the user's own modules, in the order in which they end, step by step."""

    def __init__(self, loops: bool) -> None:
        self.loops = loops
        self.steps: list[list[_Event]] = []

    @contextmanager
    def of_a_step(self, ghost: Ghost, expressions: Expressions) -> Iterator[None]:
        """Record the calls in the block as those of one more step."""
        self.steps.append([])
        handles: list[Any] = []
        for layer in ghost.layers:
            if layer.kind.keeps_own_state or layer.path == "":
                handles += self._watch(layer, expressions)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _watch(self, layer: Layer, expressions: Expressions) -> list[Any]:
        inputs: list[tuple] = []
        loops = self.loops and layer.path != "" and _is_leaf(layer)

        def before(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            inputs.append(expressions.look((args, kwargs)))

        def after(module: nn.Module, args: tuple, kwargs: dict[str, Any], y: Any) -> None:
            given = inputs.pop()
            if loops and len(args) + len(kwargs) == 1:
                expressions.name_result(y, (args, kwargs), "a loop over the steps", layer.path, given)
            self.steps[-1].append(_Event(layer.path, given, expressions.look(y)))

        pre = layer.module.register_forward_pre_hook(before, with_kwargs=True)
        return [pre, layer.module.register_forward_hook(after, with_kwargs=True)]

    def first_difference(self) -> str:
        """Return the path of the first module in the last step that got the same and returned another."""
        pairs = zip(self.steps[0], self.steps[-1], strict=False)
        differing = [then.path for first, then in pairs if first != then and first[:2] == then[:2]]
        return differing[0] if differing else ""
