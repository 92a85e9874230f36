"""Check the folder, device, data, network and loss of runs before any of them starts.

No run starts and no run folder is created. Missing data are downloaded or prepared where possible, once for
all runs.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import DictConfig

from rbp.config.identity import run_folder
from rbp.errors import ConfigError, UserError
from rbp.sweep.grid.cell import Cell

_LONGEST_TRIAL = 64  # time steps of a trial step, which loops over them
# Linux's limits in bytes: 255 for a file name, and 4096 for a path, less room for the files in a run folder.
LONGEST_NAME, LONGEST_PATH = 255, 4000


def preflight(cells: list[Cell], devices: bool = True, trials: bool = False, data: bool = True) -> None:
    """Check that the folder, device, data, network and loss of every run exist and fit together.

    Args:
        cells: The runs.
        devices: Whether the runs use this machine's devices, so that these can be checked.
        trials: Whether each distinct network runs one step in its gradient mode. A single run in this process
            does not need that, as its own first step shows the same.
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
                if check is _check_names:  # a path that is too long cannot be checked any further
                    break
    if found:
        raise ConfigError("\n".join(found))


def _checks(
    values: dict[str, Any], devices: bool, trials: bool, data: bool
) -> Iterator[tuple[Callable[[DictConfig], None], Any]]:
    """Yield each check with the values that it depends on, so that a thousand cells need few checks."""
    place = (values["runs_dir"], values["sweep"]["name"], values["eval_only"])
    yield _check_names, (place, values["dataset"]["name"], values["arch"]["name"])
    yield _check_folder, (place, run_folder(values) if os.path.lexists(run_folder(values)) else None)
    if devices:
        yield check_device, values["trainer"]["device"]
    if data:
        yield _check_data, (values["dataset"], values["trainer"]["batch_size"])
    else:
        yield _check_reader, values["dataset"]["_target_"]
    yield _check_network, [values[group] for group in ("dataset", "arch", "neuron", "optimizer")]
    yield _check_loss, (values["loss"], values["dataset"]["classes"], values["trainer"]["accumulate"])
    if trials and not values["eval_only"]:
        shape = [values["dataset"][key] for key in ("channels", "size", "classes")]
        yield (
            _check_step,
            (shape, [values[key] for key in ("arch", "neuron", "loss", "grad_mode", "step_mode", "T")]),
        )


def _check_names(cfg: DictConfig) -> None:
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


def _check_folder(cfg: DictConfig) -> None:
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


def _check_network(cfg: DictConfig) -> None:
    """Raise ConfigError if the network or the optimizer cannot be built from the configuration.

    Both are built on the meta device, without memory for weights. If that fails, they are built as in
    training.
    """
    import torch

    from rbp.models import build
    from rbp.train.optimizer import build_optimizer

    try:
        with torch.device("meta"):
            build_optimizer(cfg, build(cfg))
    except Exception:  # the network reads its weights while being built, or there is a real problem
        build_optimizer(cfg, build(cfg))


def _check_loss(cfg: DictConfig) -> None:
    from rbp.train.step.loss import build_loss

    build_loss(cfg)


def _check_step(cfg: DictConfig) -> None:
    """Raise ConfigError if the network cannot take the images, or does not fit the gradient mode and loss.

    One step runs on the meta device, with shapes alone. If it fails there, it runs once more with two images
    of zeros, since networks may read values. Errors other than of shapes are left to training.
    """
    from rbp.rate import InputError, NoRuleError

    named = f"arch={cfg.arch.name} with neuron={cfg.neuron.name}"
    try:
        outputs = _trial_step(cfg, "meta")
    except NoRuleError as error:
        raise ConfigError(f"{named}: {error}") from error
    except Exception:  # perhaps its own code reads values, which are not there
        try:
            outputs = _trial_step(cfg, "cpu")
        except InputError as error:
            raise ConfigError(f"{named}: {error}") from error
        except Exception as error:
            if not _is_of_shapes(error):
                return
            first = str(error).splitlines()[0]
            raise ConfigError(f"{named}: cannot take images {_shape(cfg)}: {first}") from error
    if outputs != cfg.dataset.classes:
        raise ConfigError(
            f"{named}: has {outputs} outputs; must be dataset.classes={cfg.dataset.classes} of "
            f"dataset={cfg.dataset.name}"
        )


def _shape(cfg: DictConfig) -> list[int]:
    return [cfg.dataset.channels, cfg.dataset.size, cfg.dataset.size]


def _is_of_shapes(error: Exception) -> bool:
    words = ("shape", "size", "channels", "dimension")
    return isinstance(error, RuntimeError | ValueError) and any(word in str(error) for word in words)


def _trial_step(cfg: DictConfig, device: str) -> int:
    """Run a step on two images of zeros, and return the number of outputs."""
    import torch

    from rbp.gradients import backward
    from rbp.gradients.online import ONLINE
    from rbp.models import build
    from rbp.rate import forward
    from rbp.train.step.loss import loss_over

    mode, T = cfg.grad_mode, min(cfg.T, _LONGEST_TRIAL)
    with torch.device(device), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.zeros(2, *_shape(cfg))
        layout = cfg.arch.get("layout")
        x_seq = x if layout == "static" else x.expand(T, *x.shape).contiguous()
        how = {"T": T if layout == "static" else None, "layout": layout, "grad_mode": mode.name}
        if mode.name in ONLINE:
            return int(backward(build(cfg), x_seq, lambda y: y.sum(), **how).y.shape[-1])
        how |= {"segments": min(mode.segments, T), "coupled": mode.coupled, "step_mode": cfg.step_mode}
        how["per_step"] = loss_over(cfg) == "steps"
        return int(forward(build(cfg), x_seq, **how).shape[-1])
