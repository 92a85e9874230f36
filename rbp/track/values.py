"""What trackers show of a line of metrics.jsonl."""

from typing import Any

from rbp.files import is_number

# Summed up in the end: figures of result.json.
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
BINS = 32  # of a histogram of firing rates, over [0, 1]


def scalars(line: dict[str, Any]) -> dict[str, float]:
    """Every number of a line by its name there, and firing rates by layer as firing_rate/LAYER."""
    rates = line.get("firing_rates") or {}
    by_layer = {f"firing_rate/{layer}": rate for layer, rate in rates.items() if is_number(rate)}
    return {key: value for key, value in line.items() if key != "step" and is_number(value)} | by_layer


def histogram(line: dict[str, Any], epochs: int) -> tuple[list[int], list[float]] | None:
    """At a few epochs (1, 2, 4, 8, ... and the last) how many layers fire how often: counts [BINS] and
    edges [BINS + 1] of their firing rates; None at other epochs."""
    epoch, rates = line.get("epoch"), [r for r in (line.get("firing_rates") or {}).values() if is_number(r)]
    if not isinstance(epoch, int) or not rates or (epoch & (epoch - 1) and epoch != epochs):
        return None
    counts = [0] * BINS
    for rate in rates:
        counts[min(BINS - 1, max(0, int(rate * BINS)))] += 1
    return counts, [n / BINS for n in range(BINS + 1)]


def summary(values: dict[str, Any]) -> dict[str, float]:
    """The figures of SUMMARY that there are."""
    return {key: values[key] for key in SUMMARY if is_number(values.get(key))}
