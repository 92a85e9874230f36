"""One training run, from its first epoch or its last checkpoint to its result."""

import contextlib
import statistics
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rbp.alignment import FEWEST
from rbp.config.identity import folder_name, grad_mode, grad_mode_settings
from rbp.config.versions import FORMAT
from rbp.errors import TrainingError
from rbp.provenance import git_commits, package_versions
from rbp.rate.neurons import compiled
from rbp.runs.checkpoints import kept_by, remove_unneeded_checkpoints
from rbp.runs.folder import RunFolder
from rbp.terminal.output import say
from rbp.track import TrackerProcess
from rbp.train.alignment.course import measure_if_due
from rbp.train.alignment.of_run import refuse_shared, refuse_too_few
from rbp.train.device import choose_device
from rbp.train.early_stop import stops_early, why_stopped
from rbp.train.epoch import check_finite, train_epoch
from rbp.train.evaluate import score
from rbp.train.ranks import lost_rank_explained, process_group, ranks_from_environment, refuse_uneven
from rbp.train.resume.checkpoint import load_latest
from rbp.train.resume.history import History, PartialEpoch
from rbp.train.resume.interrupt import Interruption
from rbp.train.resume.step_boundary import Action, StepBoundary
from rbp.train.state import TrainState, batches_per_epoch, restore, set_up
from rbp.train.telemetry.display import Display, make_display
from rbp.train.telemetry.memory import memory_errors_explained
from rbp.train.telemetry.record import Record, make_record

_WHY = "the last epoch was evaluated by an earlier version; `rbp eval` finds it out"
# The figures of the last epoch, as they are if a run is resumed that had only its result left to write.
_EARLIER: dict[str, Any] = {
    "test_acc_over_t": None,
    "operations": None,
    "why_null": {"test_acc_over_t": _WHY, "operations": _WHY},
}


def train(
    cfg: DictConfig,
    folder: Path,
    interruption: Interruption | None = None,
    start: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train a frozen config in its run folder, starting from the last checkpoint if there is one.

    Args:
        cfg: The frozen config.
        folder: The run folder; created if missing.
        interruption: A stop can be requested on it at any time; the run then saves a checkpoint at the next
            boundary between two steps.
        start: How the run is started, for start.json (see rbp.runs.start); None leaves that file alone.

    Returns:
        The content of result.json.

    Raises:
        Preempted: A stop was requested; status.json says `preempted`.
        FolderBusy: Another process works in the folder; status.json is left alone.
        UserError: Something that the user can fix; status.json says `failed`, with the reason.
    """
    run, here = RunFolder(folder), ranks_from_environment()
    refuse_uneven(cfg.trainer.batch_size, here, cfg.trainer.accumulate)
    refuse_shared(cfg, here.world)
    with (
        TrackerProcess(cfg, folder) as tracker,
        process_group(here, choose_device(cfg, here)) as ranks,
        make_record(run, cfg, ranks, start) as record,
        lost_rank_explained(ranks),
        memory_errors_explained(cfg),
        _disk_errors_explained(run),
    ):
        if ranks.first:
            tracker.start()  # before anything that may fail, so that the tracker shows failures too
        result = _train(set_up(cfg, ranks), run, record, interruption or Interruption())
        if ranks.first:
            remove_unneeded_checkpoints(run.checkpoints, kept_by(cfg.trainer))
    return result


def _train(
    training: TrainState, run: RunFolder, record: Record, interruption: Interruption
) -> dict[str, Any]:
    """Train from the last checkpoint to the end; return the content of result.json, which is written."""
    cfg = training.cfg
    if (every := cfg.trainer.align_every) is not None:
        refuse_too_few(cfg, len(training.splits.train), FEWEST, f"trainer.align_every={every}")
    history = _resume(training, run, record)
    _fit(training, history, StepBoundary(training, history, run, record, interruption))
    result = training.ranks.from_first(lambda: make_result(training, history))
    record.result(result)
    return result


@contextlib.contextmanager
def _disk_errors_explained(run: RunFolder) -> Iterator[None]:
    """Raise TrainingError if a file cannot be read or written inside the block."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"{error.filename or run.path}: cannot be read or written: {error.strerror or error}; "
            "earlier checkpoints are kept"
        ) from error


def _resume(training: TrainState, run: RunFolder, record: Record) -> History:
    """Restore the newest intact checkpoint, if any, and return its history, or an empty one."""
    file, state, problems = training.ranks.from_first(lambda: load_latest(run.checkpoints))
    history = History() if state is None else restore(training, state, file)
    if problems:
        problems.append(f"going on from the checkpoint before it, {_place(history)}")
    steps = history.epochs * batches_per_epoch(training) + history.part.batches
    record.cut_alignment(history.epochs)
    if lost := record.cut_metrics(history.epochs, steps):
        some = ", ".join(map(str, lost[:5])) + (f" and {len(lost) - 5} more" if lost[5:] else "")
        problems.append(f"{run.metrics}: damaged; the lines of these epochs are lost: {some}")
    for problem in problems:
        record.log(problem)
        if training.ranks.first:
            say(problem)
    if _noted(history.machines, training.machine):
        record.log(f"goes on with other hardware, software or kernels: {training.machine}")
    if _noted(history.code, training.code):
        record.log(f"goes on with other code: {training.code}")
    some = f", after {history.part.batches} of its batches," if history.part.batches else ""
    device, epochs = training.machine["device"], training.cfg.trainer.epochs
    record.log(f"starts with epoch {history.epochs + 1}{some} of {epochs} on {device}")
    return history


def _place(history: History) -> str:
    """Return how far a history is, as text."""
    some = f" and {history.part.batches} batches" if history.part.batches else ""
    return f"epoch {history.epochs}{some}"


def _noted(before: list[dict[str, Any]], now: dict[str, Any]) -> bool:
    """Append `now` if it differs from the last entry; return whether it replaces an earlier one."""
    if before[-1:] == [now]:
        return False
    before.append(now)
    return len(before) > 1


def _fit(training: TrainState, history: History, boundary: StepBoundary) -> None:
    """Train all remaining epochs; save a checkpoint and write metrics after each."""
    shown = (
        training.cfg
        if training.ranks.first
        else OmegaConf.merge(training.cfg, {"trainer": {"progress": "none"}})
    )
    assert isinstance(shown, DictConfig)
    display = make_display(shown, batches_per_epoch(training), history.epochs)
    record = boundary.record
    try:
        while history.epochs < training.cfg.trainer.epochs and not stops_early(training.cfg, history):
            measure_if_due(training, history, boundary)
            metrics, best = _epoch(training, history, boundary, display)
            record.metrics(metrics)
            boundary.save(best)
            line = _as_line(metrics, training.cfg.trainer.epochs)
            record.log(line)
            display.epoch(line)
        measure_if_due(training, history, boundary, ended=True)
        if stops_early(training.cfg, history):
            record.progress.epochs = history.epochs
            record.log(why_stopped(history))
            display.message(why_stopped(history))
    finally:
        display.close()
    boundary.save_or_stop(Action.NOTHING)


def _epoch(
    training: TrainState, history: History, boundary: StepBoundary, display: Display
) -> tuple[dict[str, Any], bool]:
    """Finish the current epoch, evaluate, and add it to the history.

    Returns:
        The epoch's metrics, and whether it is the best epoch so far.
    """
    number, part = history.epochs + 1, history.part
    learning_rate = training.optimizer.param_groups[0]["lr"]
    train_epoch(training, history, boundary, lambda batch, loss, acc: display.batch(number, batch, loss, acc))
    start = time.perf_counter()
    scores, figures = _scores(training, part, boundary)
    check_finite(training, history.epochs, scores)
    _next_learning_rate(training)
    metrics = {
        "epoch": number,
        "step": number * batches_per_epoch(training),
        "images": number * part.images,
        "lr": learning_rate,
        **scores,
        "seconds": part.seconds,
        "images_per_second": part.images / part.seconds,
    }
    history.epochs, history.part = number, PartialEpoch()
    history.seconds += part.seconds + time.perf_counter() - start
    history.epoch_seconds.append(part.seconds)
    history.last = metrics | figures
    chosen_by = "val_acc" if training.splits.val is not None else "test_acc"
    best = not history.best or metrics[chosen_by] > history.best[chosen_by]
    if best:
        history.best = metrics
    return metrics, best


def _next_learning_rate(training: TrainState) -> None:
    """Step the schedule."""
    with warnings.catch_warnings():  # torch warns if the run was resumed after the epoch's last training step
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
        training.schedule.step()


def _scores(
    training: TrainState, part: PartialEpoch, boundary: StepBoundary
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the training metrics of the epoch and the scores on validation and test images.

    With them, apart, what only the last epoch's matters of: accuracy over t and operations.
    """
    scores: dict[str, Any] = {"train_loss": part.loss / part.images, "train_acc": part.correct / part.images}
    boundary.before_evaluation()
    if training.splits.val is not None:
        val = score(training, training.splits.val, boundary.in_evaluation)
        scores |= {f"val_{key}": val[key] for key in ("loss", "acc", "top5") if key in val}
    test = score(training, training.splits.test, boundary.in_evaluation, counted=True)
    scores |= {f"test_{key}": test[key] for key in ("loss", "acc", "top5") if key in test}
    scores |= {key: test[key] for key in ("firing_rate", "firing_rates")}
    figures = {key: test[key] for key in ("operations", "why_null")}
    return scores, {"test_acc_over_t": test["acc_over_t"]} | figures


def make_result(training: TrainState, history: History) -> dict[str, Any]:
    """Return the content of result.json: the run's scores and costs, and the machine and code it used."""
    cfg, last, best = training.cfg, history.last, history.best
    step_seconds = history.costs.step_median()
    return {
        "format": FORMAT,
        "name": folder_name(cfg),
        "config": _choices(cfg),
        "train_images": len(training.splits.train),
        "params": sum(p.numel() for p in training.net.parameters()),
        "epochs": history.epochs,
        "stopped_early": stops_early(cfg, history),
        "train_loss": last["train_loss"],
        "test_acc": last["test_acc"],
        "best_test_acc": best["test_acc"],
        "best_epoch": best["epoch"],
        "best_by": "val_acc" if training.splits.val is not None else "test_acc",
        "headline": cfg.trainer.headline,
        "headline_acc": (last if cfg.trainer.headline == "last" else best)["test_acc"],
        **{key: last[key] for key in ("val_acc", "test_top5") if key in last},
        **{key: last.get(key, value) for key, value in _EARLIER.items()},
        "seconds_per_epoch": statistics.median(history.epoch_seconds),
        "step_seconds": step_seconds,
        "images_per_second": None if step_seconds is None else cfg.trainer.batch_size / step_seconds,
        "peak_memory_bytes": history.costs.peak_memory(),
        "firing_rate": last["firing_rate"],
        "firing_rates": last["firing_rates"],
        "seconds": history.seconds,
        # Kernels may fall back to others during training, so the kernels that ran are recorded. A resumed run
        # with no step left to do ran none, and records those it expected.
        "machine": training.machine | {"kernels": compiled.what_ran() or training.machine["kernels"]},
        "machines_before": history.machines[:-1],
        "code": training.code,
        "git": git_commits(cfg),
        "packages": package_versions(cfg),
        "code_before": history.code[:-1],
    }


def _choices(cfg: DictConfig) -> dict[str, Any]:
    """Return the options and settings that identify the run's cell in tables."""
    named = {group: cfg[group].name for group in ("dataset", "arch", "neuron")}
    axes = {"step_mode": cfg.step_mode, "grad_mode": grad_mode(cfg), "T": cfg.T, "seed": cfg.seed}
    return named | axes | grad_mode_settings(cfg)


def _as_line(metrics: dict[str, Any], epochs: int) -> str:
    """Return an epoch's metrics as one line of text."""
    parts = [
        f"epoch {metrics['epoch']}/{epochs}",
        f"loss {metrics['train_loss']:.4f}",
        f"train acc {100 * metrics['train_acc']:.2f}%",
        f"val acc {100 * metrics['val_acc']:.2f}%" if "val_acc" in metrics else "",
        f"test acc {100 * metrics['test_acc']:.2f}%",
        f"lr {metrics['lr']:.4g}",
        f"{metrics['seconds']:.2f} s",
        f"{metrics['images_per_second']:,.0f} img/s",
    ]
    return "  ".join(part for part in parts if part)
