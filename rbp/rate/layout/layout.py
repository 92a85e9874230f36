"""Layouts: the forms in which a network takes time.

A network maps a single step [B, ...] ("step"), all steps as [T, B, ...] ("TB") or [B, T, ...] ("BT"), or an
image [B, ...] that it repeats T times itself ("static").
"""

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
    """The form in which a network takes time.

    With "step" the engine sets every layer's step mode; with the others the network runs as it is written.

    Attributes:
        name: one of LAYOUTS.
        found: whether the layout was inferred, not given by the user. It is then checked during the pass.
    """

    name: str
    found: bool = False

    @property
    def time_dim(self) -> int:
        """The time axis of the network's input and output."""
        return 1 if self.name == "BT" else 0

    def seen_by_network(self, x_seq: Tensor) -> Tensor:
        """Return x_seq [T, B, ...] in the form that the network takes."""
        return x_seq.transpose(0, 1).contiguous() if self.name == "BT" else x_seq

    def one_step(self, x: Tensor) -> Tensor:
        """Return a step [B, ...] in the form that the network takes: as is, or as a sequence of length 1."""
        return x if self.name == "step" else x.unsqueeze(self.time_dim)

    def modes(self, network: Network, step_mode: str) -> AbstractContextManager[None]:
        """Set the network's step modes inside the block with layout "step"; else leave them alone."""
        return step_modes(network, step_mode) if self.name == "step" else nullcontext()

    def output_of_step(self, y: Tensor, batch: int) -> Tensor:
        """Return the output [B, K] of a single step.

        Args:
            y: what the network returned for `one_step`: [B, K], or a sequence of length 1.
            batch: the batch size B.

        Raises:
            InputError: y has another shape.
        """
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
        """Raise InputError if the first neuron received a number of steps other than T (None: unknown)."""
        if shown is None or steps is None or shown == steps:
            return
        if self.name == "static":
            raise InputError(f"T={steps}, but the network repeats its input {shown} times")
        raise InputError(
            f"layout={self.name!r}: the first neuron was shown {shown} steps, not T={steps}; another layout "
            f"may be what the network means: {', '.join(LAYOUTS)}"
        )


def check_modes(network: Network, layout: Layout) -> None:
    """Raise InputError if a network that runs as written has neurons in different step modes."""
    if layout.name != "step" and len(network.neuron_modes) > 1:
        raise InputError(
            f"layout={layout.name!r}: some of the network's neurons are in step mode 's', some in 'm'; set "
            "them, as in functional.set_step_mode(net, 'm')"
        )
