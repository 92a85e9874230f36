"""Copy a data set to the node's local disk, once, for all runs on that node."""

import hashlib
import os
import re
import shutil
import socket
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from rbp.data.image_files.tars import TRAIN_TAR, VAL_TAR
from rbp.errors import DataError
from rbp.locks import locked

_NOT_READ = (TRAIN_TAR, VAL_TAR)  # by runs, which need the folders that were made of them; they are 150 GB
Listing = dict[str, tuple[int, int]]  # path below the root -> (size in bytes, modification time in seconds)


def copied_to_stage(dataset: DictConfig) -> DictConfig:
    """Copy a data set's root to `dataset.stage` and return the config with the copy as its root.

    The config is returned unchanged if it has no `stage` or no `root`. ImageNet's tar files stay behind. The
    copy is complete or absent, and is made again if sizes or modification times no longer match the root's.

    Raises:
        DataError: If the root has no files or cannot be read, or the copy cannot be written.
    """
    if not dataset.get("stage") or not dataset.root:
        return dataset
    source = Path(dataset.root).expanduser().absolute()
    place = _place(dataset.stage)
    if place.is_relative_to(source):
        raise DataError(f"dataset.stage={dataset.stage}: must not lie in dataset.root={dataset.root}")
    name = f"{dataset.name}-{hashlib.sha256(os.fsencode(source)).hexdigest()[:8]}"
    wanted = _listing(source)
    if not wanted:
        raise DataError(
            f"dataset.root={dataset.root}: {source} has no files on {socket.gethostname()}, to be copied to "
            f"dataset.stage={dataset.stage}"
        )
    try:
        place.mkdir(parents=True, exist_ok=True)
        with locked(place / f".{name}.lock", wait=None):
            if _listing(place / name) != wanted:
                _copy(source, place / name)
    except (OSError, shutil.Error) as error:
        raise DataError(_cannot(dataset, place, wanted, error)) from error
    copy = OmegaConf.create(OmegaConf.to_container(dataset))
    assert isinstance(copy, DictConfig)
    copy.root = str(place / name)
    return copy


def _place(stage: str) -> Path:
    """Return the folder with ~ and this node's environment variables expanded."""
    expanded = os.path.expanduser(os.path.expandvars(stage))
    if unset := re.findall(r"\$\{?\w+\}?", expanded):
        raise DataError(
            f"dataset.stage={stage}: {', '.join(unset)} is not set on {socket.gethostname()}; "
            "name a folder that is there, or stage=null"
        )
    return Path(expanded).absolute()


def _listing(root: Path) -> Listing:
    """List all files below root that are copied, following links; empty if there is no such folder."""
    found: Listing = {}
    for folder, _, files in os.walk(root, followlinks=True):
        for name in set(files).difference(_NOT_READ):
            path = Path(folder, name)
            if not path.exists():  # a dangling link, which the copy skips as well
                continue
            stat = path.stat()
            found[str(path.relative_to(root))] = (stat.st_size, int(stat.st_mtime))
    return found


def _copy(source: Path, target: Path) -> None:
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # left by a process that was killed
    try:
        left_out = shutil.ignore_patterns(*_NOT_READ)
        shutil.copytree(source, unfinished, ignore=left_out, ignore_dangling_symlinks=True)
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _cannot(dataset: DictConfig, place: Path, wanted: Listing, error: Exception) -> str:
    reason = getattr(error, "strerror", None)
    if reason is None and error.args and isinstance(error.args[0], list):  # shutil.Error: one entry per file
        reason = re.sub(r"^\[Errno \d+\] ([^:]*):.*", r"\1", error.args[0][0][2])
    size = sum(size for size, _ in wanted.values()) / 2**20
    return (
        f"dataset.stage={dataset.stage}: {dataset.root} ({size:,.1f} MiB) cannot be copied to {place} on "
        f"{socket.gethostname()}: {reason or error}; choose another folder, or stage=null to read from root"
    )
