"""What a network sees of time: one step, [T, B, ...], [B, T, ...], or an image that it repeats itself."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from torch import Tensor

from rbp.rate.errors import InputError
from rbp.rate.layout.outputs import check_step, steps_and_mean
from rbp.rate.network.modules import Network
from rbp.rate.network.patching import step_modes

LAYOUTS = ("step", "TB", "BT", "static")


class Layout(NamedTuple):
    """name: one of LAYOUTS. found: whether it was found out rather than said, and so is checked on the way.

    With "step" the engine chooses every layer's step mode; with the others the network runs as it is written.
    """

    name: str
    found: bool = False

    @property
    def time_dim(self) -> int:
        """Which axis of what the network sees is time."""
        return 1 if self.name == "BT" else 0

    def seen_by_network(self, x_seq: Tensor) -> Tensor:
        """x_seq [T, B, ...] as the network takes it."""
        return x_seq.transpose(0, 1).contiguous() if self.name == "BT" else x_seq

    def one_step(self, x: Tensor) -> Tensor:
        """A step [B, ...] as the network takes it: as it is, or as a sequence of one."""
        return x if self.name == "step" else x.unsqueeze(self.time_dim)

    def modes(self, network: Network, step_mode: str) -> AbstractContextManager[None]:
        return step_modes(network, step_mode) if self.name == "step" else nullcontext()

    def output_of_step(self, y: Tensor, batch: int) -> Tensor:
        """[B, K], of what the network returned for one step."""
        if self.name == "step":
            check_step(y.shape, batch)
            return y
        try:
            return steps_and_mean(y, 1, batch, False, self.time_dim)
        except InputError as error:
            raise InputError(
                f"step_mode='s', layout={self.name!r}: given one step at a time, {error}; use step_mode='m'"
            ) from None

    def check_steps(self, shown: int | None, steps: int | None) -> None:
        """Raise InputError where the first neuron was shown another number of steps than T."""
        if shown is None or steps is None or shown == steps:
            return
        if self.name == "static":
            raise InputError(f"T={steps}, but the network repeats its input {shown} times")
        raise InputError(
            f"layout={self.name!r}: the first neuron was shown {shown} steps, not T={steps}; another layout "
            f"may be what the network means: {', '.join(LAYOUTS)}"
        )


def check_modes(network: Network, layout: Layout) -> None:
    """Raise InputError for a network that is to run as written, its neurons in different step modes."""
    if layout.name != "step" and len(network.neuron_modes) > 1:
        raise InputError(
            f"layout={layout.name!r}: some of the network's neurons are in step mode 's', some in 'm'; set "
            "them, as in functional.set_step_mode(net, 'm')"
        )
