"""Short runs for the tests of training: the bundled digits and a few batches, on one thread."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rbp.identity import run_folder
from rbp.runfolder import RunFolder
from tests.test_config import make

SHORT = ("trainer.epochs=3", "trainer.limit_batches=3", "trainer.batch_size=32", "trainer.device=cpu")
SHORT += ("trainer.eval_batch_size=32", "trainer.progress=none", "T=2")
# Of a line of metrics.jsonl and of result.json: everything else is the same to the last bit.
TIMINGS = {"seconds", "images_per_second", "seconds_per_epoch", "step_seconds"}


def short(folder: Path, *overrides: str) -> tuple[DictConfig, RunFolder]:
    """A config of nine training steps, and its run folder below `folder`."""
    cfg = make(*SHORT, f"runs_dir={folder}", *overrides)
    return cfg, RunFolder(run_folder(cfg))


def without_timings(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in TIMINGS}


def metrics(run: RunFolder) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, timings left out."""
    return [without_timings(json.loads(line)) for line in run.metrics.read_text().splitlines()]
