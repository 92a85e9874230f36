"""hydra/launcher=local: run cells in parallel processes on this machine."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rbp.config.launchers import LocalSettings, read_settings
from rbp.cores import usable_cores
from rbp.errors import ConfigError
from rbp.runs.config import read_config
from rbp.runs.folder import RunFolder
from rbp.sweep.grid.cell import Cell
from rbp.sweep.launchers import pool
from rbp.sweep.launchers.submit import Submitter
from rbp.sweep.state.sweepfolder import SweepFolder


class Local(Submitter):
    """A launcher that runs cells in parallel on this machine, in processes that outlive this one."""

    name, option, here = "local", "local", True

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = read_settings(LocalSettings, values)

    def check(self, cells: list[Cell]) -> None:
        for device in dict.fromkeys(str(cell.values["trainer"]["device"]) for cell in cells):
            if device.startswith("cuda:"):
                raise ConfigError(
                    f"trainer.device={device}: hydra/launcher={self.option} gives every process a GPU "
                    "of its own; choose cuda or auto"
                )

    def submit(
        self, folders: list[Path], sweep: SweepFolder, code: list[Path], submitted: float
    ) -> list[str]:
        log = sweep.jobs / f"local-{time.strftime('%Y%m%d-%H%M%S')}.log"
        return [pool.start_pool(folders, self.slots(folders), log, code, submitted)] * len(folders)

    def slots(self, folders: list[Path]) -> pool.Slots:
        """Return the places for processes: with a GPU each, unless all of these runs compute on the CPU."""
        on_cpu = [_runs_on_cpu(folder) for folder in folders]
        gpus = [] if all(on_cpu) else visible_gpus()
        return pool.share_out(self.values, gpus, usable_cores(), any(on_cpu))

    def settings(self) -> dict[str, Any]:
        return vars(self.values)


def _runs_on_cpu(folder: Path) -> bool:
    return bool(read_config(RunFolder(folder).config)["trainer"]["device"] == "cpu")


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, in the notation of CUDA_VISIBLE_DEVICES.

    CUDA decides how many of the entries are GPUs of this machine: none for -1 and NoDevFiles, for instance.
    """
    import torch

    count, told = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    entries = [str(index) for index in range(count)] if told is None else told.split(",")
    return [entry.strip() for entry in entries[:count]]
