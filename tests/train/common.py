"""Short runs for the tests of training: the bundled digits and a few batches, on one thread."""

import copy
import functools
import json
import multiprocessing
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from rbp.config.identity import run_folder
from rbp.runfolder import RunFolder
from rbp.train import train
from tests.test_config import make

SHORT = ("trainer.epochs=3", "trainer.limit_batches=3", "trainer.batch_size=32", "trainer.device=cpu")
SHORT += ("trainer.eval_batch_size=32", "trainer.progress=none", "T=2")
# Of a line of metrics.jsonl and of result.json: everything else is the same to the last bit.
TIMINGS = {"seconds", "images_per_second", "seconds_per_epoch", "step_seconds"}

# Processes that begin with torch and this program imported, in a tenth of the time that a new python takes.
PROCESSES = multiprocessing.get_context("forkserver")
# (torch.optim imports torch._dynamo when the first optimizer is made.)
PROCESSES.set_forkserver_preload(["tests.train.test_progress", "sklearn.datasets", "torch._dynamo"])

_composed = functools.lru_cache(make)  # composing takes as long as a short run's training


def short(folder: Path, *overrides: str) -> tuple[DictConfig, RunFolder]:
    """A config of nine training steps, and its run folder below `folder`."""
    cfg = copy.deepcopy(_composed(*SHORT, *overrides))
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


def without_timings(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in TIMINGS}


def metrics(run: RunFolder) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, timings left out."""
    return [without_timings(json.loads(line)) for line in run.metrics.read_text().splitlines()]
