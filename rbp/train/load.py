"""The trained network of a run's folder: `rbp.load`."""

import warnings
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from rbp.errors import CheckpointError, ConfigError
from rbp.models import build
from rbp.provenance.code import why_stale
from rbp.runs.checkpoints import WEIGHTS, choose_checkpoint
from rbp.runs.config import read_frozen
from rbp.runs.folder import RunFolder, is_run
from rbp.train.resume.checkpoint import load_checkpoint, network_differences
from rbp.working_directory import import_from_here


def load(
    run: str | Path, weights: str | None = None, device: str | torch.device = "cpu"
) -> tuple[nn.Module, DictConfig]:
    """Return the trained network of a run and the run's config.

    The folder may have been copied from elsewhere, and may be one of an earlier version. The network is the
    one that the architecture's function makes, in eval mode: `rbp.forward(net, x, T=cfg.T,
    step_mode=cfg.step_mode, layout=cfg.arch.layout)` runs it as the run did. A UserWarning says if the code
    has changed since the weights were trained.

    Args:
        run: The run's folder, such as runs/quickstart/digits-digits_cnn-T4-m-rate-s0-1a2b3c4d.
        weights: best or last, the epoch; None takes the one whose accuracy counts (`trainer.headline`), or
            the other one if only that was kept.
        device: Where the network goes.

    Returns:
        The network, and the frozen config, which is read-only.

    Raises:
        UserError: The folder is no run, has no such checkpoint, or a damaged one; the network cannot be
            built, or is no longer the one that was trained; or there is no such device.
    """
    folder = RunFolder(check_run(Path(run).expanduser()))
    values = read_frozen(folder.path)
    file = choose_checkpoint(folder.checkpoints, values["trainer"], weights)
    state = _read(file)
    import_from_here()
    cfg = OmegaConf.create(values)
    OmegaConf.set_struct(cfg, True)
    OmegaConf.set_readonly(cfg, True)
    net = _build(cfg, folder)
    if differences := network_differences(net, state):
        raise CheckpointError(
            f"{file}: the weights of another network than arch={cfg.arch.name} with neuron={cfg.neuron.name} "
            f"is by the code of now: {differences}; check out the code that trained it (`git` in result.json "
            f"says the commit; a sweep's jobs left a copy in {folder.path.parent / '.sweep' / 'code'})"
        )
    net.load_state_dict(state["network"])
    _warn_of_other_code(file, state)
    return _moved(net, device).eval(), cfg


def check_run(path: Path) -> Path:
    """Return the path if it is the folder of a run with its config.

    Raises:
        ConfigError: It is not.
    """
    run = RunFolder(path)
    if path.is_file():
        raise ConfigError(f"{path}: is a file; name the run's folder, such as {_example(path)}")
    if not path.is_dir():
        raise ConfigError(f"{path}: no such folder; name a run's folder, such as runs/SWEEP/RUN")
    if not is_run(path):
        inside = sorted(folder for folder in path.iterdir() if folder.is_dir() and is_run(folder))
        hint = f"it holds {len(inside)} runs, name one, such as {inside[0]}" if inside else "name one"
        raise ConfigError(f"{path}: is not the folder of a run: {hint}")
    if not run.config.exists():
        raise ConfigError(
            f"{run.config}: is missing: it says what the network was; copy the run's whole folder"
        )
    return path


def _example(file: Path) -> Path | str:
    """Return the folder of a run that a file is in, or the form of one."""
    return next((folder for folder in file.parents if is_run(folder)), "runs/SWEEP/RUN")


def _read(file: Path) -> dict[str, Any]:
    try:
        return load_checkpoint(file)
    except CheckpointError as error:
        others = [name for name, other in WEIGHTS.items() if other != file.name]
        there = [name for name in others if (file.parent / WEIGHTS[name]).exists()]
        hint = (
            f"; take weights {there[0]}, which are there too" if there else "; copy it again, or train anew"
        )
        raise CheckpointError(f"{error}{hint}") from error


def _build(cfg: DictConfig, folder: RunFolder) -> nn.Module:
    try:
        return build(cfg)
    except ConfigError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{folder.path}: its network cannot be built: {reason} Call this from the folder that has its "
            "package, or put that on PYTHONPATH, with the code that trained it"
        ) from error


def _warn_of_other_code(file: Path, state: dict[str, Any]) -> None:
    code = state["history"].get("code") or [{}]
    if reason := why_stale({"code": code[-1]}):
        warnings.warn(f"{file}: {reason}; the network may compute something else", stacklevel=3)


def _moved(net: nn.Module, device: str | torch.device) -> nn.Module:
    try:
        return net.to(device)
    except (RuntimeError, AssertionError) as error:  # a build of torch without CUDA raises AssertionError
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device={device}: the network cannot go there: {reason}") from error
