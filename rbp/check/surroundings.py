"""Checks of rbp's surroundings: compiler, SpikingJelly's fused neurons, Slurm, wandb login, data sets."""

import importlib.util
import netrc
import os
import shutil
import subprocess
from pathlib import Path

import torch
from omegaconf import DictConfig

from rbp.check.finding import Finding, absent, ok
from rbp.config import schema
from rbp.data import load
from rbp.data.events.framing import framing_of
from rbp.data.events.prepare.manifest import read_manifest
from rbp.data.events.prepare.prepare import EventSet
from rbp.data.image_files.imagenet import ImageFolders
from rbp.data.image_files.settings import file_settings_of
from rbp.data.loading import find_reader
from rbp.errors import DataError
from rbp.sweep.grid.compose import compose_grid

WANDB = "api.wandb.ai"


def check_compiler(device: torch.device) -> Finding:
    """Check whether torch.compile works; rate mode uses it for fused neurons on a GPU."""
    from rbp.rate.neurons.compiled import works

    if works(device):
        return ok(f"torch.compile makes kernels for {device.type}")
    needs = "triton and a C compiler" if device.type == "cuda" else "a C++ compiler (g++)"
    return absent("torch.compile makes no kernels here", f"install {needs}; until then trainer.kernels=plain")


def check_fused_neurons(device: torch.device) -> Finding:
    """Check whether SpikingJelly has fused kernels for its neurons, which BPTT uses."""
    if device.type != "cuda":
        return absent("SpikingJelly fuses neurons on GPUs only")
    for package in ("triton", "cupy"):
        if importlib.util.find_spec(package) is not None:
            return ok(f"{package} is installed")
    return absent("neither triton nor cupy is installed", "pip install triton: BPTT is slower without")


def check_slurm(device: torch.device) -> Finding:
    """Check whether jobs can be submitted from here."""
    if shutil.which("sbatch") is None:
        return absent("no sbatch on this machine", "submit from a login node, or use hydra/launcher=local")
    done = subprocess.run(
        ["sinfo", "--noheader", "--format=%P %a %D"], capture_output=True, encoding="utf-8", errors="replace"
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no word"])[0]
        return absent(f"Slurm does not answer: {reason}", "submit from a login node of the cluster")
    return ok("partitions: " + ", ".join(done.stdout.split("\n")).strip(", "))


def check_wandb(device: torch.device) -> Finding:
    """Check whether runs could be logged online; offline logging needs no login."""
    if importlib.util.find_spec("wandb") is None:
        return absent("wandb is not installed", "pip install wandb, or use tracker=none or tensorboard")
    if os.environ.get("WANDB_API_KEY"):
        return ok("a key in WANDB_API_KEY")
    if _has_login(Path(os.environ.get("NETRC", "~/.netrc")).expanduser()):
        return ok("logged in")
    return absent("no login", "none is needed for tracker.mode=offline, the default; else: wandb login")


def _has_login(file: Path) -> bool:
    """Whether a netrc file has a wandb login."""
    try:
        return netrc.netrc(file).authenticators(WANDB) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def check_dataset(name: str, device: torch.device) -> Finding:
    """Check whether a data set's files are complete and where its config says.

    Downloads and prepares nothing.
    """
    schema.register()
    architecture = "dvs_cnn" if "dvs" in name else "digits_cnn"
    (cell,) = compose_grid([f"dataset={name}", f"arch={architecture}", "dataset.download=false"])
    try:
        return ok(_what_is_there(cell.cfg.dataset))
    except DataError as error:
        reason = str(error).partition(". Expected in")[0]
        return absent(reason, "set RBP_DATA or dataset.root to the folder that holds it")


def _what_is_there(dataset: DictConfig) -> str:
    """Return a description of a data set's images or recordings. Raises DataError if there are none."""
    reader, settings = find_reader(dataset._target_), file_settings_of(dataset)
    if isinstance(reader, ImageFolders) and settings is not None:
        return reader.what_is_there(Path(dataset.root).expanduser(), settings)
    framing = framing_of(dataset)
    if isinstance(reader, EventSet) and framing is not None:
        root = Path(dataset.root).expanduser()
        if read_manifest(folder := framing.folder(reader.name, root), reader.name, framing):
            return f"prepared in {folder}"
        reader.find(root, framing)
        return f"recordings in {root}; rbp data prepare {dataset.name} makes their frames"
    return f"{len(load(dataset).train):,} training images in {dataset.root or 'scikit-learn'}"
