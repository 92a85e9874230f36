"""The values that trackers show, taken from lines of metrics.jsonl and from result.json."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rbp.files import is_number, read_lines
from rbp.runs.folder import RunFolder
from rbp.runs.metrics import is_of_step

# Figures of result.json shown in the summary at the end of a run.
SUMMARY = (
    *(
        "test_acc",
        "best_test_acc",
        "headline_acc",
        "val_acc",
        "train_loss",
        "firing_rate",
        "params",
        "epochs",
    ),
    *("seconds_per_epoch", "step_seconds", "images_per_second", "peak_memory_bytes", "seconds"),
)
ELAPSED = "seconds_of_training"  # of all epochs so far; without evaluation
BINS = 32  # of the histogram of firing rates, over [0, 1]


def metrics_after(step: int, folder: Path) -> list[dict[str, Any]]:
    """Return what the run's metrics.jsonl has of later steps, in order: one line for each step.

    A line repeated after a kill has a step that was there before, and is left out. Where the last step of an
    epoch has a line of its own, that and the epoch's become one, and the first waits for the second: wandb
    takes a step only once.
    """
    found: list[dict[str, Any]] = []
    last_of_epoch: dict[str, Any] = {}
    for line in _with_elapsed(read_lines(RunFolder(folder).metrics)):
        if not isinstance(line.get("step"), int) or line["step"] <= step:
            continue
        if _is_last_of_epoch(line):
            last_of_epoch = line
            continue
        of_same = last_of_epoch if last_of_epoch.get("step") == line["step"] else {}
        if last_of_epoch and not of_same:  # the epoch's own line is lost
            found.append(last_of_epoch)
        found.append(of_same | line)
        step, last_of_epoch = line["step"], {}
    return found


def _is_last_of_epoch(line: dict[str, Any]) -> bool:
    epoch = line.get("epoch")
    return is_of_step(line) and is_number(epoch) and float(epoch).is_integer()


def _with_elapsed(lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the lines, those of epochs with the seconds of training up to their end.

    As in the report, there is none from the first epoch on whose line is lost.
    """
    epoch, elapsed = 0, 0.0
    for line in lines:
        seconds = line.get("seconds")
        if not is_of_step(line) and line.get("epoch") == epoch + 1 and is_number(seconds):
            epoch, elapsed = epoch + 1, elapsed + seconds
            line = line | {ELAPSED: elapsed}
        yield line


def of_layer(layer: str) -> str:
    """Return the name under which trackers show the firing rate of a layer."""
    return f"firing_rate/{layer}"


def scalars(line: dict[str, Any]) -> dict[str, float]:
    """Return every number of a metrics line by its key, and firing rates by layer as firing_rate/LAYER."""
    rates = line.get("firing_rates") or {}
    by_layer = {of_layer(layer): rate for layer, rate in rates.items() if is_number(rate)}
    return {key: value for key, value in line.items() if key != "step" and is_number(value)} | by_layer


def histogram(line: dict[str, Any], epochs: int) -> tuple[list[int], list[float]] | None:
    """Return a histogram of the layers' firing rates, at a few epochs only (1, 2, 4, 8, ... and the last).

    Args:
        line: A line of metrics.jsonl.
        epochs: Number of epochs of the run.

    Returns:
        Counts [BINS] and bin edges [BINS + 1]; None at other epochs, or if there are no firing rates.
    """
    epoch, rates = line.get("epoch"), [r for r in (line.get("firing_rates") or {}).values() if is_number(r)]
    if not isinstance(epoch, int) or not rates or (epoch & (epoch - 1) and epoch != epochs):
        return None
    counts = [0] * BINS
    for rate in rates:
        counts[min(BINS - 1, max(0, int(rate * BINS)))] += 1
    return counts, [n / BINS for n in range(BINS + 1)]


def summary(values: dict[str, Any]) -> dict[str, float]:
    """Return the figures named in SUMMARY that are present."""
    return {key: values[key] for key in SUMMARY if is_number(values.get(key))}
