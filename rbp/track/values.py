"""The values that trackers show, taken from lines of metrics.jsonl and from result.json."""

from typing import Any

from rbp.files import is_number
from rbp.runs.energy import acc_over_t, energy_figures

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
BINS = 32  # of the histogram of firing rates, over [0, 1]


OVER_T = "acc_over_t"  # the test accuracy after t steps, as trackers call it


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
    """Return the figures named in SUMMARY that are present, and the operations and energies of an image."""
    return {key: values[key] for key in SUMMARY if is_number(values.get(key))} | energy_figures(values)


def after_steps(values: dict[str, Any]) -> dict[str, float]:
    """Return the test accuracy after each of the T steps, as acc_over_t/1 to acc_over_t/T."""
    return {after_step(t): accuracy for t, accuracy in enumerate(acc_over_t(values), 1)}


def after_step(t: int) -> str:
    """Return the name under which a summary has the test accuracy after t steps."""
    return f"{OVER_T}/{t}"
