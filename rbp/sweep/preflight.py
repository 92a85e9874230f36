"""What can be known about runs before any starts: folder, device, data, network. Nothing is written."""

import os
from pathlib import Path

from omegaconf import DictConfig

from rbp.errors import ConfigError, UserError


def preflight(cfgs: list[DictConfig]) -> None:
    """See that folder, device, data and network of every run are there and fit; one error lists all."""
    found: dict[str, None] = {}
    checked = set()
    for cfg in cfgs:
        for check, part in (
            (_check_folder, cfg.runs_dir),
            (_check_device, cfg.trainer.device),
            (_check_data, (cfg.dataset, cfg.trainer.batch_size)),
            (_check_network, (cfg.dataset, cfg.arch, cfg.neuron, cfg.optimizer)),
        ):
            if (seen := f"{check.__name__} {part}") in checked:
                continue
            checked.add(seen)
            try:
                check(cfg)
            except UserError as error:
                found[str(error)] = None
    if found:
        raise ConfigError("\n".join(found))


def _check_folder(cfg: DictConfig) -> None:
    """Raise ConfigError if run folders cannot be made below runs_dir."""
    folder = Path(cfg.runs_dir).absolute()
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
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
        raise ConfigError(
            f"trainer.batch_size={cfg.trainer.batch_size}: must be at most {images}, the number of training "
            f"images of dataset={cfg.dataset.name}"
        )


def _check_network(cfg: DictConfig) -> None:
    """Raise ConfigError if network or optimizer cannot be made from their groups' keys."""
    from rbp.models import build
    from rbp.train.optimizer import build_optimizer

    build_optimizer(cfg, build(cfg))
