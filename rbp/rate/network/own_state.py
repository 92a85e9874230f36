"""What a network's own code keeps from one call to the next: tensors and numbers in attributes and buffers.

All steps at once, and rates, have no step before: a network that reads in one step what it wrote in another
would be another network, without a word. What it only leaves behind, such as its last spikes, is harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from rbp.rate.dispatch.pair import Pair
from rbp.rate.errors import InputError
from rbp.rate.network.modules import Network
from rbp.rate.network.owners import Owner, owners
from rbp.rate.network.reads import Place, is_number
from rbp.rate.neurons.supported import how_to_register

Versions = dict[int, int]  # of tensors, by their ids: how often each was written to in place


class _Before(NamedTuple):
    """An owner, its number among all, its attributes before the pass, and how often each tensor among them
    was written to in place."""

    owner: Owner
    number: int
    values: dict[str, Any]
    versions: Versions


def _same(leaf: Any) -> Any:
    """What tree_map copies lists and dicts with, which a step may write into."""
    return leaf


def _before(owner: Owner, number: int) -> _Before:
    values = {
        name: tree_map(lambda leaf: leaf, value) for name, value in owner.values.items()
    }  # copies lists
    return _Before(owner, number, values, _versions(values))


@contextmanager
def own_state_refused(
    network: Network,
    read_before_written: Callable[[list[Place]], list[Place]],
    *,
    leaves: bool,
    numbers: bool,
) -> Iterator[None]:
    """Refuse a pass of a network whose own modules read what the call before has left.

    Pairs that a module leaves behind become tensors: those of the last step.

    Args:
        network: the network.
        read_before_written: which of some attributes the network reads before it writes them.
        leaves: whether modules without children matter, or run step by step in any case.
        numbers: whether plain numbers matter, or the network is called once in any case.

    Raises:
        InputError: names module and attribute, which is then as it was before, but for the numbers of a
            tensor that was written to in place.
    """
    before = [
        _before(owner, number)
        for number, owner in enumerate(owners(network))
        if leaves or next(owner.layer.module.children(), None) is not None
    ]
    try:
        yield
    except BaseException:
        _put_back(before)
        raise
    written = [(b, name) for b in before for name in _written(b, numbers)]
    if not written:
        return
    now = [(b.owner, name, b.owner.values[name]) for b, name in written]
    _put_back(before)
    read = read_before_written([Place(b.number, name) for b, name in written])
    if read:
        raise _refused(*next((b.owner, name) for b, name in written if Place(b.number, name) in read))
    for owner, name, value in now:
        owner.put({name: tree_map(_as_tensor, value)})


def versions_of(network: Network) -> Versions:
    """How often each tensor that the user's own modules hold was written to in place."""
    return _versions([owner.values for owner in owners(network)])


def _versions(held: Any) -> Versions:
    return {id(leaf): leaf._version for leaf in tree_leaves(held) if _has_version(leaf)}


@contextmanager
def own_state_kept(network: Network, versions: Versions) -> Iterator[None]:
    """Let the user's own modules be afterwards as they are now.

    versions: of an earlier call. Tensors that were written to in place since are copied, as they will be
    again.
    """

    def copied(leaf: Any) -> Any:
        return leaf.clone() if isinstance(leaf, Tensor) and _changed(leaf, versions) else leaf

    before = [_before(owner, number) for number, owner in enumerate(owners(network))]
    for kept in before:
        kept.owner.put({name: tree_map(copied, value) for name, value in kept.values.items()})
    try:
        yield
    finally:
        _put_back(before)


def _has_version(leaf: Any) -> bool:
    return type(leaf) is Tensor and not leaf.is_inference()


def _written(before: _Before, numbers: bool) -> list[str]:
    """The attributes that hold new tensors, in a list or a dict too, changed ones, or other numbers."""
    found = []
    for name, value in before.owner.values.items():
        old = tree_leaves(before.values.get(name))
        known = {id(leaf) for leaf in old}
        tensors = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
        new = any(id(leaf) not in known or _changed(leaf, before.versions) for leaf in tensors)
        if new or (numbers and is_number(value) and [value] != old):
            found.append(name)
    return found


def _changed(leaf: Tensor, versions: Versions) -> bool:
    """Whether a tensor was written to in place."""
    return _has_version(leaf) and leaf._version != versions.get(id(leaf), leaf._version)


def _put_back(before: list[_Before]) -> None:
    for owner, _, old, _ in before:
        now = owner.values
        owner.take(now.keys() - old.keys())
        owner.put({name: value for name, value in old.items() if _differs(now.get(name), value)})


def _differs(now: Any, old: Any) -> bool:
    """Whether a value is another one, or holds others; a list that was only copied does not."""
    leaves, others = tree_leaves(now), tree_leaves(old)
    return len(leaves) != len(others) or any(a is not b for a, b in zip(leaves, others, strict=True))


def _as_tensor(leaf: Any) -> Any:
    if not isinstance(leaf, Pair):
        return leaf
    if leaf.sequence is None:
        assert leaf.rate is not None
        return leaf.rate.detach()
    assert leaf.spikes is not None
    return leaf.spikes if leaf.time is not None else leaf.spikes[-1]


def _refused(owner: Owner, name: str) -> InputError:
    module, path = owner.layer.module, owner.layer.path
    neuron = f". {how_to_register(module)}" if next(module.children(), None) is None else ""
    return InputError(
        f"{path or 'the network'} ({type(module).__qualname__}) keeps {owner.prefix + name!r} from step to "
        f"step, which only a pass step by step sees: use step_mode='s' with grad_mode='bptt'{neuron}"
    )
