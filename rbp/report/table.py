"""Compute the headline table: one line per comparison, with each gradient mode's accuracy and cost."""

from collections import Counter
from dataclasses import dataclass

from rbp.report.compare import MODES, Comparison
from rbp.report.costs import Costs, costs
from rbp.report.statistics import Paired, Summary, paired, summary

REASON_LENGTH = 160  # characters


@dataclass(frozen=True)
class Line:
    """One line of the headline table.

    Attributes:
        comparison: The comparison that the line shows.
        accuracy: Headline accuracy in [0, 1] by gradient mode.
        difference: Paired difference rate - bptt of the accuracies; None without a common seed.
        seconds: Time of a training step in seconds.
        memory: Peak memory of a training step in bytes.
        notes: What is missing, and why.
    """

    comparison: Comparison
    accuracy: dict[str, Summary]
    difference: Paired | None
    seconds: Costs
    memory: Costs
    notes: tuple[str, ...]


def table(comparisons: list[Comparison]) -> list[Line]:
    """Return a line for every comparison, in their order."""
    return [_line(comparison) for comparison in comparisons]


def _line(comparison: Comparison) -> Line:
    accuracy = {
        mode: {s: a for s, run in comparison.done(mode).items() if (a := run.accuracy) is not None}
        for mode in MODES
    }
    seconds, memory = costs(comparison, "step_seconds"), costs(comparison, "peak_memory_bytes")
    difference = paired(accuracy["bptt"], accuracy["rate"])
    notes = [note for mode in MODES if (note := _unfinished(comparison, mode))]
    notes += _of_accuracy(comparison, accuracy, difference) + _of_optimizer(comparison)
    if all(accuracy.values()):
        notes += [f"step time: {seconds.note}"] if seconds.note else []
        notes += [f"memory: {memory.note}"] if memory.note and memory.note != seconds.note else []
    notes += _of_code(comparison)
    means = {mode: s for mode in MODES if (s := summary(accuracy[mode].values())) is not None}
    return Line(comparison, means, difference, seconds, memory, tuple(notes))


def _of_accuracy(
    comparison: Comparison, accuracy: dict[str, dict[int, float]], difference: Paired | None
) -> list[str]:
    notes = []
    pairs = 0 if difference is None else difference.n
    if all(accuracy.values()) and pairs < max(map(len, accuracy.values())):
        notes.append(
            f"difference over {pairs} common seed{'s' * (pairs != 1)}" if pairs else "no common seed"
        )
    if any((run.result or {}).get("headline") == "best" for run in comparison.runs):
        notes.append("accuracies are those of the best epoch")
    return notes


def _of_optimizer(comparison: Comparison) -> list[str]:
    """Return a note on each optimizer key with different values, such as one learning rate per method."""
    notes = []
    for key in sorted(
        {key for run in comparison.runs for key in run.other_settings if key.startswith("optimizer.")}
    ):
        values = {mode: {str(run.other_settings.get(key)) for run in comparison.of(mode)} for mode in MODES}
        if len(set().union(*values.values())) > 1:
            text = ", ".join(f"{mode} {', '.join(sorted(found))}" for mode, found in values.items() if found)
            notes.append(f"{key}: {text}")
    return notes


def _of_code(comparison: Comparison) -> list[str]:
    """Return a note if the results of a line come from different versions of the code."""
    found = {
        mode: dict.fromkeys(str(run.code.get("hash", "unknown")) for run in comparison.done(mode).values())
        for mode in MODES
    }
    if len({hash for hashes in found.values() for hash in hashes}) < 2:
        return []
    text = [f"{mode} {', '.join(hashes)}" for mode, hashes in found.items() if hashes]
    return [f"computed by different versions of the code: {'; '.join(text)}"]


def _unfinished(comparison: Comparison, mode: str) -> str:
    """Return a note such as "rate: 1 running (epoch 3), 1 failed (out of memory)"; "" if all are done."""
    runs = comparison.of(mode)
    if not runs:
        return f"{mode}: no run"
    waiting = [run for run in runs if run.result is None]
    parts = []
    for state, count in Counter(run.state for run in waiting).items():
        reasons = {run.error: None for run in waiting if run.state == state and run.error}
        epochs = max(run.epoch for run in waiting if run.state == state)
        text = f" ({cut('; '.join(reasons))})" if reasons else f" (epoch {epochs})" if epochs else ""
        parts.append(f"{count} {state}{text}")
    return f"{mode}: {', '.join(parts)}" if parts else ""


def cut(text: str, length: int = REASON_LENGTH) -> str:
    """Join a text to one line and shorten it to at most `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
