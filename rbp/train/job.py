"""What a run works with: device, data, network, optimizer; and what of it goes into a checkpoint."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from rbp.code_version import code_version
from rbp.data import Splits, load
from rbp.errors import CheckpointError
from rbp.identity import folder_name, identity
from rbp.models import build
from rbp.rate import forward
from rbp.seeds import stream
from rbp.train.checkpoint import load_network, random_states, restore_random_states
from rbp.train.costs import Costs
from rbp.train.device import autocast, choose_device, describe_machine, prepare_torch
from rbp.train.history import History, from_plain, to_plain
from rbp.train.optimizer import build_optimizer


@dataclass
class Job:
    """A run's working parts, all on its device."""

    cfg: DictConfig
    device: torch.device
    splits: Splits
    net: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    machine: dict[str, Any]
    code: dict[str, str]

    def forward(self, x: Tensor) -> Tensor:
        """The network's output [B, K] in float32 for images x [B, C, H, W], each shown at every time step, or
        for frames x [B, T, C, H, W], one a time step.
        """
        cfg = self.cfg
        with autocast(cfg, self.device):
            x_seq = x.transpose(0, 1).contiguous() if x.dim() == 5 else x.expand(cfg.T, *x.shape)
            return forward(self.net, x_seq, step_mode=cfg.step_mode, grad_mode=cfg.grad_mode).float()


def set_up(cfg: DictConfig) -> Job:
    """Everything of a run before its first step, from the config and its seed alone."""
    code = code_version()  # first, since the files may be edited while the run works
    prepare_torch(cfg)
    device = choose_device(cfg)
    splits = load(cfg.dataset)
    on_device = Splits(
        train=splits.train.to(device),
        val=None if splits.val is None else splits.val.to(device),
        test=splits.test.to(device),
    )
    net = build(cfg).to(device)
    optimizer, schedule = build_optimizer(cfg, net)
    torch.manual_seed(stream(cfg.seed, "dropout").initial_seed())
    return Job(cfg, device, on_device, net, optimizer, schedule, describe_machine(cfg, device), code)


def state_of(job: Job, history: History) -> dict[str, Any]:
    """Plain values and tensors from which `restore` makes the run go on bit for bit."""
    return {
        "identity": identity(job.cfg),
        "made_with": folder_name(job.cfg),
        "network": job.net.state_dict(),
        "optimizer": job.optimizer.state_dict(),
        "schedule": job.schedule.state_dict(),
        "random": random_states(job.device),
        "history": to_plain(history),
    }


def restore(job: Job, state: dict[str, Any], file: Path) -> History:
    """Make job go on from a checkpoint's state. Raises CheckpointError if it does not fit."""
    load_network(job.net, state, file)
    if state["identity"] != identity(job.cfg):
        raise CheckpointError(
            f"{file}: the checkpoint of another run ({state['made_with']}); delete the folder to train anew"
        )
    try:
        job.optimizer.load_state_dict(state["optimizer"])
        job.schedule.load_state_dict(state["schedule"])
        restore_random_states(state["random"], job.device)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{file}: optimizer, schedule or random states are not whole ({error}); "
            "delete the folder to train anew"
        ) from error
    history = from_plain(state["history"])
    comparable = history.machines[-1:] == [job.machine] and history.code[-1:] == [job.code]
    # Times and bytes of another machine say nothing of this one; warm-up is a process's own.
    return replace(history, costs=replace(history.costs, warm_steps=0) if comparable else Costs())
