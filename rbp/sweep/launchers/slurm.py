"""hydra/launcher=slurm: run cells as jobs on a Slurm cluster."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rbp.config.launchers import SlurmSettings, read_settings
from rbp.errors import ConfigError
from rbp.sweep.grid.cell import Cell
from rbp.sweep.grid.slurm_values import minutes_of
from rbp.sweep.launchers.submit import Submitter
from rbp.sweep.launchers.worker import Worker
from rbp.sweep.slurm import sbatch
from rbp.sweep.state.sweepfolder import SweepFolder


class Slurm(Submitter):
    """A launcher that runs cells as jobs on a Slurm cluster."""

    name, option, here = "slurm", "slurm", False

    def __init__(self, values: Mapping[str, Any]) -> None:
        time = {"time": minutes_of(values["time"])} if "time" in values else {}
        self.values = read_settings(SlurmSettings, {**values, **time})

    def check(self, cells: list[Cell]) -> None:
        sbatch.check_settings(self.values, self.option)
        ranks = self.values.ranks
        trainers = [cell.values["trainer"] for cell in cells]
        for size, parts in dict.fromkeys((each["batch_size"], each["accumulate"]) for each in trainers):
            if size % (ranks * parts):
                times = f" times trainer.accumulate={parts}" if parts > 1 else ""
                raise ConfigError(
                    f"trainer.batch_size={size}: is the whole batch of a cell, and must be a multiple of its "
                    f"{ranks} tasks{times} (hydra.launcher.nodes={self.values.nodes}, "
                    f"tasks={self.values.tasks})"
                )

        if ranks > 1:
            self._check_alignment(cells)
            self._check_losses(cells)

    def _check_alignment(self, cells: list[Cell]) -> None:
        """Raise ConfigError for a cell that measures its alignment, which several tasks cannot."""
        if not any(cell.values["trainer"]["align_every"] is not None for cell in cells):
            return
        from rbp.train.alignment.of_run import refuse_shared

        for cell in cells:
            refuse_shared(cell.cfg, self.values.ranks)

    def _check_losses(self, cells: list[Cell]) -> None:
        """Raise ConfigError for a loss that several tasks could not compute in shares."""
        from rbp.train.step.loss import build_loss

        seen = []
        for cell in cells:
            what = (cell.values["loss"], cell.values["dataset"]["classes"])
            if what not in seen:
                seen.append(what)
                build_loss(cell.cfg, world=self.values.ranks)

    def submit(
        self, folders: list[Path], sweep: SweepFolder, code: list[Path], submitted: float
    ) -> list[str]:
        size = self.values.cells_per_job
        groups = [[str(f) for f in folders[start : start + size]] for start in range(0, len(folders), size)]
        works = [Worker(group, submitted, self.values.ranks) for group in groups]
        try:
            ids = sbatch.submit(self.values, works, sweep.jobs, sweep.path.name, code)
        except sbatch.Refused as refused:
            raise ConfigError(f"hydra/launcher={self.option}: {refused}") from refused
        return [job_id for job_id, group in zip(ids, groups, strict=True) for _ in group]

    def settings(self) -> dict[str, Any]:
        return vars(self.values)
