"""hydra/launcher=local: run cells in parallel processes on this machine."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rbp.config.launchers import LocalSettings, read_settings
from rbp.cores import usable_cores
from rbp.errors import ConfigError
from rbp.sweep.grid.cell import Cell
from rbp.sweep.launchers import pool
from rbp.sweep.launchers.submit import Submitter
from rbp.sweep.state.sweepfolder import SweepFolder


class Local(Submitter):
    """A launcher that runs cells in parallel on this machine, in processes that outlive this one."""

    name, here = "local", True

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = read_settings(LocalSettings, values)

    def check(self, cells: list[Cell]) -> None:
        for device in dict.fromkeys(str(cell.values["trainer"]["device"]) for cell in cells):
            if device.startswith("cuda:"):
                raise ConfigError(
                    f"trainer.device={device}: hydra/launcher=local gives every process a GPU of its own; "
                    "choose cuda or auto"
                )

    def submit(
        self, folders: list[Path], sweep: SweepFolder, code: list[Path], submitted: float
    ) -> list[str]:
        slots = pool.share_out(self.values, _gpus(), usable_cores())
        log = sweep.jobs / f"local-{time.strftime('%Y%m%d-%H%M%S')}.log"
        return [pool.start_pool(folders, slots, log, code, submitted)] * len(folders)

    def settings(self) -> dict[str, Any]:
        return vars(self.values)


def _gpus() -> list[str]:
    """Return the GPUs that this process may use, in the notation of CUDA_VISIBLE_DEVICES."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [part for part in visible.split(",") if part.strip()]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]
