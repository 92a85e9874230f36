"""Check where a run shall be: its folder, and the GPU that its config names."""

import os

from omegaconf import DictConfig

from rbp.config.identity import run_folder
from rbp.errors import ConfigError

# Linux's limits in bytes: 255 for a file name, and 4096 for a path, less room for the files in a run folder.
LONGEST_NAME, LONGEST_PATH = 255, 4000


def check_names(cfg: DictConfig) -> None:
    """Raise ConfigError if the run folder's path is longer than file systems allow."""
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


def check_folder(cfg: DictConfig) -> None:
    """Raise ConfigError if the run folder cannot be created or written; evaluation needs neither."""
    if cfg.eval_only:
        return
    folder = run_folder(cfg).absolute()
    while not os.path.lexists(folder):  # unlike exists(), true for a broken symbolic link
        folder = folder.parent
    if not os.path.isdir(folder):
        raise ConfigError(
            f"runs_dir={cfg.runs_dir}: {folder} is not a folder; choose another with runs_dir=PATH"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(
            f"runs_dir={cfg.runs_dir}: {folder} is not writable; choose another with runs_dir=PATH"
        )


def check_device(cfg: DictConfig) -> None:
    """Raise ConfigError if this machine lacks the GPU that the configuration names."""
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
