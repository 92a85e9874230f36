"""What a network's own code keeps from one forward pass to the next: tensors in attributes and buffers.

All steps at once, and rates, have no step before: a network that reads in one step what it wrote in another
would be another network, without a word. What it only leaves behind, such as its last spikes, is harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from rbp.rate.dispatch.pair import Pair
from rbp.rate.errors import InputError
from rbp.rate.neurons.memories import attributes, put
from rbp.rate.neurons.supported import how_to_register
from rbp.rate.passes.network import Network

Held = dict[nn.Module, dict[str, Any]]


@contextmanager
def own_state_refused(
    network: Network, reads: Callable[[list[tuple[str, str]]], bool], leaves: bool
) -> Iterator[None]:
    """Around a pass: what modules of the user's own keep must not be read in the next step.

    reads: whether the network reads these attributes, (path of the module, name), before it writes them.
    leaves: whether to look at modules without children too, or they are run step by step in any case.
    Pairs that it leaves behind become tensors: those of the last step.

    Raises InputError naming module and attribute, which is then as it was before.
    """
    before = {m: kept for m, kept in held(network).items() if leaves or next(m.children(), None)}
    try:
        yield
    except BaseException:
        _put_back(before)
        raise
    written = _written(network, before)
    if not written:
        return
    now = [(module, name, attributes(module)[name]) for _, module, name in written]
    _put_back(before)
    if reads([(path, name) for path, _, name in written]):
        raise _refused(written)
    for module, name, value in now:
        put(module, {name: tree_map(_as_tensor, value)})


def held(network: Network) -> Held:
    """Attributes and buffers of every module whose class is the user's own; lists and dicts copied, as a step
    may write into them."""
    own = (found.module for found in network.layers if found.kind.keeps_own_state)
    return {module: {name: tree_map(_same, v) for name, v in attributes(module).items()} for module in own}


def _same(leaf: Any) -> Any:
    return leaf


def _written(network: Network, before: Held) -> list[tuple[str, nn.Module, str]]:
    """Where there are tensors now that were not there, in a list or a dict too."""
    paths = {found.module: found.path for found in network.layers}
    found = []
    for module, old in before.items():
        for name, value in attributes(module).items():
            known = {id(leaf) for leaf in tree_leaves(old.get(name))}
            if any(isinstance(leaf, Tensor) and id(leaf) not in known for leaf in tree_leaves(value)):
                found.append((paths[module], module, name))
    return found


def _put_back(before: Held) -> None:
    for module, old in before.items():
        now = attributes(module)
        for name in now.keys() - old.keys():
            delattr(module, name)
        put(module, {name: value for name, value in old.items() if _differs(now.get(name), value)})


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


def _refused(written: list[tuple[str, nn.Module, str]]) -> InputError:
    path, module, name = written[0]
    neuron = f". {how_to_register(module)}" if next(module.children(), None) is None else ""
    return InputError(
        f"{path or 'the network'} ({type(module).__qualname__}) keeps {name!r} from step to step, which only "
        f"a pass step by step sees: use step_mode='s' with grad_mode='bptt'{neuron}"
    )


class Poison(Tensor):
    """A tensor that notes when it is read."""

    touched: ClassVar[bool] = False

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        Poison.touched = True
        return super().__torch_function__(func, types, args, kwargs or {})
