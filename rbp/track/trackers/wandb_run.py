"""The wandb run of a run folder, the same one however often the run is preempted, requeued or restarted."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import wandb

from rbp.runs.metrics import GRAD_NORM, STEP_LOSS
from rbp.runs.status import Status
from rbp.track.identity import wandb_id
from rbp.track.reader import ELAPSED
from rbp.track.segments import has_artifact, last_step, segments, upload_marker
from rbp.track.service_log import last_words
from rbp.track.start import KEPT_OFFLINE
from rbp.track.trackers.best_checkpoint import best_checkpoint, log_checkpoint
from rbp.track.trackers.commits import commits_of, main_commit
from rbp.track.values import after_steps, histogram, scalars, summary

FAILED, INCOMPLETE = 1, 4
AXES = ("epoch", "images", ELAPSED)  # metrics that are x axes
# Seconds between writes to the disk, so that little is lost if the machine or the job ends; older versions of
# wandb do not have it.
_FLUSH: dict[str, Any] = {
    key: 2.0 for key in ("x_transaction_log_flush_interval",) if key in wandb.Settings.model_fields
}


class WandbRun:
    """The wandb run of a run folder; its files are in the folder's `wandb`."""

    def __init__(self, config: dict[str, Any], folder: Path, mode: str) -> None:
        self.code, self.config, self.folder, self.files = 0, config, folder, folder / "wandb"
        before = last_step(self.files)
        self.run = _begin(config, folder, mode, before)
        # Online, the service knows the last step it received; offline, only steps in the files count.
        self.last_step = max(before, self.run.step - 1) if self.run.offline else self.run.step - 1
        _define_axes(self.run)

    def log(self, line: dict[str, Any], epochs: int) -> None:
        """Log a metrics line; wandb's step is the training step."""
        values: dict[str, Any] = dict(scalars(line))
        if (found := histogram(line, epochs)) is not None:
            values["firing_rates"] = wandb.Histogram(np_histogram=(np.array(found[0]), np.array(found[1])))
        self.run.log(values, step=line["step"])
        self.last_step = line["step"]

    def finish(self, status: Status, figures: dict[str, Any]) -> None:
        """Write summary, state and error, and end the wandb run.

        In wandb, a run that is not done counts as failed or preempted.
        """
        # The run may have failed before, so an earlier error is overwritten.
        shown = summary(figures) | after_steps(figures)
        self.run.summary.update(shown | {"state": status.state, "error": status.error})
        if status.state == "done" and self.config["tracker"].get("checkpoints"):
            self._log_checkpoint(figures)
        if status.state == "preempted":
            self.run.mark_preempting()
        self.run.finish(exit_code=0 if status.state == "done" else FAILED)
        if not self.run.offline:
            self._mark_uploaded()
        if self.run.offline and (kept := last_step(self.files)) < self.last_step:
            self.code = INCOMPLETE  # wandb reports no error if it cannot write
            print(
                f"wandb's files end at step {max(kept, 0)}: is the disk full? metrics.jsonl has all",
                file=sys.stderr,
            )

    def _log_checkpoint(self, result: dict[str, Any]) -> None:
        """Log the best checkpoint, unless an earlier process has."""
        if any(map(has_artifact, segments(self.files))):
            return
        if (file := best_checkpoint(self.config, self.folder)) is None:
            print("tracker.checkpoints=true: the run has no checkpoint", file=sys.stderr)
            return
        log_checkpoint(self.run, file, self.folder, result)

    def _mark_uploaded(self) -> None:
        """Create the marker files of all segments, unless the service has refused steps.

        finish() waits until the service has everything or wandb has given up; only wandb's log shows which.
        """
        files = segments(self.files)
        words = last_words(files[-1].parent / "logs" / "debug-internal.log")
        if words is not None and words.lost:
            self.code = KEPT_OFFLINE
            return
        for file in files:
            upload_marker(file).touch()


def _define_axes(run: Any) -> None:
    """Give each metric the x axis that it has in the report: the epoch, and for steps the training step."""
    for name in (*AXES, STEP_LOSS, GRAD_NORM):
        run.define_metric(name)
    run.define_metric("*", step_metric="epoch")


def _begin(config: dict[str, Any], folder: Path, mode: str, before: int) -> Any:
    """Start or resume the wandb run.

    Args:
        config: The run's config.
        folder: The run folder.
        mode: wandb's mode, online or offline.
        before: The last step in the wandb files here. If there is none, the run starts anew, even if wandb
            has a (stale) run with this id: metrics.jsonl has everything.
    """
    tracker, sweep = config["tracker"], config["sweep"]["name"] or "single"
    tags = [config["dataset"]["name"], config["arch"]["name"], f"T{config['T']}", config["step_mode"]]
    tags += [config["grad_mode"]["name"]]
    commits = commits_of(config, folder)
    return wandb.init(
        mode=mode,  # type: ignore[arg-type]
        project=tracker["project"],
        entity=tracker["entity"],
        id=wandb_id(folder),
        name=folder.name,
        group=sweep,
        job_type=config["grad_mode"]["name"],
        tags=[*dict.fromkeys(tag[:64] for tag in [*tags, *tracker["tags"]])],
        config=shown_config(config) | {"git": commits},
        dir=folder,
        resume="allow" if before >= 0 else None,
        settings=wandb.Settings(
            console="off",  # this process's output is not the run's
            silent=True,
            save_code=False,
            disable_code=True,
            disable_git=True,  # it would look for the repository of this process
            git_commit=main_commit(commits),
            x_disable_meta=True,  # keeps command line, paths and user name private
            x_disable_stats=True,  # would measure this process
            x_label="rbp",
            **_FLUSH,
        ),
    )


_GROUPS = ("dataset", "arch", "neuron", "grad_mode", "loss", "optimizer", "trainer")


def shown_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the resolved config as shown in wandb.

    The names of the chosen options are at the top level; each group's keys are below `config`.
    """
    names = {group: config[group].get("name") for group in _GROUPS}
    top = {key: config[key] for key in ("T", "step_mode", "seed")}
    details = {group: config[group] for group in _GROUPS}
    return top | names | {"sweep": config["sweep"]["name"] or "single", "config": details}
