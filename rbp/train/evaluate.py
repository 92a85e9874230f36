"""Evaluation of a network: loss, accuracy and firing rates on held-out or test images."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor, nn

from rbp.data import ImageFiles, Images, eval_batches
from rbp.errors import CheckpointError
from rbp.rate import Pair
from rbp.rate.registry import is_neuron
from rbp.runs.folder import RunFolder
from rbp.terminal.output import say
from rbp.train.operations.counting import Counting
from rbp.train.over_time import NO_STEPS, right_so_far
from rbp.train.resume.checkpoint import load_checkpoint, load_latest, load_network
from rbp.train.state import TrainState, set_up
from rbp.train.telemetry.memory import memory_errors_explained

TOP5_ABOVE = 10  # classes; with fewer, top-5 accuracy says little


@torch.no_grad()
def score(
    training: TrainState,
    images: Images | ImageFiles,
    between: Callable[[], None] = lambda: None,
    counted: bool = False,
) -> dict[str, Any]:
    """Evaluate the network on images.

    With several ranks, each evaluates every `world`-th batch, and all return the same scores.

    Args:
        training: The run's state.
        images: The images to evaluate on.
        between: Called before every batch; it can stop the evaluation by raising.
        counted: Whether to count operations too; for the test images.

    Returns:
        `loss` (mean cross-entropy), `acc` and, with more than ten classes, `top5`, both in [0, 1];
        `acc_over_t`, the accuracy of the mean of the outputs after t = 1, ..., T steps (None if the network
        does not give them); `firing_rate` (spikes per neuron and time step over all neurons, None without
        neurons) and `firing_rates` by layer; if counted, `operations` (rbp.train.operations.energy) and
        `why_null` (why `test_acc_over_t` or `operations` is None).
    """
    training.net.eval()
    ranks, sums = training.ranks, _Sums(training.cfg.T, training.device)
    counter = Counting(training.cfg, training.net, _batches(training, images)) if counted else None
    with count_spikes(training.net) as spikes:
        for number, batch in enumerate(_own_batches(training, images)):
            between()
            if batch is None:  # other ranks have one batch more
                continue
            x, y = batch
            with counter.batch(ranks.rank + number * ranks.world, x) if counter else contextlib.nullcontext():
                outputs, steps = training.outputs(x)
            sums.add(outputs, steps, y)
    own = [*sums.rows(), *_plain(training.net, spikes)]
    width = max(map(len, own))
    first, over_t, *fired = ranks.add([row + [0.0] * (width - len(row)) for row in own])
    scores = _accuracies(training.cfg, first, over_t) | _firing_rates(training.net, fired)
    if counter is None:
        return scores
    no_steps = NO_STEPS if scores["acc_over_t"] is None else None
    why = {"test_acc_over_t": no_steps, "operations": counter.why_not}
    why_null = {key: reason for key, reason in why.items() if reason is not None}
    return scores | {"operations": counter.operations(ranks), "why_null": why_null}


class _Sums:
    """The sums over images from which losses and accuracies are computed."""

    def __init__(self, T: int, device: torch.device) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.hits = torch.zeros(5, dtype=torch.int64, device=device)
        self.right_over_t = torch.zeros(T, dtype=torch.int64, device=device)
        self.images = self.without_steps = 0

    def add(self, outputs: Tensor, steps: Tensor | None, y: Tensor) -> None:
        """Add a batch: its outputs [B, K], those of every step [T, B, K] if known, and labels [B]."""
        self.loss += F.cross_entropy(outputs, y, reduction="sum")
        ranked = outputs.topk(min(5, outputs.shape[1])).indices == y.unsqueeze(1)
        self.hits[: ranked.shape[1]] += ranked.sum(0)
        self.images += len(y)
        if steps is None:
            self.without_steps += len(y)
        else:
            self.right_over_t += right_so_far(steps, y)

    def rows(self) -> list[list[float]]:
        """Return the sums, to be added over ranks."""
        first = [self.loss.item(), self.images, self.without_steps, *self.hits.tolist()]
        return [first, self.right_over_t.tolist()]


def _accuracies(cfg: DictConfig, first: list[float], over_t: list[float]) -> dict[str, Any]:
    """Return the scores of all ranks' sums, in the order of `_Sums.rows`."""
    loss, n, without_steps, *hits = first
    scores: dict[str, Any] = {"loss": loss / n, "acc": hits[0] / n}
    if cfg.dataset.classes > TOP5_ABOVE:
        scores["top5"] = sum(hits[:5]) / n
    # The last is that of the time mean itself, which may round otherwise than a sum does.
    up_to_t = [*(right / n for right in over_t[: cfg.T - 1]), scores["acc"]]
    return scores | {"acc_over_t": None if without_steps else up_to_t}


def _batches(training: TrainState, images: Images | ImageFiles) -> int:
    """Return the number of batches of all ranks."""
    cfg = training.cfg.trainer
    return min(-(-len(images) // cfg.eval_batch_size), cfg.limit_batches or sys.maxsize)


def _own_batches(training: TrainState, images: Images | ImageFiles) -> Iterator[tuple[Tensor, Tensor] | None]:
    """Yield this rank's batches, padded with None so that every rank yields the same number."""
    n, size, ranks = _batches(training, images), training.cfg.trainer.eval_batch_size, training.ranks
    numbers = range(ranks.rank, n, ranks.world)
    own = eval_batches(images, training.cfg.dataset, batch_size=size, numbers=numbers)
    return (next(own, None) for _ in range(-(-n // ranks.world)))


@contextlib.contextmanager
def count_spikes(net: nn.Module) -> Iterator[dict[str, tuple[Tensor, int]]]:
    """Count the spikes of every layer of neurons inside the block.

    Yields:
        A dict that fills up while the network runs: layer name -> (number of spikes as a float64 tensor,
        number of possible spikes).
    """
    counts: dict[str, tuple[Tensor, int]] = {}
    with contextlib.ExitStack() as stack:
        for name in _neurons(net):
            hook = net.get_submodule(name).register_forward_hook(_counter(counts, name))
            stack.callback(hook.remove)
        yield counts


def _counter(counts: dict[str, tuple[Tensor, int]], name: str) -> Any:
    def count(module: nn.Module, args: Any, output: Any) -> None:
        spikes = output.spikes if isinstance(output, Pair) else output
        assert spikes is not None  # None only in the call of step mode s that builds the graph of the rates
        fired, possible = counts.get(name, (0, 0))
        counts[name] = (fired + spikes.sum(dtype=torch.float64), possible + spikes.numel())

    return count


def _neurons(net: nn.Module) -> list[str]:
    return [name for name, module in net.named_modules() if is_neuron(module)]


def _plain(net: nn.Module, counts: dict[str, tuple[Tensor, int]]) -> list[list[float]]:
    """Return [spikes, possible spikes] of every layer of neurons, including layers that were never called."""
    found = [counts.get(name, (torch.zeros(()), 0)) for name in _neurons(net)]
    return [[fired.item(), possible] for fired, possible in found]


def _firing_rates(net: nn.Module, spikes: list[list[float]]) -> dict[str, Any]:
    """Return `firing_rate` over all neurons, and `firing_rates` by layer without layers never called."""
    by_layer = {name: s[0] / s[1] for name, s in zip(_neurons(net), spikes, strict=True) if s[1]}
    fired, possible = (sum(s[i] for s in spikes) for i in (0, 1))
    return {"firing_rate": fired / possible if possible else None, "firing_rates": by_layer}


def evaluate(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Evaluate a checkpoint on the test images and, if there are any, the held-out ones. Writes nothing.

    A checkpoint saved in the middle of an epoch is evaluated as it is.

    Args:
        cfg: A frozen config; `cfg.checkpoint` names the file, None means the run's last checkpoint.
        folder: The run folder.

    Returns:
        The scores, the checkpoint's path, `epochs` (completed epochs), `made_with` (name of the config that
        made it) and, for a checkpoint saved in mid-epoch, `part`: {"batches": batches done after `epochs`}.

    Raises:
        CheckpointError: There is no checkpoint, or it is one of another network.
    """
    file, state = _find(cfg, RunFolder(folder))
    with memory_errors_explained(cfg):
        training = set_up(cfg)
        load_network(training.net, state, file)
        found = score(training, training.splits.test, counted=True)
        result = {f"test_{key}": value for key, value in found.items()}
        if training.splits.val is not None:
            result["val_acc"] = score(training, training.splits.val)["acc"]
    for key in ("firing_rate", "operations", "why_null"):
        result[key] = result.pop(f"test_{key}")
    history = state["history"]
    made = {"epochs": history["epochs"], "made_with": state["made_with"]}
    if batches := history["part"]["batches"]:
        made["part"] = {"batches": batches}
        say(f"{file}: saved in mid-epoch, {batches} batches after epoch {history['epochs']}")
    return result | {"checkpoint": str(file)} | made


def _find(cfg: DictConfig, run: RunFolder) -> tuple[Path, dict[str, Any]]:
    """Return the file and state of the checkpoint to evaluate."""
    if cfg.checkpoint is not None:
        return Path(cfg.checkpoint), load_checkpoint(Path(cfg.checkpoint))
    file, state, problems = load_latest(run.checkpoints)
    if state is None:
        raise CheckpointError(
            f"{run.path}: this run has no checkpoint to evaluate; train it first, "
            "or name one with checkpoint=PATH"
        )
    for problem in problems:
        say(problem)
    return file, state
