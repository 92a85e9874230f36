"""A run in wandb: the same one however often the run is preempted, requeued or started again."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import wandb

from rbp.runs.status import Status
from rbp.track.segments import last_step, mark_of, segments
from rbp.track.values import histogram, scalars, summary

FAILED, KEPT_OFFLINE, INCOMPLETE = 1, 3, 4


class WandbRun:
    """wandb's run of a run folder; its files lie in the folder's wandb/."""

    def __init__(self, config: dict[str, Any], folder: Path, mode: str) -> None:
        self.code, self.files = 0, folder / "wandb"
        before = last_step(self.files)
        try:
            self.run = _begin(config, folder, mode, before)
        except Exception as error:  # wandb's own, and the network's
            if mode != "online":
                raise
            self.run, self.code = _begin(config, folder, "offline", before), KEPT_OFFLINE
            message = " ".join(str(error).split())
            print(f"online is not to be had ({message}); kept offline, for rbp sync", file=sys.stderr)
        # Online the service knows how far it got; offline only what reached the files counts.
        self.last_step = max(before, self.run.step - 1) if self.run.offline else self.run.step - 1
        for name in ("epoch", "images"):
            self.run.define_metric(name)
        self.run.define_metric("*", step_metric="epoch")

    def log(self, line: dict[str, Any], epochs: int) -> None:
        """As wandb's step: the training step."""
        values: dict[str, Any] = dict(scalars(line))
        if (found := histogram(line, epochs)) is not None:
            values["firing_rates"] = wandb.Histogram(np_histogram=(np.array(found[0]), np.array(found[1])))
        self.run.log(values, step=line["step"])
        self.last_step = line["step"]

    def finish(self, status: Status, figures: dict[str, Any]) -> None:
        """Summary, state and error; what is not done is a failed run in wandb, or a preempted one."""
        # The run may have failed before: then the error goes.
        self.run.summary.update(summary(figures) | {"state": status.state, "error": status.error})
        if status.state == "preempted":
            self.run.mark_preempting()
        self.run.finish(exit_code=0 if status.state == "done" else FAILED)
        if not self.run.offline:
            self._mark_uploaded()
        if self.run.offline and (kept := last_step(self.files)) < self.last_step:
            self.code = INCOMPLETE  # wandb itself says nothing where it cannot write
            print(
                f"wandb's files end at step {max(kept, 0)}: is the disk full? metrics.jsonl has all",
                file=sys.stderr,
            )

    def _mark_uploaded(self) -> None:
        """finish() has waited until the service had everything, or has given up: its log alone tells."""
        files = segments(self.files)
        log = files[-1].parent / "logs" / "debug-internal.log"
        if log.exists() and b"fatal error" in log.read_bytes():
            self.code = KEPT_OFFLINE
            print("the service did not take everything; kept for rbp sync", file=sys.stderr)
            return
        for file in files:
            mark_of(file).touch()


def _begin(config: dict[str, Any], folder: Path, mode: str, before: int) -> Any:
    """wandb's run. `before`: the last step in its files here; where there is none, the run begins anew in
    wandb, whatever it has of one with this id (a stale one, say): metrics.jsonl has everything."""
    tracker, sweep = config["tracker"], config["sweep"]["name"] or "single"
    tags = [config["dataset"]["name"], config["arch"]["name"], f"T{config['T']}", config["step_mode"]]
    tags += [config["grad_mode"]["name"]]
    return wandb.init(
        mode=mode,  # type: ignore[arg-type]
        project=tracker["project"],
        entity=tracker["entity"],
        id=folder.name.rpartition("-")[2],
        name=folder.name,
        group=sweep,
        job_type=config["grad_mode"]["name"],
        tags=[*dict.fromkeys(tag[:64] for tag in [*tags, *tracker["tags"]])],
        config=shown_config(config),
        dir=folder,
        resume="allow" if before >= 0 else None,
        settings=wandb.Settings(
            console="off",  # what is printed here is not the run's
            silent=True,
            save_code=False,
            disable_code=True,
            disable_git=True,
            x_disable_meta=True,  # command line, paths, user: nobody's business
            x_disable_stats=True,  # would measure this process
            x_label="rbp",
        ),
    )


_GROUPS = ("dataset", "arch", "neuron", "grad_mode", "optimizer", "trainer")


def shown_config(config: dict[str, Any]) -> dict[str, Any]:
    """The resolved config with the chosen options by name at the top; each group's keys below `config`."""
    names = {group: config[group].get("name") for group in _GROUPS}
    top = {key: config[key] for key in ("T", "step_mode", "seed")}
    details = {group: config[group] for group in _GROUPS}
    return top | names | {"sweep": config["sweep"]["name"] or "single", "config": details}
