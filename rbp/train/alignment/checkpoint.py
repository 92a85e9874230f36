"""Measure the alignment of a run's checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rbp.alignment import FEWEST
from rbp.train.alignment.of_run import measure_run, refuse_too_few
from rbp.train.resume.checkpoint import load_checkpoint, load_network
from rbp.train.state import set_up
from rbp.train.telemetry.memory import memory_errors_explained


def align(cfg: DictConfig, segments: Sequence[int] | None = None, batches: int = FEWEST) -> dict[str, Any]:
    """Measure how far other modes' gradients are from BPTT's at a checkpoint's weights. Writes nothing.

    Args:
        cfg: A frozen config; `cfg.checkpoint` names the file.
        segments: Numbers of segments in rate mode; None takes 1, 2, 4, ... below T, and T.
        batches: Number of training batches, at least FEWEST.

    Returns:
        A line of alignment.jsonl (see rbp.runs.alignment), with the `checkpoint`'s path and, for one saved
        in mid-epoch, `part`: {"batches": batches done after `epoch`}.

    Raises:
        CheckpointError: There is no such checkpoint, or it is one of another network.
        ConfigError: The training images make fewer batches, or the network cannot be measured.
    """
    state = load_checkpoint(Path(cfg.checkpoint))
    history = state["history"]
    with memory_errors_explained(cfg):
        training = set_up(cfg)
        refuse_too_few(cfg, len(training.splits.train), batches, f"--batches {batches}")
        load_network(training.net, state, Path(cfg.checkpoint))
        line = measure_run(training, history["epochs"], segments, batches)
    done = history["part"]["batches"]
    return line | {"checkpoint": str(cfg.checkpoint)} | ({"part": {"batches": done}} if done else {})
