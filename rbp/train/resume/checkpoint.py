"""Checkpoint files: all that is needed to continue a run bit for bit, in one atomically written file."""

import contextlib
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rbp.errors import CheckpointError
from rbp.files import write_bytes
from rbp.runs.checkpoints import BEST, LAST, PREVIOUS
from rbp.train.resume.history import from_plain

FORMAT = 2  # since 2, a checkpoint can hold a partly trained epoch
# Keys of a checkpoint besides "format", with the types of their values.
PARTS = {"identity": str, "made_with": str} | dict.fromkeys(
    ("network", "optimizer", "schedule", "random", "history"), dict
)


def save_checkpoint(folder: Path, state: dict[str, Any], best: bool) -> None:
    """Write `state` as the last checkpoint; the one that was last before becomes the previous checkpoint.

    Args:
        folder: The run's checkpoint folder; created if missing.
        state: The result of `state_of`.
        best: Whether to write it as the best checkpoint as well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    content = buffer.getvalue()
    if best:
        write_bytes(folder / BEST, content)
    if (folder / LAST).exists():  # a hard link, so that the last checkpoint exists at every instant
        name = folder / f".{PREVIOUS}.{os.getpid()}.tmp"
        name.unlink(missing_ok=True)
        os.link(folder / LAST, name)
        name.replace(folder / PREVIOUS)
    write_bytes(folder / LAST, content)


def load_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint's state.

    Raises:
        CheckpointError: The file is missing, damaged or not a checkpoint of rbp.
    """
    if os.path.isdir(file):  # unlike this, Path.is_dir raises if the name is too long
        raise CheckpointError(f"{file}: is a folder; name a file in it, such as checkpoints/{LAST} of a run")
    if not os.path.isfile(file):
        raise CheckpointError(f"{file}: no such checkpoint")
    try:
        _check_sums(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file}: not a checkpoint of this program: it holds other than tensors"
        ) from error
    except Exception as error:  # torch's error type depends on where the damage is
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{file}: damaged, or no checkpoint: {reason}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{file}: not a checkpoint of this program (format {FORMAT})")
    try:
        _check_parts(state)
    except ValueError as error:
        raise CheckpointError(f"{file}: not a whole checkpoint of this program: {error}") from error
    return state


def _check_parts(state: dict[str, Any]) -> None:
    """Raise ValueError if keys are missing, or values have the wrong type."""
    if missing := [key for key in PARTS if key not in state]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    if wrong := [key for key, kind in PARTS.items() if not isinstance(state[key], kind)]:
        raise ValueError(f"{', '.join(wrong)}: of another type")
    from_plain(state["history"])


def _check_sums(file: Path) -> None:
    """Raise an error if a checksum in the archive is wrong.

    torch.load itself does not notice a changed byte in a tensor.
    """
    with zipfile.ZipFile(file) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} has a wrong checksum")


def load_latest(folder: Path) -> tuple[Path, dict[str, Any] | None, list[str]]:
    """Read the newest intact checkpoint of a run.

    Args:
        folder: The run's checkpoint folder.

    Returns:
        Its file; its state, or None if there is no checkpoint; and a message for each newer one that is
        damaged.

    Raises:
        CheckpointError: There are checkpoints, but all are damaged.
    """
    problems: list[str] = []
    for name in (LAST, PREVIOUS, BEST):
        if not (folder / name).exists():
            continue
        try:
            return folder / name, load_checkpoint(folder / name), problems
        except CheckpointError as error:
            problems.append(str(error))
    if problems:
        message = "\n".join(problems)
        raise CheckpointError(f"{message}\nno whole checkpoint is left; delete {folder.parent} to train anew")
    return folder / LAST, None, []


def load_network(net: nn.Module, state: dict[str, Any], file: Path) -> None:
    """Load a checkpoint's weights into `net`.

    Args:
        net: The network; its weights and buffers are overwritten.
        state: The checkpoint's state.
        file: The checkpoint's path, for error messages.

    Raises:
        CheckpointError: The checkpoint is of another network; the message lists the differences.
    """
    if differences := network_differences(net, state):
        raise CheckpointError(
            f"{file}: the checkpoint of another network (it was made with {state.get('made_with')}): "
            f"{differences}; choose the arch, neuron and dataset that it was trained with, or go back to the "
            "code that it was trained with"
        )
    net.load_state_dict(state["network"])


def network_differences(net: nn.Module, state: dict[str, Any]) -> str:
    """Return in which weights a network differs from the one of a checkpoint's state, or "" if in none."""
    theirs: dict[str, torch.Tensor] = state["network"]
    ours = net.state_dict()
    differences = [f"{key} is missing" for key in ours if key not in theirs]
    differences += [f"{key} is not in the network" for key in theirs if key not in ours]
    differences += [
        f"{key} is {list(theirs[key].shape)}, not {list(value.shape)}"
        for key, value in ours.items()
        if key in theirs and theirs[key].shape != value.shape
    ]
    return "; ".join(differences[:3]) + (f"; and {len(differences) - 3} more" if differences[3:] else "")


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the states of torch's global generators, which dropout and similar layers draw from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_states(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Set torch's global generators; a generator that the states do not include is left unchanged."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        with contextlib.suppress(RuntimeError):  # the state may come from another CUDA version
            torch.cuda.set_rng_state(states["cuda"], device)
