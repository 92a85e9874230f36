"""Arguments of `rbp.forward` and `rbp.backward`: their checks, and the layout of the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rbp.rate.errors import InputError
from rbp.rate.layout.layout import LAYOUTS, Layout, check_modes
from rbp.rate.layout.outputs import Called, Output
from rbp.rate.layout.probe import find_layout
from rbp.rate.layout.time_first import as_sequence
from rbp.rate.memory.draws import with_generators
from rbp.rate.network.modules import Network
from rbp.rate.network.overrides import check_overrides
from rbp.rate.network.patching import neurons_reset
from rbp.rate.network.weights import weights_read_once
from rbp.rate.neurons.memories import at_rest_afterwards


class Given(NamedTuple):
    """A network and its input, checked.

    Attributes:
        called: the network and how to call it.
        layout: how the network handles time.
        x: the input [T, B, ...], or [B, ...] if the network repeats it itself.
    """

    called: Called
    layout: Layout
    x: Tensor


def read(
    net: nn.Module,
    x: Any,
    *,
    step_mode: Any,
    T: Any = None,
    layout: Any = None,
    output: Output = None,
    kwargs: Mapping[str, Any] | None = None,
) -> Given:
    """Check the arguments that every gradient mode takes, and determine the layout. Args: see `rbp.forward`.

    Raises:
        InputError: one of them is wrong, or the layout is not clear.
    """
    if isinstance(net, nn.DataParallel):
        raise InputError(
            "net is wrapped in DataParallel, which copies it at every call: use DistributedDataParallel"
        )
    if step_mode not in ("m", "s"):
        raise InputError(f"step_mode={step_mode!r}: 'm' (T steps at once) or 's' (one by one)")
    if layout is not None and layout not in LAYOUTS:
        raise InputError(f"layout={layout!r}: one of {', '.join(repr(name) for name in LAYOUTS)}, or None")
    if not isinstance(x, Tensor):
        raise InputError(f"x_seq is {type(x).__name__}: a tensor is needed, [T, B, ...]")
    if T is not None and not is_whole(T):
        raise InputError(f"T={T!r}: a whole number is needed")
    if T is not None and T < 1:
        raise InputError(f"T={T}: a spiking network needs at least one time step")
    network = Network(net.module if isinstance(net, DistributedDataParallel) else net)
    called = Called(network, output, kwargs)
    seen, x = _as_seen(network, x, T, layout, called.kwargs)
    _check_input(x, seen, step_mode)
    check_modes(network, seen)
    for neuron in network.neurons:
        check_overrides(neuron.module)
    return Given(called, seen, x)


def is_whole(number: Any) -> bool:
    """Whether an argument is a whole number; booleans do not count."""
    return isinstance(number, int) and not isinstance(number, bool)


@contextmanager
def from_rest(network: Network) -> Iterator[None]:
    """Run the block as a pass: neurons start and end at rest, and each weight is computed once."""
    plain = (layer.module for layer in network.layers if layer.kind.is_plain_neuron)
    draws = with_generators(network.generators)
    with neurons_reset(network), at_rest_afterwards(plain), weights_read_once(network), draws:
        yield


def _as_seen(
    network: Network, x: Tensor, T: int | None, layout: str | None, kwargs: Mapping[str, Any]
) -> tuple[Layout, Tensor]:
    """Return the layout, and the input as [T, B, ...], or as [B, ...] if the network repeats it itself."""
    seen, is_sequence = (Layout(layout), None) if layout is not None else find_layout(network, x, T, kwargs)
    if seen.name == "static":
        return seen, x
    if is_sequence is False and T is not None:
        return seen, x.expand(T, *x.shape)
    return seen, x if is_sequence else as_sequence(network.net, x, T)


def _check_input(x: Tensor, layout: Layout, step_mode: str) -> None:
    if layout.name == "static":
        if step_mode == "s":
            raise InputError(
                "step_mode='s' with layout 'static': the network repeats its input itself, so there are no "
                "single steps to give it; use step_mode='m'"
            )
        if x.dim() < 1 or x.numel() == 0:
            raise InputError(f"x has shape {tuple(x.shape)}: an image [B, ...] with B of 1 or more is needed")
    elif x.dim() < 2 or x.numel() == 0:
        raise InputError(f"x_seq has shape {tuple(x.shape)}: [T, B, ...] with T and B of 1 or more is needed")
