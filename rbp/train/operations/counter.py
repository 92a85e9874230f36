"""Counting the operations of a forward pass, by layer and time step, on some of the images of a batch.

Torch's functions are watched as the network calls them, so that a convolution in a network's own forward, or
the products of an attention, count as layers do. Nothing that the network computes is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode

from rbp.rate import Pair
from rbp.rate.network.modules import CONTAINERS
from rbp.rate.registry import is_neuron
from rbp.train.operations.calls import Calls, Counts
from rbp.train.operations.divisors import DIVISORS, Divisor
from rbp.train.operations.products import OTHERS, PRODUCTS, Driver

STEPS_LOST = "its shapes do not tell the time steps"
UNKNOWN = "it multiplies in a way that is not known"
_WITHOUT_PRODUCTS = (nn.Embedding, nn.LayerNorm, nn.RMSNorm)  # though they have a weight of two axes


class Counter:
    """Counts the operations of a network, batch by batch.

    Args:
        net: The network.
        T: Number of time steps.
        single_steps: Whether the network is called once for each step.
        one_in: Of how many images of a batch one is counted.

    Attributes:
        counts: What was counted so far.
        batch_first: Whether the network takes [B, T, ...].
    """

    def __init__(self, net: nn.Module, T: int, single_steps: bool, one_in: int = 1) -> None:
        self.net, self.T, self.single_steps, self.one_in = net, T, single_steps, one_in
        self.counts = Counts(T)
        self.batch_first = False

    @contextmanager
    def batch(self, one_step: torch.Size) -> Iterator[None]:
        """Count what the network computes inside the block, on a batch with steps of this shape [B, ...]."""
        watch = _Watch(self, one_step)
        with ExitStack() as stack:
            stack.callback(hooks.register_module_forward_pre_hook(watch.enter).remove)
            stack.callback(hooks.register_module_forward_hook(watch.leave, always_call=True).remove)
            stack.enter_context(watch)
            yield
        images = -(-one_step[0] // self.one_in)
        self.counts.add(Counts(self.T, images, watch.calls.by_layer(watch.roots), watch.not_counted))


def is_compiled(net: nn.Module) -> bool:
    """Whether torch.compile has compiled a part of the network, whose functions cannot be watched."""
    return any("_orig_mod" in m._modules or m._compiled_call_impl is not None for m in net.modules())


class _Module(NamedTuple):
    """A module of the network.

    Attributes:
        name: Its name.
        is_neuron: Whether it is a neuron.
        multiplies: Whether it has weights that must show up in products.
        time_first: Whether its input is [T, B, ...], which it folds into one batch.
    """

    name: str
    is_neuron: bool
    multiplies: bool
    time_first: bool


def _modules(net: nn.Module) -> dict[int, _Module]:
    """Return the network's modules by id."""
    found = {}
    for name, module in net.named_modules():
        weight, neuron = getattr(module, "weight", None), is_neuron(module)
        multiplies = isinstance(weight, Tensor) and weight.dim() > 1 and not neuron
        multiplies = multiplies and not isinstance(module, _WITHOUT_PRODUCTS)
        time_first = isinstance(module, (base.StepModule, *CONTAINERS)) and not neuron
        found[id(module)] = _Module(name or type(module).__name__, neuron, multiplies, time_first)
    return found


class _Watch(TorchFunctionMode):
    """Sees the functions that the network calls in one batch, and the modules that call them."""

    def __init__(self, counter: Counter, one_step: torch.Size) -> None:
        super().__init__()
        self.counter, self.one_step = counter, tuple(one_step)
        self.modules = _modules(counter.net)
        self.inside: list[_Module] = []
        self.roots = 0  # calls of the network so far
        self.fired = False  # whether a neuron has been called in this one
        self.divisors: list[Divisor] = []  # of the last two average pools, the last one first
        self.calls = Calls(counter.T)
        self.not_counted: dict[str, str] = {}
        self.multiplied: set[str] = set()  # names of the modules inside which a product was seen

    def enter(self, module: nn.Module, args: Any) -> None:
        """Note that a module is called."""
        if module is self.counter.net:
            if self.roots == (self.counter.T if self.counter.single_steps else 1):  # that pass has failed
                self.roots, self.calls = 0, Calls(self.counter.T)
            self.roots, self.fired, self.divisors = self.roots + 1, False, []
            self._note_layout(args[0] if args else None)
        if (found := self.modules.get(id(module))) is not None:
            self.inside.append(found)

    def _note_layout(self, x: Any) -> None:
        (B, *rest), T = self.one_step, self.counter.T
        if isinstance(x, Tensor) and B != T and tuple(x.shape) in ((T, B, *rest), (B, T, *rest)):
            self.counter.batch_first = tuple(x.shape[:2]) == (B, T)

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        """Note that a module's call has ended, perhaps by an error."""
        if id(module) not in self.modules or not self.inside:
            return
        left = self.inside.pop()
        self.fired |= left.is_neuron
        if left.multiplies and left.name not in self.multiplied:
            self.not_counted[left.name] = UNKNOWN

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        y = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if self.inside and (name in PRODUCTS or name in DIVISORS or name in OTHERS):
            given = {key: _values(value) for key, value in (kwargs or {}).items()}
            first = [given.pop("input")] if "input" in given else []
            self._see(name, _values(y), [*first, *map(_values, args)], given)
        return y

    def _see(self, name: str, y: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
        if isinstance(y, Tensor) and y.is_meta:  # a dry run of a part of the network, for its shapes
            return
        if name in DIVISORS:
            if (divisor := DIVISORS[name](y, *args, **kwargs)) is not None:
                self.divisors = [divisor, *self.divisors][:2]
            return
        inside = self.inside[-1].name
        self.multiplied.update(module.name for module in self.inside)
        if name in OTHERS:
            self.not_counted[inside] = f"{name} is not counted"
            return
        try:
            possible = PRODUCTS[name](*args, **kwargs)
        except (TypeError, ValueError, RuntimeError) as error:  # no reason for an evaluation to fail
            self.not_counted[inside] = f"{name}: {error}"
            return
        drivers = []
        for driver in possible:
            if (x := self._by_step(driver)) is not None:
                drivers.append(driver._replace(x=x[:, :: self.counter.one_in]))
        if drivers:
            self.calls.add((inside, name), drivers, self.roots, self.fired, self.divisors)
        else:
            self.not_counted[inside] = STEPS_LOST

    def _by_step(self, driver: Driver) -> Tensor | None:
        """Return its x as [t, B, ...], t being T or 1; None if its shape does not tell where time is.

        Time is first where it is folded into the batch, as SpikingJelly has it. A network that takes
        [B, T, ...] may also fold them the other way round, outside SpikingJelly's layers.
        """
        x, B = driver.x, self.one_step[0]
        T, batch_first = 1 if self.counter.single_steps else self.counter.T, self.counter.batch_first
        if isinstance(driver.reach, float) and x.dim() > 2:  # time may have an axis of its own
            if x.shape[:2] == (T, B):
                return x
            if batch_first and x.shape[:2] == (B, T):
                return x.transpose(0, 1)
        if T > 1 and x.shape[0] == T * B:
            known = not batch_first or any(module.time_first for module in self.inside)
            return x.unflatten(0, (T, B)) if known else None
        if x.shape[0] == B:
            return x.unsqueeze(0)
        if self.fired and x.shape[0] % (T * B) == 0 and not batch_first:
            return x.unflatten(0, (T, B, -1))
        return None


def _values(x: Any) -> Any:
    return x.spikes if isinstance(x, Pair) else x
