"""What a network reaches on images it was not trained on, and how often its neurons fire there."""

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor, nn

from rbp.data import Images, eval_batches
from rbp.errors import CheckpointError
from rbp.output import say
from rbp.rate import Pair
from rbp.rate.registry import is_neuron
from rbp.runs.folder import RunFolder
from rbp.train.resume.checkpoint import load_checkpoint, load_latest, load_network
from rbp.train.state import TrainState, set_up
from rbp.train.telemetry.memory import memory_errors_explained

TOP5_ABOVE = 10  # classes: with fewer, the top 5 say little


@torch.no_grad()
def score(training: TrainState, images: Images, between: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Over images: `loss` (mean cross-entropy), `acc`, `top5` (with more than ten classes), both in [0, 1],
    `firing_rate` (spikes per neuron and time step, over all neurons) and `firing_rates` by layer.

    between: called before every batch; it stops the evaluation by raising. Of several ranks each takes every
    so many-th batch, and all return the same.
    """
    training.net.eval()
    loss = torch.zeros((), dtype=torch.float64, device=training.device)
    hits = torch.zeros(5, dtype=torch.int64, device=training.device)
    seen = 0
    with count_spikes(training.net) as counts:
        for batch in _own_batches(training, images):
            between()
            if batch is None:  # others have one more
                continue
            x, y = batch
            logits = training.forward(x)
            loss += F.cross_entropy(logits, y, reduction="sum")
            ranked = logits.topk(min(5, logits.shape[1])).indices == y.unsqueeze(1)
            hits[: ranked.shape[1]] += ranked.sum(0)
            seen += len(y)
    own = [[loss.item(), seen, *hits.tolist()], *_plain(training.net, counts)]
    width = max(map(len, own))
    (total, n, *right), *spikes = training.ranks.add([row + [0.0] * (width - len(row)) for row in own])
    scores = {"loss": total / n, "acc": right[0] / n}
    if training.cfg.dataset.classes > TOP5_ABOVE:
        scores["top5"] = sum(right[:5]) / n
    return scores | _firing_rates(training.net, spikes)


def _own_batches(training: TrainState, images: Images) -> Iterator[tuple[Tensor, Tensor] | None]:
    """This rank's batches; as many on every rank, the last one None where they do not come out even."""
    cfg, ranks = training.cfg.trainer, training.ranks
    n = min(-(-len(images) // cfg.eval_batch_size), cfg.limit_batches or sys.maxsize)
    batches = eval_batches(images, training.cfg.dataset, batch_size=cfg.eval_batch_size)
    own = itertools.islice(batches, ranks.rank, n, ranks.world)
    return (next(own, None) for _ in range(-(-n // ranks.world)))


@contextlib.contextmanager
def count_spikes(net: nn.Module) -> Iterator[dict[str, tuple[Tensor, int]]]:
    """While inside: every layer of neurons -> its spikes so far, and how many there could have been."""
    counts: dict[str, tuple[Tensor, int]] = {}
    with contextlib.ExitStack() as stack:
        for name in _neurons(net):
            hook = net.get_submodule(name).register_forward_hook(_counter(counts, name))
            stack.callback(hook.remove)
        yield counts


def _counter(counts: dict[str, tuple[Tensor, int]], name: str) -> Any:
    def count(module: nn.Module, args: Any, output: Any) -> None:
        spikes = output.spikes if isinstance(output, Pair) else output
        assert spikes is not None  # only the pass that builds a graph has none
        fired, possible = counts.get(name, (0, 0))
        counts[name] = (fired + spikes.sum(dtype=torch.float64), possible + spikes.numel())

    return count


def _neurons(net: nn.Module) -> list[str]:
    return [name for name, module in net.named_modules() if is_neuron(module)]


def _plain(net: nn.Module, counts: dict[str, tuple[Tensor, int]]) -> list[list[float]]:
    """Of every layer of neurons, called or not: spikes, and how many there could have been."""
    found = [counts.get(name, (torch.zeros(()), 0)) for name in _neurons(net)]
    return [[fired.item(), possible] for fired, possible in found]


def _firing_rates(net: nn.Module, spikes: list[list[float]]) -> dict[str, Any]:
    by_layer = {name: s[0] / s[1] for name, s in zip(_neurons(net), spikes, strict=True) if s[1]}
    fired, possible = (sum(s[i] for s in spikes) for i in (0, 1))
    return {"firing_rate": fired / possible if possible else None, "firing_rates": by_layer}


def evaluate(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Score a checkpoint on the test images (and the held out): cfg.checkpoint, or the last of run `folder`.

    One that was saved in mid-epoch is scored as it is, and `part` says where: {"batches": ...} of the epoch
    after `epochs` whole ones. Nothing is written.

    Raises CheckpointError where there is none, or one of another network.
    """
    file, state = _find(cfg, RunFolder(folder))
    with memory_errors_explained(cfg):
        training = set_up(cfg)
        load_network(training.net, state, file)
        result = {f"test_{key}": value for key, value in score(training, training.splits.test).items()}
        if training.splits.val is not None:
            result["val_acc"] = score(training, training.splits.val)["acc"]
    result["firing_rate"] = result.pop("test_firing_rate")
    history = state["history"]
    made = {"epochs": history["epochs"], "made_with": state["made_with"]}
    if batches := history["part"]["batches"]:
        made["part"] = {"batches": batches}
        say(f"{file}: saved in mid-epoch, {batches} batches after epoch {history['epochs']}")
    return result | {"checkpoint": str(file)} | made


def _find(cfg: DictConfig, run: RunFolder) -> tuple[Path, dict[str, Any]]:
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
