"""What can be known about runs before any starts: folder, device, data, network.

No run is begun and no run folder made; data that can be had are fetched or prepared here, once for all runs.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import DictConfig

from rbp.config.identity import run_folder
from rbp.errors import ConfigError, UserError
from rbp.sweep.grid.cell import Cell

# Linux's limits: of a name, and of a path less what lies in a run folder.
LONGEST_NAME, LONGEST_PATH = 255, 4000


def preflight(cells: list[Cell], devices: bool = True) -> None:
    """See that folder, device, data and network of every run are there and fit; one error lists all.

    devices: they run on this machine, so that its devices can be checked.
    """
    found: dict[str, None] = {}
    checked = set()
    for cell in cells:
        for check, parts in _checks(cell.values, devices):
            if (seen := f"{check.__name__} {parts}") in checked:
                continue
            checked.add(seen)
            try:
                check(cell.cfg)
            except UserError as error:
                found[str(error)] = None
                if check is _check_names:  # nothing else can be asked of such a path
                    break
    if found:
        raise ConfigError("\n".join(found))


def _checks(values: dict[str, Any], devices: bool) -> Iterator[tuple[Callable[[DictConfig], None], Any]]:
    """What to check, each with all that it depends on: a thousand cells need few checks."""
    place = (values["runs_dir"], values["sweep"]["name"], values["eval_only"])
    yield _check_names, (place, values["dataset"]["name"], values["arch"]["name"])
    yield _check_folder, (place, run_folder(values) if os.path.lexists(run_folder(values)) else None)
    if devices:
        yield _check_device, values["trainer"]["device"]
    yield _check_data, (values["dataset"], values["trainer"]["batch_size"])
    yield _check_network, [values[group] for group in ("dataset", "arch", "neuron", "optimizer")]


def _check_names(cfg: DictConfig) -> None:
    """Raise ConfigError if the run folder's path is longer than file systems take."""
    folder = run_folder(cfg).absolute()
    for part in folder.parts:
        if (length := len(os.fsencode(part))) > LONGEST_NAME:
            raise ConfigError(
                f"run folder: the name {part[:40]}... is {length} bytes long; must be at most {LONGEST_NAME} "
                "(it comes from runs_dir, sweep.name, dataset.name and arch.name)"
            )
    if len(os.fsencode(folder)) > LONGEST_PATH:
        raise ConfigError(
            f"runs_dir={cfg.runs_dir[:40]}...: a run folder's path must be at most {LONGEST_PATH} bytes long"
        )


def _check_folder(cfg: DictConfig) -> None:
    """Raise ConfigError if the run folder cannot be made or written; evaluation writes nothing."""
    if cfg.eval_only:
        return
    folder = run_folder(cfg).absolute()
    while not os.path.lexists(folder):  # a link to nowhere is there
        folder = folder.parent
    if not os.path.isdir(folder):
        raise ConfigError(
            f"runs_dir={cfg.runs_dir}: {folder} is not a folder; choose another with runs_dir=PATH"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(
            f"runs_dir={cfg.runs_dir}: {folder} is not writable; choose another with runs_dir=PATH"
        )


def _check_device(cfg: DictConfig) -> None:
    """Raise ConfigError if this machine does not have the device that a configuration asks for by name."""
    device = cfg.trainer.device
    if not device.startswith("cuda"):
        return
    import torch

    count = torch.cuda.device_count()
    if count == 0:
        raise ConfigError(f"trainer.device={device}: there is no usable GPU here; allowed are cpu and auto")
    if ":" in device and int(device.split(":")[1]) >= count:
        devices = ", ".join(f"cuda:{i}" for i in range(count))
        raise ConfigError(f"trainer.device={device}: this machine has {devices}")


def _check_data(cfg: DictConfig) -> None:
    from rbp.data import load

    images = len(load(cfg.dataset).train)
    if cfg.trainer.batch_size > images:
        left = f" that dataset.val_split={cfg.dataset.val_split} leaves" if cfg.dataset.val_split else ""
        raise ConfigError(
            f"trainer.batch_size={cfg.trainer.batch_size}: must be at most {images}, the number of training "
            f"images of dataset={cfg.dataset.name}{left}"
        )


def _check_network(cfg: DictConfig) -> None:
    """Raise ConfigError if network or optimizer cannot be made from their groups' keys.

    They are made without weights, on the meta device. What cannot be made there is made as in training.
    """
    import torch

    from rbp.models import build
    from rbp.train.optimizer import build_optimizer

    try:
        with torch.device("meta"):
            build_optimizer(cfg, build(cfg))
    except Exception:  # a network that reads its own weights, or a real problem
        build_optimizer(cfg, build(cfg))
