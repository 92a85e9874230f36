"""One of two processes of test_distributed.py: python -m tests.rate.distributed_worker RANK FOLDER."""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from spikingjelly.activation_based import layer, neuron
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import rbp
from rbp.rate import data_parallel
from tests.support.networks import lif

WORLD, T, B = 2, 3, 6
CASES = [
    (net, grad_mode, step_mode, mode)
    for net in ("plain", "wrapped")
    for grad_mode in ("bptt", "rate", "two segments")
    for step_mode in ("m", "s")
    for mode in ("train", "eval")
]
# Of the online modes, one with some of the steps drawn: the last of these is not the last of all.
CASES += [
    (net, grad_mode, "s", mode)
    for net in ("plain", "wrapped")
    for grad_mode in ("sltt", "ottt", "one step drawn")
    for mode in ("train", "eval")
]


def network(name: str) -> nn.Module:
    """Torch's layers or SpikingJelly's wrappers, in float64."""
    torch.manual_seed(0)
    if name == "plain":
        body = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), lif(v_threshold=0.5), nn.MaxPool2d(2), nn.Flatten()]
        end = [nn.Linear(36, 8), nn.BatchNorm1d(8, affine=False), lif(v_threshold=0.5), nn.Linear(8, 5)]
    else:
        body = [layer.Conv2d(2, 4, 3), layer.BatchNorm2d(4), neuron.ParametricLIFNode(v_threshold=0.3)]
        body += [layer.AvgPool2d(2), layer.Flatten()]
        end = [layer.Linear(36, 8), neuron.IFNode(v_threshold=0.5), layer.Linear(8, 5)]
    return nn.Sequential(*body, *end).double()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    scale = torch.linspace(0.5, 2.0, WORLD * B, dtype=torch.float64).view(1, -1, 1, 1, 1)  # the halves differ
    x = torch.randn(T, WORLD * B, 2, 8, 8, generator=generator, dtype=torch.float64) * scale
    return x, torch.arange(WORLD * B) % 5


def train_step(net: nn.Module, x: torch.Tensor, labels: torch.Tensor, case: tuple) -> dict:
    """Two steps, as a second forward pass meets what the first left; the gradients of both, and the
    buffers."""
    _, grad_mode, step_mode, mode = case
    draws = torch.Generator().manual_seed(5)
    others: dict[str, dict[str, Any]] = {
        "two segments": {"grad_mode": "rate", "segments": 2},
        "one step drawn": {"grad_mode": "sltt", "backprop_steps": 1, "generator": draws},
    }
    how: dict[str, Any] = others.get(grad_mode, {"grad_mode": grad_mode})
    net.train(mode == "train")
    for _ in range(2):
        rbp.backward(net, x, lambda y: F.cross_entropy(y, labels), step_mode=step_mode, **how)
    inner = net.module if isinstance(net, DistributedDataParallel) else net
    gradients = {k: p.grad for k, p in inner.named_parameters()}
    return {"gradients": gradients, "buffers": dict(inner.named_buffers())}


def main(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=WORLD)
    x, labels = batch()
    mine = slice(rank * B, (rank + 1) * B)
    results = {}
    for case in CASES:
        net = data_parallel(network(case[0]))
        results[case] = train_step(net, x[:, mine], labels[mine], case)
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]), Path(sys.argv[2]))
