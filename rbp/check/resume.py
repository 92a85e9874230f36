"""Check that a killed run resumes to bit-identical results on this device."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from rbp.check.finding import Finding, ok, wrong
from rbp.config import schema
from rbp.files import read_lines
from rbp.runs.config import write_config
from rbp.runs.folder import RunFolder
from rbp.runs.metrics import read_epochs
from rbp.sweep.grid.compose import compose_grid
from rbp.train.resume.checkpoint import load_checkpoint

EPOCHS = 6
_OF_TIME = ("seconds", "images_per_second")


def check_resume(device: torch.device) -> Finding:
    """Train a small network twice, once undisturbed and once killed after its first epoch, and compare.

    Metrics (except times) and weights must be equal to the last bit.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = (_prepare(Path(folder) / name, device) for name in ("whole", "killed"))
        if error := _train(whole):
            return wrong(error, "see the error: nothing can be trained here")
        process = _start(killed)
        at = _kill_after_an_epoch(process, killed)
        if error := _train(killed):
            return wrong(f"after a kill: {error}", "report it")
        if different := _different(whole, killed):
            return wrong(
                f"{different} differ after a kill", "trainer.deterministic=true must hold: is it overridden?"
            )
    return ok(f"killed after epoch {at} of {EPOCHS}: the same weights and metrics to the last bit")


def _prepare(folder: Path, device: torch.device) -> RunFolder:
    """Write the config of a small training run to a run folder of its own."""
    schema.register()
    overrides = ["arch=dvs_cnn", "T='2'", "tracker=none", f"trainer.epochs={EPOCHS}", "trainer.threads=1"]
    (cell,) = compose_grid([*overrides, f"trainer.device={device}", f"runs_dir={folder}"])
    cell.folder.mkdir(parents=True)
    run = RunFolder(cell.folder)
    write_config(run.config, cell.values)
    return run


def _start(run: RunFolder) -> subprocess.Popen[str]:
    """Start training in a process of its own, without other ranks."""
    command = [sys.executable, "-m", "rbp.sweep.launchers.worker", str(run.path), str(time.time())]
    alone = os.environ | {"WORLD_SIZE": "1"}
    return subprocess.Popen(
        command,
        env=alone,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )


def _train(run: RunFolder) -> str:
    """Train to the end; return what went wrong, or ""."""
    process = _start(run)
    summary, _ = process.communicate()
    return "" if process.returncode == 0 else (summary.strip().splitlines() or ["no word"])[-1]


def _kill_after_an_epoch(process: subprocess.Popen[str], run: RunFolder) -> int:
    """Kill the process once metrics of an epoch are written; return the number of epochs written."""
    while process.poll() is None and not read_epochs(run.metrics):
        time.sleep(0.005)
    process.kill()
    process.communicate()
    return len(read_epochs(run.metrics))


def _different(one: RunFolder, other: RunFolder) -> str:
    """Return what differs between two runs: "metrics" or the names of weights; "" if nothing does."""
    metrics, others = (
        [{k: v for k, v in line.items() if k not in _OF_TIME} for line in read_lines(run.metrics)]
        for run in (one, other)
    )
    if json.dumps(metrics) != json.dumps(others):
        return "metrics"
    weights, theirs = (_weights(run) for run in (one, other))
    return ", ".join(name for name in weights if not torch.equal(weights[name], theirs[name]))


def _weights(run: RunFolder) -> dict[str, Any]:
    found: dict[str, Any] = load_checkpoint(run.checkpoints / "last.pt")["network"]
    return found
