"""The headline table: a line a comparison, with what each gradient mode reached and cost."""

from collections import Counter
from dataclasses import dataclass

from rbp.report.compare import MODES, Comparison
from rbp.report.costs import Costs, costs
from rbp.report.statistics import Paired, Summary, paired, summary

REASON_LENGTH = 160


@dataclass(frozen=True)
class Line:
    """One comparison in figures. Accuracies in [0, 1], seconds, bytes; notes say what is missing and why."""

    comparison: Comparison
    accuracy: dict[str, Summary]
    difference: Paired | None
    seconds: Costs
    memory: Costs
    notes: tuple[str, ...]


def table(comparisons: list[Comparison]) -> list[Line]:
    """A line for every comparison, in their order."""
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
    """What each gradient mode has of its own, such as its learning rate."""
    notes = []
    for key in sorted({key for run in comparison.runs for key in run.others if key.startswith("optimizer.")}):
        values = {mode: {str(run.others.get(key)) for run in comparison.of(mode)} for mode in MODES}
        if len(set().union(*values.values())) > 1:
            text = ", ".join(f"{mode} {', '.join(sorted(found))}" for mode, found in values.items() if found)
            notes.append(f"{key}: {text}")
    return notes


def _of_code(comparison: Comparison) -> list[str]:
    """That the results of a line are not all one code's."""
    found = {
        mode: dict.fromkeys(str(run.code.get("hash", "unknown")) for run in comparison.done(mode).values())
        for mode in MODES
    }
    if len({hash for hashes in found.values() for hash in hashes}) < 2:
        return []
    text = [f"{mode} {', '.join(hashes)}" for mode, hashes in found.items() if hashes]
    return [f"computed by different versions of the code: {'; '.join(text)}"]


def _unfinished(comparison: Comparison, mode: str) -> str:
    """For instance rate: 1 running (epoch 3 of 15), 1 failed: out of memory."""
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
    """One line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
