"""What a network returns: which tensor of it is the output, and its time mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from rbp.rate.errors import InputError
from rbp.rate.network.modules import Network

Output = str | int | Callable[[Any], Any] | None
NO_STEPS = "per_step=True: the network takes the time mean itself, and so hides its steps"


class Called:
    """A network's call: its other arguments, and which tensor of what it returns is the output.

    Raises InputError where that is no tensor, or the output named is not there.
    """

    def __init__(
        self, network: Network, output: Output = None, kwargs: Mapping[str, Any] | None = None
    ) -> None:
        self.network, self.output, self.kwargs = network, output, dict(kwargs or {})

    def __call__(self, x: Any) -> Tensor:
        y = self._chosen(self.network.net(x, **self.kwargs))
        if not isinstance(y, Tensor):
            raise InputError(
                f"the network returned {_kind(y)}, not one tensor computed from its input: output= picks "
                "one, a name or a number or a function of what is returned"
            )
        return y

    def _chosen(self, y: Any) -> Any:
        if self.output is None:
            return y
        if callable(self.output):
            return self.output(y)
        try:
            return y[self.output]
        except (KeyError, IndexError, TypeError):
            pass
        if isinstance(self.output, str) and hasattr(y, self.output):
            return getattr(y, self.output)
        raise InputError(f"output={self.output!r}: the network returned {_kind(y)}")


def _kind(y: Any) -> str:
    if isinstance(y, Mapping):
        return f"a dict of {', '.join(repr(key) for key in y)}"
    if isinstance(y, Sequence) and not isinstance(y, str):
        return f"a {type(y).__name__} of {len(y)}"
    return type(y).__name__


def steps_and_mean(y: Tensor, steps: int, batch: int, per_step: bool, time: int = 0) -> Tensor:
    """The time mean [B, K] of what a network returned for all steps, or with per_step every step's.

    y: [T, B, K] or, where `time` is 1, [B, T, K]; or [B, K] by the network's own time mean.
    """
    by_step = (batch, steps) if time == 1 else (steps, batch)
    if y.shape[:2] == by_step and y.dim() > 2:
        return y.movedim(time, 0) if per_step else y.mean(time)
    if y.shape[:1] == (batch,) and y.dim() >= 2:
        if per_step:
            raise InputError(NO_STEPS)
        return y
    first, second = ("B", "T") if time == 1 else ("T", "B")
    raise InputError(
        f"the network returned shape {tuple(y.shape)}: [{first}={by_step[0]}, {second}={by_step[1]}, K] is "
        f"needed, or its time mean [B={batch}, K]"
    )


def check_step(shape: Sequence[int], batch: int) -> None:
    """Raise InputError unless a step's output is [B, K]."""
    if len(shape) < 2 or shape[0] != batch:
        raise InputError(
            f"the network returned shape {tuple(shape)} for one time step of B={batch} samples: [B, K] is "
            "needed. One that takes the time mean itself (mean(0)) needs all steps: step_mode='m'"
        )
