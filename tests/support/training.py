"""Short trainings on the bundled digits: their configs, networks and moments to be stopped at, a process that
runs one and can be killed, and whether two of them ended with the same bits.
"""

import copy
import itertools
import json
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from rbp.config.identity import run_folder
from rbp.runs.folder import RunFolder
from rbp.train import train
from rbp.train.resume.checkpoint import load_checkpoint
from rbp.train.resume.interrupt import Interruption
from tests.support.configs import made_once
from tests.support.processes import PROCESSES
from tests.support.run_folders import metrics, without_timings

Undisturbed = Callable[..., RunFolder]  # the fixture of tests/train/conftest.py

SHORT: tuple[str, ...] = (
    "trainer.epochs=3",
    "trainer.limit_batches=3",
    "trainer.batch_size=32",
    "trainer.device=cpu",
)
SHORT += ("trainer.eval_batch_size=32", "trainer.progress=none", "T=2")

# Runs that are stopped on their way.
EPOCHS, STEPS, EVALUATIONS = 3, 5, 4  # EVALUATIONS: batches of held-out and test images, two each
SMALL = [f"trainer.epochs={EPOCHS}", f"trainer.limit_batches={STEPS}", "trainer.eval_batch_size=256"]
SMALL += ["dataset.val_split=0.2", "trainer.batch_size=16"]
EVERYTHING = [*SMALL, "neuron=plif", "optimizer.warmup_epochs=1", "dataset.augment.crop=1"]
EVERYTHING += ["dataset.augment.flip=true", "dataset.augment.cutout=3"]
EVERYTHING += ["arch._target_=tests.support.networks.with_dropout"]
# Looks an epoch: before its first step, after every step, before every batch of the evaluation.
LOOKS = 1 + STEPS + EVALUATIONS


def short(folder: Path, *overrides: str) -> tuple[DictConfig, RunFolder]:
    """A config of nine training steps, and its run folder below `folder`."""
    cfg = copy.deepcopy(made_once(*SHORT, *overrides))
    OmegaConf.set_readonly(cfg, False)
    cfg.runs_dir = str(folder)
    OmegaConf.set_readonly(cfg, True)
    return cfg, RunFolder(run_folder(cfg))


def in_a_process(cfg: DictConfig, run: RunFolder) -> ForkServerProcess:
    """A process of its own that trains cfg, so that it can be killed."""
    process = PROCESSES.Process(target=_train_on_one_thread, args=(cfg, run.path), daemon=True)
    process.start()
    return process


def _train_on_one_thread(cfg: DictConfig, folder: Path) -> None:
    torch.set_num_threads(1)
    train(cfg, folder)


# --- stopped ------------------------------------------------------------------------------------------------


class Scheduled(Interruption):
    """Is asked for at its n-th look (from 0), as by a signal that came just before."""

    def __init__(self, place: int) -> None:
        self.looks, self.place = itertools.count(), place
        super().__init__()

    @property
    def reason(self) -> str | None:
        return "SIGUSR2" if next(self.looks) >= self.place else None

    @reason.setter
    def reason(self, value: str | None) -> None:
        """Set by nobody else."""


def damage(file: Path) -> None:
    """Turn some bytes in the middle over: more than lie between two tensors, which do not count."""
    content = bytearray(file.read_bytes())
    for place in range(len(content) // 2, len(content) // 2 + 100):
        content[place] ^= 0xFF
    file.write_bytes(content)


# --- compared -----------------------------------------------------------------------------------------------


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, torch.Tensor]:
    """Tensors by their path."""
    found: dict[str, torch.Tensor] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def same_end(a: RunFolder, b: RunFolder) -> None:
    """Fails unless weights, optimizer, random states and every figure but timings are the same to a bit."""
    one, two = (load_checkpoint(run.checkpoints / "last.pt") for run in (a, b))
    for part in ("network", "random"):
        a_part, b_part = flat(one[part]), flat(two[part])
        assert a_part.keys() == b_part.keys()
        assert all(torch.equal(a_part[key], b_part[key]) for key in a_part), part
    momentum = [[v["momentum_buffer"] for v in state["optimizer"]["state"].values()] for state in (one, two)]
    assert all(torch.equal(x, y) for x, y in zip(*momentum, strict=True)) and momentum[0]
    assert one["schedule"] == two["schedule"]
    assert metrics(a) == metrics(b)
    results = [json.loads(run.result.read_text()) for run in (a, b)]
    assert without_timings(results[0]) == without_timings(results[1])
