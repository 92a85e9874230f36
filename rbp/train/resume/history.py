"""What a run has behind it: kept in every checkpoint, so that it goes on as if it had never stopped."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from rbp.train.telemetry.costs import CostMeter


@dataclass
class Part:
    """An epoch of which so many batches are done: sums over their images, in the order of training."""

    batches: int = 0
    images: int = 0
    loss: float = 0.0
    correct: int = 0
    seconds: float = 0.0


@dataclass
class History:
    """All of it goes into the run's checkpoints.

    epochs: whole ones. part: what there is of the next one.
    last: the metrics of the last whole epoch. best: those of the epoch with the best validation accuracy
    (test accuracy where nothing is held out); the earlier one of equals. machines, code: what it ran on, and
    the versions of this package that it ran with, in order.
    """

    epochs: int = 0
    part: Part = field(default_factory=Part)
    seconds: float = 0.0
    epoch_seconds: list[float] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    machines: list[dict[str, Any]] = field(default_factory=list)
    code: list[dict[str, str]] = field(default_factory=list)
    costs: CostMeter = field(default_factory=CostMeter)


def to_plain(history: History) -> dict[str, Any]:
    """Plain values, from which `from_plain` makes the same history."""
    return dataclasses.asdict(history)


def from_plain(values: Any) -> History:
    """Raises ValueError, in words, where values are not those of a history."""
    _compare(values, to_plain(History()), "history")
    return History(**{**values, "part": Part(**values["part"]), "costs": CostMeter(**values["costs"])})


def _compare(values: Any, model: Any, name: str) -> None:
    """The same keys, and values of the same types; what is None in the model may be anything."""
    if model is not None and type(values) is not type(model):
        raise ValueError(f"{name} is a {type(values).__name__}, not a {type(model).__name__}")
    if not isinstance(model, dict) or not model:
        return
    if missing := [key for key in model if key not in values]:
        raise ValueError(f"{name} lacks {', '.join(missing)}")
    if unknown := [str(key) for key in values if key not in model]:
        raise ValueError(f"{name} has unknown {', '.join(unknown)}")
    for key, value in model.items():
        _compare(values[key], value, f"{name}.{key}")
