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
from rbp.rate.rules.base import find_rule

_LIBRARIES = ("torch.", "torchvision.", "spikingjelly.", "timm.", "einops.")

Held = dict[nn.Module, dict[str, Any]]


@contextmanager
def own_state_refused(
    net: nn.Module, reads: Callable[[list[tuple[str, str]]], bool], leaves: bool
) -> Iterator[None]:
    """Around a pass: what modules of the user's own keep must not be read in the next step.

    reads: whether the network reads these attributes, (path of the module, name), before it writes them.
    leaves: whether to look at modules without children too, or they are run step by step in any case.
    Pairs that it leaves behind become tensors: those of the last step.

    Raises InputError naming module and attribute, which is then as it was before.
    """
    before = {m: kept for m, kept in held(net).items() if leaves or next(m.children(), None)}
    try:
        yield
    except BaseException:
        _put_back(before)
        raise
    written = _written(net, before)
    if not written:
        return
    now = [(module, name, _of(module)[name]) for _, module, name in written]
    _put_back(before)
    if reads([(path, name) for path, _, name in written]):
        raise _refused(written)
    for module, name, value in now:
        _put(module, name, tree_map(_as_tensor, value))


def held(net: nn.Module) -> Held:
    """Attributes and buffers of every module whose class is the user's own."""
    return {module: dict(_of(module)) for module in net.modules() if is_own(module)}


def is_own(module: nn.Module) -> bool:
    """Whether its class is the user's own, and has no rule."""
    return not type(module).__module__.startswith(_LIBRARIES) and find_rule(module) is None


def _of(module: nn.Module) -> dict[str, Any]:
    apart = ("training", "forward", "T_destination", "dump_patches", "call_super_init")
    kept = {name: v for name, v in vars(module).items() if not name.startswith("_") and name not in apart}
    return kept | module._buffers


def _written(net: nn.Module, before: Held) -> list[tuple[str, nn.Module, str]]:
    """Where there are tensors now that were not there."""
    paths = {module: path for path, module in net.named_modules()}
    found = []
    for module, old in before.items():
        for name, value in _of(module).items():
            if value is not old.get(name) and any(isinstance(leaf, Tensor) for leaf in tree_leaves(value)):
                found.append((paths[module], module, name))
    return found


def _put_back(before: Held) -> None:
    for module, old in before.items():
        for name, value in _of(module).items():
            if name not in old:
                delattr(module, name)
            elif value is not old[name]:
                _put(module, name, old[name])


def _put(module: nn.Module, name: str, value: Any) -> None:
    if name in module._buffers:
        module._buffers[name] = value
    else:
        vars(module)[name] = value


def _as_tensor(leaf: Any) -> Any:
    if not isinstance(leaf, Pair):
        return leaf
    if leaf.given is None:
        assert leaf.rate is not None
        return leaf.rate.detach()
    assert leaf.spikes is not None
    return leaf.spikes if leaf.time is not None else leaf.spikes[-1]


def _refused(written: list[tuple[str, nn.Module, str]]) -> InputError:
    path, module, name = written[0]
    kind = type(module).__qualname__
    neuron = (
        f". If it is a neuron that treats each element by itself and emits 0 or 1, "
        f"rbp.rate.register(rbp.rate.ElementwiseNeuron(), {kind}) makes it one of rbp's"
        if next(module.children(), None) is None
        else ""
    )
    return InputError(
        f"{path or 'the network'} ({kind}) keeps {name!r} from step to step, which only a pass step by step "
        f"sees: use step_mode='s' with grad_mode='bptt'{neuron}"
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
