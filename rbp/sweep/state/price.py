"""Estimate what a sweep costs, by the steps that were last measured in runs of the same kind."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbp.config.dotted import find
from rbp.config.text import text
from rbp.errors import UserError
from rbp.files import is_number
from rbp.runs.config import config_to_show
from rbp.runs.folder import RunFolder, find_runs
from rbp.runs.result import read_result
from rbp.sweep.grid.cell import Cell

# What decides the time of a training step, apart from the machine.
_OF_STEP = (
    *("arch", "neuron", "step_mode", "grad_mode", "T", "loss.over", "optimizer.name"),
    *("dataset.channels", "dataset.size", "dataset.classes"),
    *(f"trainer.{key}" for key in ("batch_size", "accumulate", "precision", "chunk", "kernels", "threads")),
)
_OF_IMAGES = ("dataset.name", "dataset.val_split")  # what decides the number of training images

_Key = tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """A measured training step.

    Attributes:
        seconds: Its time.
        device: Model of the device, such as "NVIDIA H200".
        gpus: Number of GPUs that took part; 0 on a CPU.
    """

    seconds: float
    device: str
    gpus: int


@dataclass(frozen=True)
class Price:
    """What the training steps of some cells cost.

    Attributes:
        hours: By device: hours on all GPUs together, or hours of a machine without one.
        on_gpu: The devices that are GPUs.
        priced: Number of cells with a measured step.
        left: Number of cells without.
        aligned: Number of cells with a measured step that measure their alignment on the way.
    """

    hours: dict[str, float]
    on_gpu: frozenset[str]
    priced: int
    left: int
    aligned: int = 0

    def lines(self) -> list[str]:
        """Return it as sentences; none if no step was measured."""
        if not self.priced:
            return []
        costs = [
            f"{_hours(hours)} {'GPU ' if device in self.on_gpu else ''}hours on {device}"
            for device, hours in self.hours.items()
        ]
        cells = f"{self.priced} {'cell' if self.priced == 1 else 'cells'}"
        lines = [
            f"Training steps of {cells}: about {' and '.join(costs)}, by the step that was last measured for "
            f"each; evaluation{self._alignment()} on top."
        ]
        if self.left:
            lines.append(
                f"{self.left} more without a measured step: the same command with trainer=debug "
                "trainer.limit_batches=20 seed=0 sweep.name=price measures them."
            )
        return lines

    def _alignment(self) -> str:
        if not self.aligned:
            return " comes"
        of = "" if self.aligned == self.priced else f", for {self.aligned} of them,"
        return f" and what trainer.align_every measures{of} come"


def price(cells: Sequence[Cell], runs_dir: Path) -> Price:
    """Price cells by the newest runs below a folder that trained the same network in the same way."""
    steps, images = _measured(runs_dir, {str(cell.values["arch"]["name"]) for cell in cells})
    hours: dict[str, float] = {}
    on_gpu = set()
    priced = aligned = 0
    for cell in cells:
        step, n = steps.get(_key(cell.values, _OF_STEP)), images.get(_key(cell.values, _OF_IMAGES))
        if step is None or n is None:
            continue
        seconds = _steps(cell.values, n) * step.seconds
        hours[step.device] = hours.get(step.device, 0.0) + seconds * max(1, step.gpus) / 3600
        priced += 1
        aligned += cell.values["trainer"]["align_every"] is not None
        if step.gpus:
            on_gpu.add(step.device)
    return Price(hours, frozenset(on_gpu), priced, len(cells) - priced, aligned)


def _steps(values: Mapping[str, Any], images: int) -> int:
    trainer = values["trainer"]
    batches = math.ceil(images / trainer["batch_size"])
    return int(trainer["epochs"] * min(batches, trainer["limit_batches"] or batches))


def _measured(runs_dir: Path, archs: set[str]) -> tuple[dict[_Key, Step], dict[_Key, int]]:
    """Return the last measured step of each kind, and the number of training images of each data set."""
    steps: dict[_Key, Step] = {}
    images: dict[_Key, int] = {}
    for result, folder in _results(runs_dir):
        if str(result["config"].get("arch")) not in archs or not (config := config_to_show(folder)):
            continue
        if (step := _step(result)) is not None:
            steps.setdefault(_key(config, _OF_STEP), step)
        if is_number(n := result.get("train_images")) and n >= 1:
            images.setdefault(_key(config, _OF_IMAGES), int(n))
    return steps, images


def _results(runs_dir: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """Yield the results below a folder, the newest first."""
    found = [(result, folder) for folder in _runs(runs_dir) if (result := read_result(folder)) is not None]
    yield from sorted(found, key=lambda of: RunFolder(of[1]).result.stat().st_mtime, reverse=True)


def _runs(runs_dir: Path) -> Iterable[Path]:
    try:
        return find_runs([runs_dir])
    except UserError:  # nothing has run yet
        return []


def _step(result: Mapping[str, Any]) -> Step | None:
    machine, seconds = result.get("machine"), result.get("step_seconds")
    if not isinstance(machine, dict) or not is_number(seconds) or seconds <= 0:
        return None
    device, ranks = machine.get("device"), machine.get("ranks") or 1
    if not isinstance(device, str) or type(ranks) is not int or ranks < 1:
        return None
    return Step(float(seconds), device, ranks if machine.get("device_type") == "cuda" else 0)


def _key(config: Mapping[str, Any], keys: Sequence[str]) -> _Key:
    return tuple(text(find(config, key)) for key in keys)


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"
