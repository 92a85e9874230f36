"""Run folders: written as the trainer leaves them, in their true file formats but with figures of one's
own and without training, and what is read from those that a run has left.
"""

import json
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rbp.config.identity import folder_name, grad_mode_settings
from rbp.runs.folder import RunFolder
from tests.support.configs import config

MACHINE = {"device": "AMD EPYC, 2 cores", "device_type": "cpu", "driver": None, "threads": 2}
MACHINE |= {"torch": "2.14.1", "cuda": None, "spikingjelly": "2.0.0", "python": "3.11.7", "precision": "fp32"}
MACHINE |= {"tf32": False, "deterministic": True, "ranks": 1, "kernels": "plain"}
CODE = {"version": "0.1.0", "hash": "0123456789ab"}
# Of a line of metrics.jsonl and of result.json: everything else is the same to the last bit.
TIMINGS = {"seconds", "images_per_second", "seconds_per_epoch", "step_seconds"}


# --- written ------------------------------------------------------------------------------------------------


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
    each: dict[str, Any] | None = None,
    more: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A run's folder below sweep; accuracy None: no result; each: more for every epoch's line, more:
    for the result. Returns it."""
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
        | (each or {})
        for n, acc in enumerate(curve, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if accuracy is not None:
        result = result_of(cfg, accuracy, len(curve))
        result |= {"step_seconds": seconds, "peak_memory_bytes": memory, "machine": MACHINE | (machine or {})}
        result |= more or {}
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def steps_and_energy(accuracies: list[float], energy: float = 0.0) -> dict[str, Any]:
    """What result.json has of the time steps: the accuracy after each, operations with this energy."""
    T = len(accuracies)
    up_to = [energy * t / T for t in range(1, T + 1)]
    operations = {
        "images": 16,
        **{"additions": energy / 0.9e-6, "macs": 0.0, "energy_uj": energy},
        "static_once": {"additions": energy / 0.9e-6, "macs": 0.0, "energy_uj": energy / 2},
        "ann": {"macs": 5e6, "energy_uj": 23.0},
        "over_t": {"additions": [e / 0.9e-6 for e in up_to], "macs": [0.0] * T, "energy_uj": up_to}
        | {"energy_uj_static_once": [e / 2 for e in up_to]},
        "layers": {"0": {"additions": energy / 0.9e-6, "macs": 0.0, "ann_macs": 5e6, "static": False}},
        "not_counted": {},
        **{"mac_pj": 4.6, "addition_pj": 0.9, "source": "Horowitz 2014"},
    }
    return {"test_acc_over_t": accuracies, "operations": operations}


def result_of(cfg: DictConfig, accuracy: float, epochs: int) -> dict[str, Any]:
    """result.json of a run of cfg, but for its machine and costs."""
    names = {group: cfg[group].name for group in ("dataset", "arch", "neuron")}
    return {
        "name": folder_name(cfg),
        "config": names
        | {key: cfg[key] for key in ("step_mode", "T", "seed")}
        | {"grad_mode": cfg.grad_mode.name, **grad_mode_settings(cfg)},
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


# --- read ---------------------------------------------------------------------------------------------------


def results(sweep: str = "single") -> list[dict[str, Any]]:
    """result.json of every run in runs/SWEEP, below the working directory, in the order of their names."""
    return [json.loads(file.read_text()) for file in sorted(Path("runs", sweep).glob("*/result.json"))]


def status_of(run: RunFolder) -> dict[str, Any]:
    return dict(json.loads(run.status.read_text()))


def metrics(run: RunFolder) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, timings left out."""
    return [without_timings(json.loads(line)) for line in run.metrics.read_text().splitlines()]


def lines(run: RunFolder) -> int:
    """How many lines metrics.jsonl has."""
    return run.metrics.read_text().count("\n") if run.metrics.exists() else 0


def without_timings(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in TIMINGS}
