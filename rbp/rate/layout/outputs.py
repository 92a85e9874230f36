"""The output of a network: picking its tensor from what the network returns, and taking the time mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from rbp.rate.errors import InputError, NoStepsError
from rbp.rate.network.modules import Network

Output = str | int | Callable[[Any], Any] | None
NO_STEPS = (
    "per_step=True: the network takes the time mean itself, and so hides its steps; give it single steps "
    "(step_mode='s'), or use a loss of the time mean"
)


class Called:
    """A network as a function of one tensor that returns one tensor.

    Args:
        network: the network.
        output: which tensor of the returned value to pick: a key, index or attribute, or a function of the
            returned value. None: the network returns a single tensor.
        kwargs: further arguments, passed to every call of the network.

    Raises:
        InputError: when called, if the output is missing or not a tensor.
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

    def as_other(self, network: Network, x: Tensor, kwargs: Mapping[str, Any]) -> Tensor:
        """Call a copy of the network, with copies of the further arguments, in the same way."""
        return Called(network, self.output, kwargs)(x)

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
    """Return the time mean of a network's output over all steps, or the output of every step.

    Args:
        y: [T, B, K]; [B, T, K] if `time` is 1; or [B, K] if the network takes the time mean itself.
        steps: the number of steps T.
        batch: the batch size B.
        per_step: return every step's output instead of the mean.
        time: the time axis of y, 0 or 1.

    Returns:
        [B, K], or [T, B, K] with per_step.

    Raises:
        InputError: y has another shape.
        NoStepsError: y is [B, K], with per_step.
    """
    by_step = (batch, steps) if time == 1 else (steps, batch)
    if y.shape[:2] == by_step and y.dim() > 2:
        return y.movedim(time, 0) if per_step else y.mean(time)
    if y.shape[:1] == (batch,) and y.dim() >= 2:
        if per_step:
            raise NoStepsError(NO_STEPS)
        return y
    first, second = ("B", "T") if time == 1 else ("T", "B")
    raise InputError(
        f"the network returned shape {tuple(y.shape)}: [{first}={by_step[0]}, {second}={by_step[1]}, K] is "
        f"needed, or its time mean [B={batch}, K]"
    )


def check_step(shape: Sequence[int], batch: int) -> None:
    """Raise InputError unless the shape of a single step's output is [B, K]."""
    if len(shape) < 2 or shape[0] != batch:
        raise InputError(
            f"the network returned shape {tuple(shape)} for one time step of B={batch} samples: [B, K] is "
            "needed. One that takes the time mean itself (mean(0)) needs all steps: step_mode='m'"
        )
