"""Whether a network computes the same at each of its steps, which a pass over all steps at once relies on.

A copy of the network runs a few steps on a small input, and the expressions that compute its output are
compared. They differ if a step reads what a previous one wrote, wherever that is kept, or counts its calls.
They are equal if state is only written (the last spikes), or computed at the first call and kept (a table of
positions).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from rbp.rate.dry_run.expressions import Expressions
from rbp.rate.dry_run.ghost import Ghost, dry_run
from rbp.rate.dry_run.loops import Loops
from rbp.rate.network.modules import Layer, Network, is_leaf
from rbp.rate.network.own_state import keeps
from rbp.rate.network.owners import owners
from rbp.rate.network.patching import step_modes
from rbp.rate.network.settings import Attribute, plain_values, remember, settings_of, signature

FEW_SAMPLES = 2  # of a batch, enough where the network takes any number
FEW_STEPS = 3  # enough where the attributes stay as they are
STEPS_TRIED = 8  # shows what counts its steps
MOST_FLOATS = 16  # values of annealed settings for which the steps are compared


Call = Callable[[Network, Tensor, Mapping[str, Any]], Tensor]


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
    changing: frozenset[Attribute]


SAME = Answer(True, None, frozenset())
UNKNOWN = Answer(False, None, frozenset())


class _Known:
    """Answers for one network; settings that change at each step are no part of their keys."""

    def __init__(self) -> None:
        self.changing: frozenset[Attribute] = frozenset()
        self.answers: dict[Any, Answer] = {}
        self.with_other_floats: dict[Any, list[Answer]] = {}


_known: WeakKeyDictionary[nn.Module, _Known] = WeakKeyDictionary()


def compare_steps(
    network: Network,
    x: Tensor,
    call: Call,
    kwargs: Mapping[str, Any],
    batch_dim: int,
    step_mode: str | None,
    loops: bool,
) -> Answer:
    """Compare the computations of a network's first STEPS_TRIED calls.

    The answer is cached by network, shapes and settings. For settings that differ in floats alone it is found
    MOST_FLOATS times; later ones get the last answer, with a warning.

    Args:
        network: the network.
        x: the input of one call.
        call: calls a copy of the network with an input and the other arguments; returns its output.
        kwargs: the other arguments of the call.
        batch_dim: the axis of x that is the batch. Two samples are enough where the network takes them.
        step_mode: the step mode to run the layers in; None leaves them as they are.
        loops: whether the user's own layers run step by step in the pass (see rbp.rate.dry_run.loops).
    """
    known = _known.setdefault(network.net, _Known())
    shape = (tuple(x.shape), x.dtype, signature(kwargs), torch.is_grad_enabled(), step_mode, loops)

    def key(signs: bool = False) -> tuple:
        return (*shape, settings_of(network, known.changing, signs=signs))

    if (kept := key()) in known.answers:
        return known.answers[kept]
    with_other_floats = known.with_other_floats.setdefault(key(signs=True), [])
    if len(with_other_floats) >= MOST_FLOATS:
        _warn_of_floats(network)
        return remember(known.answers, kept, with_other_floats[-1])
    inputs = [x.detach()]
    if x.shape[batch_dim] > FEW_SAMPLES:
        inputs.insert(0, x.detach().narrow(batch_dim, 0, FEW_SAMPLES))
    answer = UNKNOWN
    for few in inputs:
        if not answer.tried:
            answer = _compared(network, few, kwargs, call, step_mode, loops)
    known.changing |= answer.changing
    remember(known.with_other_floats, key(signs=True), [*with_other_floats, answer])
    return remember(known.answers, key(), answer)


def _warn_of_floats(network: Network) -> None:
    warnings.warn(
        f"{type(network.net).__name__} has had {MOST_FLOATS} values of a setting that is a float: that its "
        "steps do not depend on each other is not checked again for each further one",
        stacklevel=2,
    )


def refuse_difference(network: Network, answer: Answer) -> None:
    """Raise InputError if the network's steps differ, naming the module and what it keeps."""
    if answer.difference is None:
        return
    path, names = answer.difference
    raise keeps(next(layer for layer in network.layers if layer.path == path), names)


def _compared(
    network: Network,
    x: Tensor,
    kwargs: Mapping[str, Any],
    call: Call,
    step_mode: str | None,
    loops: bool,
) -> Answer:
    try:
        ghost = Ghost(network, with_values=True)
        with step_modes(ghost, step_mode) if step_mode is not None else nullcontext():
            return _steps(ghost, x, ghost.copy_of(dict(kwargs)), call, loops)
    except (Exception, SystemExit):  # copying a module, and its own code, may raise anything
        return UNKNOWN


def _steps(ghost: Ghost, x: Tensor, kwargs: Mapping[str, Any], call: Call, loops: bool) -> Answer:
    expressions = _with_names(ghost)
    events = _Events(expressions, loops)
    held, outputs = [_held(ghost, expressions)], []
    for n in range(STEPS_TRIED):
        if n == FEW_STEPS and held[1] == held[n] and not _has_other_state(ghost):
            break
        with events.of_a_step(ghost), dry_run(ghost), expressions:
            expressions.name_input((given := x.clone(), kwargs))
            outputs.append(expressions.look(call(ghost, given, kwargs)))
        held.append(_held(ghost, expressions))
        if outputs[n] != outputs[0]:
            break
    changing = _changes(held[0], held[-1])
    if outputs[-1] != outputs[0]:
        path = events.first_difference()
        return Answer(True, Difference(path, _names(ghost, path, changing)), changing)
    gathering = _gathering(ghost, held[1], held[2], expressions, loops)
    return Answer(True, gathering, changing)


def _with_names(ghost: Ghost) -> Expressions:
    """Return expressions that know the network's parameters and buffers."""
    expressions = Expressions()
    for name, tensor in (*ghost.net.named_parameters(), *ghost.net.named_buffers()):
        if tensor.layout == torch.strided:
            expressions.name(tensor, "held", name)
    return expressions


def _has_other_state(ghost: Ghost) -> bool:
    """Whether the network's code may keep state that `_held` does not show."""
    values = [leaf for owner in owners(ghost) for leaf in tree_leaves(list(owner.values.values()))]
    return ghost.outside.holds_data or not all(_is_shown(leaf) for leaf in values)


def _is_shown(leaf: Any) -> bool:
    return callable(leaf) or isinstance(leaf, Tensor | nn.Module) or plain_values(leaf) == [leaf]


def _held(ghost: Ghost, expressions: Expressions) -> dict[Attribute, tuple]:
    """Return what the attributes of the user's own code hold."""
    return {
        Attribute(number, name): expressions.look(value)
        for number, owner in enumerate(owners(ghost))
        for name, value in owner.values.items()
    }


def _changes(before: dict[Attribute, tuple], now: dict[Attribute, tuple]) -> frozenset[Attribute]:
    return frozenset(place for place in before.keys() | now.keys() if before.get(place) != now.get(place))


def _gathering(
    ghost: Ghost,
    before: dict[Attribute, Any],
    now: dict[Attribute, Any],
    expressions: Expressions,
    loops: bool,
) -> Difference | None:
    """Return the first attribute that is a tensor and gathers what reaches it at each step.

    That is a moving average or a sum, even if nothing reads it. A list that grows is no such attribute.
    """
    for number, owner in enumerate(owners(ghost)):
        if loops and is_leaf(owner.layer.module):
            continue
        for name, value in owner.values.items():
            place = Attribute(number, name)
            grows = isinstance(value, Tensor) and before.get(place) != now.get(place)
            if grows and expressions.has_input(value):
                return Difference(owner.layer.path, (owner.prefix + name,))
    return None


def _names(ghost: Ghost, path: str, changing: frozenset[Attribute]) -> tuple[str, ...]:
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

    def __init__(self, expressions: Expressions, loops: bool) -> None:
        self.expressions = expressions
        self.loops = Loops(expressions) if loops else None
        self.steps: list[list[_Event]] = []

    @contextmanager
    def of_a_step(self, ghost: Ghost) -> Iterator[None]:
        """Record the calls in the block as those of one more step."""
        self.steps.append([])
        if self.loops is not None:
            self.loops.next_step()
        handles: list[Any] = []
        for layer in ghost.layers:
            if layer.kind.keeps_own_state or layer.path == "":
                handles += self._watch(layer)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _watch(self, layer: Layer) -> list[Any]:
        inputs: list[Any] = []
        loops = self.loops if layer.path and is_leaf(layer.module) else None

        def before(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> Any:
            inputs.append(self.expressions.look((args, kwargs)))
            if loops is not None and len(args) + len(kwargs) == 1:
                return loops.begin(layer.path, (args, kwargs))
            return None

        def after(module: nn.Module, args: tuple, kwargs: dict[str, Any], y: Any) -> Any:
            given = inputs.pop()
            if loops is not None and len(args) + len(kwargs) == 1:
                y = loops.end(layer.path, given, y)
            self.steps[-1].append(_Event(layer.path, given, self.expressions.look(y)))
            return y

        pre = layer.module.register_forward_pre_hook(before, with_kwargs=True)
        return [pre, layer.module.register_forward_hook(after, with_kwargs=True)]

    def first_difference(self) -> str:
        """Return the path of the first module in the last step that got the same and returned another."""
        pairs = zip(self.steps[0], self.steps[-1], strict=False)
        differing = [then.path for first, then in pairs if first != then and first[:2] == then[:2]]
        return differing[0] if differing else ""
