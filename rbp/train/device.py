"""The device and precision of a run, and the description of the machine that makes its numbers comparable."""

import os
import platform
from typing import Any

import spikingjelly
import torch
from omegaconf import DictConfig

from rbp.cores import usable_cores
from rbp.errors import ConfigError
from rbp.rate.neurons import compiled
from rbp.train.ranks import ALONE, Ranks


def choose_device(cfg: DictConfig, ranks: Ranks = ALONE) -> torch.device:
    """Return the device of `trainer.device`; `auto` means the first GPU, or the CPU if there is none.

    With several ranks on a node, each rank gets a GPU of its own.

    Raises:
        ConfigError: `trainer.device` names one GPU (such as `cuda:1`), but the run has several ranks.
    """
    wanted = cfg.trainer.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if ":" in wanted and ranks.world > 1:
        raise ConfigError(
            f"trainer.device={wanted}: must be auto, cpu or cuda for a cell of {ranks.world} tasks, "
            "each of which takes a GPU of its own"
        )
    if wanted != "cuda":
        return torch.device(wanted)
    # A launcher may make all GPUs of the node visible to each task, or only the task's own GPU.
    return torch.device("cuda", ranks.local_rank % max(torch.cuda.device_count(), 1))


def prepare_torch(cfg: DictConfig) -> None:
    """Set the process-wide torch settings: number of threads and deterministic kernels."""
    if cfg.trainer.threads is not None:
        torch.set_num_threads(cfg.trainer.threads)
    # cuBLAS reads this variable on first use. Without it, results may differ from run to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(cfg.trainer.deterministic, warn_only=True)
    # Filling new tensors is a debugging aid; here it only costs time, since they are overwritten anyway.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not cfg.trainer.deterministic


def autocast(cfg: DictConfig, device: torch.device) -> torch.autocast:
    """Return the autocast context of `trainer.precision`: bfloat16 for `bf16`, disabled otherwise.

    Weights and membrane potentials stay float32.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=cfg.trainer.precision == "bf16")


def synchronize(device: torch.device) -> None:
    """Wait until all work queued on a GPU is done; do nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def describe_machine(cfg: DictConfig, device: torch.device, ranks: Ranks = ALONE) -> dict[str, Any]:
    """Return the hardware and software facts that decide whether two runs' costs and bits are comparable."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else _cpu_name(),
        "device_type": device.type,
        "driver": _driver() if cuda else None,
        "threads": torch.get_num_threads(),
        "ranks": ranks.world,
        "torch": str(torch.__version__),  # TorchVersion would be refused by torch.load(weights_only=True)
        "cuda": torch.version.cuda if cuda else None,
        "spikingjelly": getattr(spikingjelly, "__version__", None) or _version("spikingjelly"),
        "python": platform.python_version(),
        "precision": cfg.trainer.precision,
        "tf32": bool(cuda and torch.backends.cudnn.allow_tf32),
        "deterministic": cfg.trainer.deterministic,
        "kernels": _kernels(cfg, device),
    }


def _kernels(cfg: DictConfig, device: torch.device) -> str | None:
    """Return the neuron kernels that a rate run will use, "compiled" or "plain"; None for BPTT."""
    if cfg.grad_mode.name != "rate":
        return None
    asked = compiled.wanted(cfg.trainer.kernels, device)
    return "compiled" if asked and compiled.works(device) else "plain"


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def _cpu_name() -> str:
    """Return the processor's model name and the number of cores that this process may use."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            model = next((line.split(":", 1)[1].strip() for line in stream if "model name" in line), model)
    except OSError:
        pass
    return f"{model}, {usable_cores()} cores"


def _driver() -> str | None:
    """Return the version of the NVIDIA driver as reported by its kernel module, or None."""
    try:
        with open("/proc/driver/nvidia/version", encoding="utf-8") as stream:
            words = stream.readline().split()
    except OSError:
        return None
    return next((word for word in words if word[0].isdigit() and "." in word), None)
