"""What a run has done so far; saved in every checkpoint, so that a resumed run continues exactly."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from rbp.train.telemetry.costs import CostMeter


@dataclass
class PartialEpoch:
    """A partly trained epoch: the number of batches done, and sums over their images in training order.

    Attributes:
        batches: Batches done.
        images: Images in them.
        loss: Sum of the images' losses.
        correct: Number of correct answers.
        seconds: Wall time spent on them.
    """

    batches: int = 0
    images: int = 0
    loss: float = 0.0
    correct: int = 0
    seconds: float = 0.0


@dataclass
class History:
    """The progress of a run; all of it is saved in the run's checkpoints.

    Attributes:
        epochs: Number of completed epochs.
        part: What is done of the next epoch.
        seconds: Wall time of the completed epochs, including evaluation.
        epoch_seconds: Wall time of each completed epoch, without evaluation.
        last: Metrics of the last completed epoch.
        best: Metrics of the epoch with the best validation accuracy (test accuracy if no images are held
            out); the earliest one if several are equal.
        machines: Descriptions of the machines that the run used, in order.
        code: Versions of the code that the run used, in order.
        costs: Measured time and memory of training steps.
    """

    epochs: int = 0
    part: PartialEpoch = field(default_factory=PartialEpoch)
    seconds: float = 0.0
    epoch_seconds: list[float] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    machines: list[dict[str, Any]] = field(default_factory=list)
    code: list[dict[str, str]] = field(default_factory=list)
    costs: CostMeter = field(default_factory=CostMeter)


def to_plain(history: History) -> dict[str, Any]:
    """Convert a history to plain values, the inverse of `from_plain`."""
    return dataclasses.asdict(history)


def from_plain(values: Any) -> History:
    """Convert plain values to a history. Raises ValueError that names the key if they do not describe one."""
    _compare(values, to_plain(History()), "history")
    return History(
        **{**values, "part": PartialEpoch(**values["part"]), "costs": CostMeter(**values["costs"])}
    )


def _compare(values: Any, model: Any, name: str) -> None:
    """Raise ValueError unless keys and types match those of `model`; None in the model matches anything."""
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
