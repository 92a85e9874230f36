"""Check the folder, device, data, network and loss of runs before any of them starts.

No run starts and no run folder is created. Missing data are downloaded or prepared where possible, once for
all runs.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import DictConfig

from rbp.alignment import FEWEST
from rbp.config.identity import run_folder
from rbp.errors import ConfigError, UserError
from rbp.sweep.grid.cell import Cell
from rbp.sweep.preflight.network import check_network, check_step
from rbp.sweep.preflight.places import check_device, check_folder, check_names


def preflight(cells: list[Cell], devices: bool = True, trials: bool = False, data: bool = True) -> None:
    """Check that the folder, device, data, network and loss of every run exist and fit together.

    Args:
        cells: The runs.
        devices: Whether the runs use this machine's devices, so that these can be checked.
        trials: Whether each distinct network runs one step in its gradient mode. A single run in this process
            mostly does not need that, as its own first step shows the same.
        data: Whether the data must be there, downloaded or prepared if need be; otherwise only the function
            that reads them is looked for.

    Raises:
        ConfigError: There are problems, all of which the message lists.
    """
    found: dict[str, None] = {}
    checked = set()
    for cell in cells:
        for check, parts in _checks(cell.values, devices, trials, data):
            if (seen := f"{check.__name__} {parts}") in checked:
                continue
            checked.add(seen)
            try:
                check(cell.cfg)
            except UserError as error:
                found[str(error)] = None
                if check is check_names:  # a path that is too long cannot be checked any further
                    break
    if found:
        raise ConfigError("\n".join(found))


def _checks(
    values: dict[str, Any], devices: bool, trials: bool, data: bool
) -> Iterator[tuple[Callable[[DictConfig], None], Any]]:
    """Yield each check with the values that it depends on, so that a thousand cells need few checks."""
    place = (values["runs_dir"], values["sweep"]["name"], values["eval_only"])
    yield check_names, (place, values["dataset"]["name"], values["arch"]["name"])
    yield check_folder, (place, run_folder(values) if os.path.lexists(run_folder(values)) else None)
    if devices:
        yield check_device, values["trainer"]["device"]
    if data:
        of_data = [values["trainer"][key] for key in ("batch_size", "accumulate", "align_every")]
        yield _check_data, (values["dataset"], of_data)
    else:
        yield _check_reader, values["dataset"]["_target_"]
    yield check_network, [values[group] for group in ("dataset", "arch", "neuron", "optimizer")]
    yield _check_loss, (values["loss"], values["dataset"]["classes"], values["trainer"]["accumulate"])
    if trials and not values["eval_only"]:
        shape = [values["dataset"][key] for key in ("channels", "size", "classes")]
        yield (
            check_step,
            (shape, [values[key] for key in ("arch", "neuron", "loss", "grad_mode", "step_mode", "T")]),
        )


def _check_reader(cfg: DictConfig) -> None:
    from rbp.data.loading import find_reader

    find_reader(cfg.dataset._target_)


def _check_data(cfg: DictConfig) -> None:
    from rbp.data import load

    images = len(load(cfg.dataset).train)
    if cfg.trainer.batch_size > images:
        left = f" that dataset.val_split={cfg.dataset.val_split} leaves" if cfg.dataset.val_split else ""
        raise ConfigError(
            f"trainer.batch_size={cfg.trainer.batch_size}: must be at most {images}, the number of training "
            f"images of dataset={cfg.dataset.name}{left}"
        )
    if (every := cfg.trainer.align_every) is not None:
        from rbp.train.alignment.of_run import refuse_too_few

        refuse_too_few(cfg, images, FEWEST, f"trainer.align_every={every}")


def _check_loss(cfg: DictConfig) -> None:
    from rbp.train.step.loss import build_loss

    build_loss(cfg)
