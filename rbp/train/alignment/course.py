"""When a run measures its alignment: before training, every `trainer.align_every` epochs, and at its end."""

from typing import Any

from rbp.runs.alignment import NOISE_FLOOR, mean_of, read_alignment
from rbp.train.alignment.of_run import measure_run
from rbp.train.resume.history import History
from rbp.train.resume.step_boundary import StepBoundary
from rbp.train.state import TrainState


def measure_if_due(
    training: TrainState, history: History, boundary: StepBoundary, ended: bool = False
) -> None:
    """Add a line to alignment.jsonl if the run stands at the end of an epoch that is to be measured.

    The last epoch is, whichever it is.

    A resumed run measures what it was stopped before, and nothing twice. The network, its random state and
    so the rest of the training are as without it.

    Raises:
        Preempted: A stop was requested; the resumed run measures from the start.
        ConfigError: The network cannot be measured.
    """
    every, record = training.cfg.trainer.align_every, boundary.record
    if every is None or history.part.batches or (history.epochs % every and not ended):
        return
    if any(line["epoch"] == history.epochs for line in read_alignment(record.folder.alignment)):
        return
    boundary.before_evaluation()
    line = measure_run(training, history.epochs, between=boundary.in_evaluation)
    record.alignment(line)
    record.log(_as_line(line))


def _as_line(line: dict[str, Any]) -> str:
    """Return a measurement in short."""
    found = {mode: mean_of(line, mode) for mode in line["modes"]}
    cosines = ", ".join(f"{mode}: {_digits(cosine)}" for mode, cosine in found.items()) or "not measured"
    floor = _digits(mean_of(line, NOISE_FLOOR))
    return f"after epoch {line['epoch']}: cosine with BPTT's gradient, {cosines}; between batches: {floor}"


def _digits(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
