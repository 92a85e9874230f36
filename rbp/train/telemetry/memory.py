"""Out-of-memory errors with advice on which settings to change."""

import contextlib
from collections.abc import Iterator

import torch
from omegaconf import DictConfig

from rbp.errors import TrainingError


@contextlib.contextmanager
def memory_errors_explained(cfg: DictConfig) -> Iterator[None]:
    """Raise TrainingError with advice if an allocation fails inside the block."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(cfg, error) from error
    except RuntimeError as error:  # torch raises a plain RuntimeError on a CPU
        if "can't allocate memory" not in str(error):
            raise
        raise _out_of_memory(cfg, error) from error


def _out_of_memory(cfg: DictConfig, error: Exception) -> TrainingError:
    less = [f"a smaller trainer.batch_size (now {cfg.trainer.batch_size})"]
    less.append(f"a larger trainer.accumulate (now {cfg.trainer.accumulate})")
    less.append(f"trainer.eval_batch_size (now {cfg.trainer.eval_batch_size}) or T (now {cfg.T})")
    if cfg.grad_mode.name == "bptt":
        less.append("grad_mode=rate or sltt, whose memory does not grow with T")
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return TrainingError(f"out of memory: try {', or '.join(less)} ({reason})")
