"""Run folders as the trainer leaves them, with figures of one's own: composed configs, true file formats."""

import copy
import functools
import json
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rbp.config.identity import folder_name
from tests.test_config import make

MACHINE = {"device": "AMD EPYC, 2 cores", "device_type": "cpu", "driver": None, "threads": 2}
MACHINE |= {"torch": "2.14.1", "cuda": None, "spikingjelly": "2.0.0", "python": "3.11.7", "precision": "fp32"}
MACHINE |= {"tf32": False, "deterministic": True, "ranks": 1, "kernels": "plain"}
CODE = {"version": "0.1.0", "hash": "0123456789ab"}


@functools.cache
def base() -> DictConfig:
    return make()


def config(**changes: Any) -> DictConfig:
    """The default config with values changed, `optimizer__lr` for optimizer.lr."""
    cfg = copy.deepcopy(base())
    OmegaConf.set_readonly(cfg, False)
    OmegaConf.set_struct(cfg, False)
    for key, value in changes.items():
        OmegaConf.update(cfg, key.replace("__", "."), value)
    return cfg


def write_run(
    sweep: Path,
    accuracy: float | None = 0.9,
    state: str = "done",
    error: str | None = None,
    age: float = 0.0,
    seconds: float | None = 0.1,
    memory: float | None = 2**20,
    machine: dict[str, Any] | None = None,
    curve: tuple[float, ...] = (0.5, 0.8),
    **changes: Any,
) -> Path:
    """A run's folder below sweep; accuracy None: no result. Returns the folder."""
    cfg = config(**changes)
    folder = sweep / folder_name(cfg)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
    now = time.time() - age
    status = {
        "state": state,
        "heartbeat": now,
        "started": now - 100,
        "ended": None,
        "host": "node7",
        "pid": 1,
    }
    (folder / "status.json").write_text(json.dumps(status | {"job_id": None, "error": error}))
    if accuracy is not None:
        curve = (*curve, accuracy)
    lines = [
        {
            "epoch": n,
            "step": 10 * n,
            "test_acc": acc,
            "train_loss": 1 / n,
            "firing_rates": {"2": 0.1, "5": 0.2},
        }
        for n, acc in enumerate(curve, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if accuracy is not None:
        result = result_of(cfg, accuracy, len(curve))
        result |= {"step_seconds": seconds, "peak_memory_bytes": memory, "machine": MACHINE | (machine or {})}
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def result_of(cfg: DictConfig, accuracy: float, epochs: int) -> dict[str, Any]:
    names = {group: cfg[group].name for group in ("dataset", "arch", "neuron")}
    return {
        "name": folder_name(cfg),
        "config": names | {key: cfg[key] for key in ("step_mode", "grad_mode", "T", "seed")},
        "params": 94186,
        "epochs": epochs,
        "train_loss": 0.01,
        "test_acc": accuracy,
        "best_test_acc": min(1.0, accuracy + 0.01),
        "headline": "last",
        "headline_acc": accuracy,
        "seconds_per_epoch": 1.5,
        "images_per_second": 640.0,
        "firing_rate": 0.15,
        "firing_rates": {"2": 0.1, "5": 0.2},
        "seconds": 100.0,
        "code": CODE,
    }
