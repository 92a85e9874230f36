"""Where and how precisely a run computes, and what to say of the machine so that its numbers compare."""

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
    """trainer.device, with auto as the first GPU where there is one; each rank of a node takes its own."""
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
    # A launcher may show each task all GPUs of its node, or its own alone.
    return torch.device("cuda", ranks.local_rank % max(torch.cuda.device_count(), 1))


def prepare_torch(cfg: DictConfig) -> None:
    """Set what holds for a whole process: threads, and kernels that give the same bits again."""
    if cfg.trainer.threads is not None:
        torch.set_num_threads(cfg.trainer.threads)
    # cuBLAS reads this when it is first used; without it, its results may differ from run to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(cfg.trainer.deterministic, warn_only=True)
    # What it would fill is memory about to be written: a guard for debugging, at a cost.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not cfg.trainer.deterministic


def autocast(cfg: DictConfig, device: torch.device) -> torch.autocast:
    """Mixed precision where trainer.precision asks for it; weights and membrane potentials stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=cfg.trainer.precision == "bf16")


def synchronize(device: torch.device) -> None:
    """Wait for the device to finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def describe_machine(cfg: DictConfig, device: torch.device, ranks: Ranks = ALONE) -> dict[str, Any]:
    """What decides whether two runs' costs (and bits) can be compared."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else _cpu_name(),
        "device_type": device.type,
        "driver": _driver() if cuda else None,
        "threads": torch.get_num_threads(),
        "ranks": ranks.world,
        "torch": str(torch.__version__),  # a class of its own, which weights_only refuses
        "cuda": torch.version.cuda if cuda else None,
        "spikingjelly": getattr(spikingjelly, "__version__", None) or _version("spikingjelly"),
        "python": platform.python_version(),
        "precision": cfg.trainer.precision,
        "tf32": bool(cuda and torch.backends.cudnn.allow_tf32),
        "deterministic": cfg.trainer.deterministic,
        "kernels": _kernels(cfg, device),
    }


def _kernels(cfg: DictConfig, device: torch.device) -> str | None:
    """Which kernels the neurons of a rate run are to get; BPTT has no choice of them."""
    if cfg.grad_mode.name != "rate":
        return None
    asked = compiled.wanted(cfg.trainer.kernels, device)
    return "compiled" if asked and compiled.works(device) else "plain"


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def _cpu_name() -> str:
    """The processor's model, with the number of cores this process may use."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as stream:
            model = next((line.split(":", 1)[1].strip() for line in stream if "model name" in line), model)
    except OSError:
        pass
    return f"{model}, {usable_cores()} cores"


def _driver() -> str | None:
    """The NVIDIA driver's version, as the kernel module tells it."""
    try:
        with open("/proc/driver/nvidia/version") as stream:
            words = stream.readline().split()
    except OSError:
        return None
    return next((word for word in words if word[0].isdigit() and "." in word), None)
