"""State that the user's own modules keep between calls: tensors and numbers in attributes and buffers.

A pass over all steps at once, or over rates, has no previous step. A network that reads in one step what it
wrote in the previous one would silently compute something else there, so such a pass is refused (see
rbp.rate.dry_run.state_between_steps). State that is written but never read back, such as the last spikes,
is harmless.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from rbp.rate.dispatch.pair import Pair
from rbp.rate.errors import InputError
from rbp.rate.network.modules import Layer, Network, is_leaf
from rbp.rate.network.owners import Owner, owners
from rbp.rate.network.settings import plain_values
from rbp.rate.neurons.supported import how_to_register

Versions = dict[int, int]  # tensor id -> tensor._version, the count of in-place writes


class _Before(NamedTuple):
    """An owner before the pass: its attributes, and their tensors' versions."""

    owner: Owner
    values: dict[str, Any]
    versions: Versions


def _same(leaf: Any) -> Any:
    """Return leaf itself: the identity, with which tree_map copies lists and dicts."""
    return leaf


def _before(owner: Owner) -> _Before:
    # The identity tree_map copies lists and dicts, which a step may modify in place.
    values = {name: tree_map(_same, value) for name, value in owner.values.items()}
    return _Before(owner, values, _versions(values))


@contextmanager
def tensors_left(network: Network, *, refused: bool, loops: bool = False) -> Iterator[None]:
    """Leave tensors in the attributes of the user's own modules, where a pass has left pairs.

    The tensors are the spikes of the last step; all spikes if the pair shows the time axis; the rate if the
    pair has no spikes. A failed or refused pass restores the attributes, but not the contents of tensors
    written to in place.

    Args:
        network: the network.
        refused: whether to refuse a pass that writes to attributes, because it is unknown whether the next
            step reads them.
        loops: whether the user's own layers that are not made of others run step by step, and so may.

    Raises:
        InputError: names the module and the attribute.
    """
    before = [_before(owner) for owner in owners(network)]
    try:
        yield
        if refused:
            _refuse_written([kept for kept in before if not (loops and is_leaf(kept.owner.layer.module))])
    except BaseException:
        _put_back(before)
        raise
    for owner, _, _ in before:
        pairs = {name: value for name, value in owner.values.items() if _holds_pairs(value)}
        owner.put({name: tree_map(_as_tensor, value) for name, value in pairs.items()})


def _holds_pairs(value: Any) -> bool:
    return any(isinstance(leaf, Pair) for leaf in tree_leaves(value))


def _refuse_written(before: list[_Before]) -> None:
    for kept in before:
        for name in _written(kept):
            raise keeps(kept.owner.layer, [kept.owner.prefix + name])


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

    before = [_before(owner) for owner in owners(network)]
    for kept in before:
        kept.owner.put({name: tree_map(copied, value) for name, value in kept.values.items()})
    try:
        yield
    finally:
        _put_back(before)


def _has_version(leaf: Any) -> bool:
    return type(leaf) is Tensor and not leaf.is_inference()


def _written(before: _Before) -> list[str]:
    """Return the attributes that now hold or contain new or modified tensors, or another number."""
    found = []
    for name, value in before.owner.values.items():
        old = before.values.get(name)
        known = {id(leaf) for leaf in tree_leaves(old)}
        tensors = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
        new = any(id(leaf) not in known or _changed(leaf, before.versions) for leaf in tensors)
        if new or plain_values(value) != plain_values(old):
            found.append(name)
    return found


def _changed(leaf: Tensor, versions: Versions) -> bool:
    """Whether the tensor was written to in place since its version was recorded."""
    return _has_version(leaf) and leaf._version != versions.get(id(leaf), leaf._version)


def _put_back(before: list[_Before]) -> None:
    for owner, old, _ in before:
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


def keeps(layer: Layer, names: Sequence[str]) -> InputError:
    """Return the error for a module whose computation depends on the steps before.

    Args:
        layer: the module.
        names: the attributes that it changes; none if the state is somewhere else.
    """
    module, path = layer.module, layer.path
    state = ", ".join(repr(name) for name in names) or "something outside its attributes"
    neuron = f". {how_to_register(module)}" if is_leaf(module) else ""
    return InputError(
        f"{path or 'the network'} ({type(module).__qualname__}) keeps {state} from step to step, which only "
        f"a pass step by step sees: use step_mode='s' with grad_mode='bptt'{neuron}"
    )
