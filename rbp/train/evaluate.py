"""What a network reaches on images it was not trained on, and how often its neurons fire there."""

import contextlib
import itertools
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
from rbp.rate.supported import is_neuron
from rbp.runfolder import RunFolder
from rbp.train.checkpoint import load_checkpoint, load_latest, load_network
from rbp.train.job import Job, set_up
from rbp.train.memory import memory_told

TOP5_ABOVE = 10  # classes: with fewer, the top 5 say little


@torch.no_grad()
def score(job: Job, images: Images, between: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Over images: `loss` (mean cross-entropy), `acc`, `top5` (with more than ten classes), both in [0, 1],
    `firing_rate` (spikes per neuron and time step, over all neurons) and `firing_rates` by layer.

    between: called before every batch; it stops the evaluation by raising.
    """
    job.net.eval()
    loss = torch.zeros((), dtype=torch.float64, device=job.device)
    hits = torch.zeros(5, dtype=torch.int64, device=job.device)
    seen, cfg = 0, job.cfg
    batches = eval_batches(images, cfg.dataset, batch_size=cfg.trainer.eval_batch_size)
    with count_spikes(job.net) as counts:
        for x, y in itertools.islice(batches, cfg.trainer.limit_batches):
            between()
            logits = job.forward(x)
            loss += F.cross_entropy(logits, y, reduction="sum")
            ranked = logits.topk(min(5, logits.shape[1])).indices == y.unsqueeze(1)
            hits[: ranked.shape[1]] += ranked.sum(0)
            seen += len(y)
    right = hits.cumsum(0).tolist()
    scores = {"loss": loss.item() / seen, "acc": right[0] / seen}
    if cfg.dataset.classes > TOP5_ABOVE:
        scores["top5"] = right[4] / seen
    return scores | _firing_rates(counts)


@contextlib.contextmanager
def count_spikes(net: nn.Module) -> Iterator[dict[str, tuple[Tensor, int]]]:
    """While inside: every layer of neurons -> its spikes so far, and how many there could have been."""
    counts: dict[str, tuple[Tensor, int]] = {}
    with contextlib.ExitStack() as stack:
        for name, module in net.named_modules():
            if is_neuron(module):
                hook = module.register_forward_hook(_counter(counts, name))
                stack.callback(hook.remove)
        yield counts


def _counter(counts: dict[str, tuple[Tensor, int]], name: str) -> Any:
    def count(module: nn.Module, args: Any, output: Any) -> None:
        spikes = output.spikes if isinstance(output, Pair) else output
        assert spikes is not None  # only the pass that builds a graph has none
        fired, possible = counts.get(name, (0, 0))
        counts[name] = (fired + spikes.sum(dtype=torch.float64), possible + spikes.numel())

    return count


def _firing_rates(counts: dict[str, tuple[Tensor, int]]) -> dict[str, Any]:
    by_layer = {name: fired.item() / possible for name, (fired, possible) in counts.items()}
    possible = sum(n for _, n in counts.values())
    fired = sum(by_layer[name] * n for name, (_, n) in counts.items())
    return {"firing_rate": fired / possible if possible else None, "firing_rates": by_layer}


def evaluate(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Score a checkpoint on the test images (and the held out): cfg.checkpoint, or the last of run `folder`.

    One that was saved in mid-epoch is scored as it is, and `part` says where: {"batches": ...} of the epoch
    after `epochs` whole ones. Nothing is written.

    Raises CheckpointError where there is none, or one of another network.
    """
    file, state = _find(cfg, RunFolder(folder))
    with memory_told(cfg):
        job = set_up(cfg)
        load_network(job.net, state, file)
        result = {f"test_{key}": value for key, value in score(job, job.splits.test).items()}
        if job.splits.val is not None:
            result["val_acc"] = score(job, job.splits.val)["acc"]
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
