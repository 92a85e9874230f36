"""Check that several processes that train one network get the gradients of a single process."""

import contextlib
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from rbp.check.finding import Finding, ok, wrong
from rbp.check.networks import plain
from rbp.check.runner import CONTEXT
from rbp.rate import data_parallel, forward

Gradients = dict[str, np.ndarray]  # arrays, since tensors cannot outlive the process that sends them

TOLERANCE = 1e-5  # relative, in float64; several ranks sum in another order
BATCH, STEPS = 8, 3


def check_ranks(device: torch.device) -> Finding:
    """Compare the gradients of several ranks with those of one process.

    Two ranks are used with gloo on a CPU, and with NCCL on two GPUs; on a single GPU, one rank with NCCL.
    """
    on_gpu = device.type == "cuda"
    backend, world = ("nccl", min(2, torch.cuda.device_count())) if on_gpu else ("gloo", 2)
    alone = _gradients(_network(), *_batch())
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        together = _together(backend, world, device.type, store)
    if isinstance(together, str):
        return wrong(
            f"{world} ranks over {backend}: {together}", "is the host's own name resolved? MASTER_ADDR free?"
        )
    off = max(_distance(together[name], alone[name]) for name in alone)
    summary = f"{world} rank{'s' * (world > 1)} over {backend}: gradients off by {off:.0e} from one process"
    return (
        ok(summary) if off <= TOLERANCE else wrong(summary, "do not train one cell with several tasks here")
    )


def _together(backend: str, world: int, device: str, store: Path) -> Gradients | str:
    """Return the gradients of the first rank, or a message on what went wrong."""
    ours, theirs = CONTEXT.Pipe(duplex=False)
    ranks = [
        CONTEXT.Process(
            target=_rank, args=(backend, rank, world, device, store, theirs if rank == 0 else None)
        )
        for rank in range(world)
    ]
    for process in ranks:
        process.start()
    theirs.close()
    try:
        found: Gradients | str = ours.recv()
    except EOFError:
        found = "a rank ended without a word"
    for process in ranks:
        process.join(10)
        process.kill()
    return found


def _rank(backend: str, rank: int, world: int, device: str, store: Path, answer: Connection | None) -> None:
    """Compute the gradients of a rank's share of the batch, in the rank's process."""
    try:
        place = torch.device(device, rank) if device == "cuda" else torch.device(device)
        dist.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=world)
        net = data_parallel(_network().to(place))
        x, y = (part.to(place) for part in _share(rank, world))
        found: Gradients | str = _gradients(net, x, y)
    except Exception as error:
        found = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if answer is not None:
        answer.send(found)
    with contextlib.suppress(Exception):
        dist.destroy_process_group()


def _network() -> nn.Module:
    torch.manual_seed(0)
    return plain().double()


def _batch() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    x = torch.rand(BATCH, 3, 8, 8, generator=random, dtype=torch.float64)
    return x, torch.randint(5, (BATCH,), generator=random)


def _share(rank: int, world: int) -> tuple[Tensor, ...]:
    """Return a rank's part of images and labels."""
    return tuple(part.tensor_split(world)[rank] for part in _batch())


def _gradients(net: nn.Module, x: Tensor, y: Tensor) -> Gradients:
    F.cross_entropy(forward(net, x.expand(STEPS, *x.shape)), y).backward()
    inner = net.module if hasattr(net, "module") else net
    assert isinstance(inner, nn.Module)
    return {
        name: p.grad.cpu().numpy()
        for name, p in inner.named_parameters()
        if p.grad is not None and float(p.grad.norm()) > 1e-9  # leaves out biases before batch normalisation
    }


def _distance(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the distance relative to the norm of `truth`."""
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))
