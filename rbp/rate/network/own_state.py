"""State that the user's own modules keep between calls: tensors and numbers in attributes and buffers.

A pass over all steps at once, or over rates, has no previous step. A network that reads in one step what it
wrote in the previous one would silently compute something else there, so such a pass is refused. State that
is written but never read back, such as the last spikes, is harmless.
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
from rbp.rate.network.reads import Place, plain_values
from rbp.rate.neurons.supported import how_to_register

Versions = dict[int, int]  # tensor id -> tensor._version, the count of in-place writes


class _Before(NamedTuple):
    """An owner before the pass: its index in `owners(network)`, its attributes, their tensors' versions."""

    owner: Owner
    number: int
    values: dict[str, Any]
    versions: Versions


def _same(leaf: Any) -> Any:
    """Return leaf itself: the identity, with which tree_map copies lists and dicts."""
    return leaf


def _before(owner: Owner, number: int) -> _Before:
    # The identity tree_map copies lists and dicts, which a step may modify in place.
    values = {name: tree_map(_same, value) for name, value in owner.values.items()}
    return _Before(owner, number, values, _versions(values))


@contextmanager
def own_state_refused(
    network: Network,
    read_before_written: Callable[[list[Place]], list[Place]],
    *,
    leaves: bool,
    numbers: bool,
) -> Iterator[None]:
    """Refuse a pass in which the user's own modules read state left by the previous call.

    Pairs left in attributes by an accepted pass are replaced by plain tensors: the spikes of the last step;
    all spikes if the pair shows the time axis; the rate if the pair has no spikes. A failed or refused pass
    restores the attributes, but not the contents of tensors written to in place.

    Args:
        network: the network.
        read_before_written: given the attributes that the pass has written, returns those that the network
            reads before it writes them.
        leaves: whether to check modules without children. Not needed where they run step by step anyway.
        numbers: whether to check plain numbers as well as tensors. Not needed where the network is called
            only once in any case.

    Raises:
        InputError: a module reads state left by the previous call; names the module and the attribute.
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
    """Return the version counters of all tensors held by the user's own modules, for `own_state_kept`."""
    return _versions([owner.values for owner in owners(network)])


def _versions(held: Any) -> Versions:
    return {id(leaf): leaf._version for leaf in tree_leaves(held) if _has_version(leaf)}


@contextmanager
def own_state_kept(network: Network, versions: Versions) -> Iterator[None]:
    """Restore the state of the user's own modules on exit.

    Args:
        network: the network.
        versions: from `versions_of`, before an earlier call of the network. Tensors written to in place since
            then are replaced by clones inside the block, which can be expected to write to them again.
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
    """Return the attributes that now hold or contain new or modified tensors, or a different number."""
    found = []
    for name, value in before.owner.values.items():
        old = tree_leaves(before.values.get(name))
        known = {id(leaf) for leaf in old}
        tensors = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
        new = any(id(leaf) not in known or _changed(leaf, before.versions) for leaf in tensors)
        if new or (numbers and plain_values(value) != plain_values(before.values.get(name))):
            found.append(name)
    return found


def _changed(leaf: Tensor, versions: Versions) -> bool:
    """Whether the tensor was written to in place since its version was recorded."""
    return _has_version(leaf) and leaf._version != versions.get(id(leaf), leaf._version)


def _put_back(before: list[_Before]) -> None:
    for owner, _, old, _ in before:
        now = owner.values
        owner.take(now.keys() - old.keys())
        owner.put({name: value for name, value in old.items() if _differs(now.get(name), value)})


def _differs(now: Any, old: Any) -> bool:
    """Whether two values hold different objects. A copied list with the same elements is not different."""
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
