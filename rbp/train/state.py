"""What a run works with: device, data, network, optimizer; and what of it goes into a checkpoint."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR

from rbp.config.identity import folder_name, identity
from rbp.data import Splits, load, n_train_batches
from rbp.data.stage import staged
from rbp.errors import CheckpointError, ConfigError
from rbp.models import build
from rbp.provenance import code_version
from rbp.rate import data_parallel, forward
from rbp.rate.neurons import compiled
from rbp.seeds import stream
from rbp.train.device import autocast, choose_device, describe_machine, prepare_torch
from rbp.train.optimizer import build_optimizer
from rbp.train.ranks import ALONE, Ranks
from rbp.train.resume.checkpoint import load_network, random_states, restore_random_states
from rbp.train.resume.history import History, from_plain, to_plain
from rbp.train.telemetry.costs import CostMeter


@dataclass
class TrainState:
    """A run's working parts, all on its device."""

    cfg: DictConfig
    device: torch.device
    splits: Splits
    net: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    machine: dict[str, Any]
    code: dict[str, Any]
    ranks: Ranks = ALONE
    parallel: DistributedDataParallel | None = None  # net, wrapped, where several ranks train it

    def forward(self, x: Tensor) -> Tensor:
        """The network's output [B, K] in float32 for images x [B, C, H, W], each shown at every time step, or
        for frames x [B, T, C, H, W], one a time step.
        """
        together = self.parallel is not None and torch.is_grad_enabled()
        net, cfg = self.parallel if together else self.net, self.cfg
        assert net is not None
        with autocast(cfg, self.device):
            how = {"step_mode": cfg.step_mode, "layout": cfg.arch.get("layout")}
            how |= {"chunk": cfg.trainer.chunk, "kernels": cfg.trainer.kernels}
            mode = cfg.grad_mode
            how |= {"grad_mode": mode.name, "segments": mode.segments, "coupled": mode.coupled}
            if how["layout"] == "static":  # the network repeats the image itself
                return forward(net, x, T=cfg.T, **how).float()
            x_seq = x.transpose(0, 1).contiguous() if x.dim() == 5 else x.expand(cfg.T, *x.shape)
            return forward(net, x_seq, **how).float()


def set_up(cfg: DictConfig, ranks: Ranks = ALONE) -> TrainState:
    """Everything of a run before its first step, from the config and its seed alone."""
    code = code_version(cfg)  # first, since the files may be edited while the run works
    prepare_torch(cfg)
    device = choose_device(cfg, ranks)
    splits = load(staged(cfg.dataset))
    on_device = Splits(
        train=splits.train.to(device),
        val=None if splits.val is None else splits.val.to(device),
        test=splits.test.to(device),
    )
    _refuse_small_last(cfg, splits, ranks)
    net = build(cfg).to(device)
    # Otherwise DDP sorts its buckets anew after a process's first step, and with them the order of sums over
    # three ranks or more: a run that goes on would have other bits. (torch warns that it costs a little.)
    parallel = data_parallel(net, find_unused_parameters=True) if ranks.world > 1 else None
    net = net if parallel is None else parallel.module  # its batch normalisation is another layer now
    optimizer, schedule = build_optimizer(cfg, net)
    own = (ranks.rank,) if ranks.rank else ()  # every rank has other images: other masks as well
    torch.manual_seed(stream(cfg.seed, "dropout", *own).initial_seed())
    machine = describe_machine(cfg, device, ranks)
    compiled.ran.clear()  # of an earlier run of this process
    return TrainState(cfg, device, on_device, net, optimizer, schedule, machine, code, ranks, parallel)


def _refuse_small_last(cfg: DictConfig, splits: Splits, ranks: Ranks) -> None:
    """Raise ConfigError if the last batch of an epoch leaves a rank without an image."""
    size, n = cfg.trainer.batch_size, len(splits.train)
    last = n % size
    if 1 < last < ranks.world and (cfg.trainer.limit_batches or n) > n // size:
        raise ConfigError(
            f"trainer.batch_size={size}: the last batch of the {n} training images has {last}, fewer than "
            f"this cell's {ranks.world} tasks; choose another batch size or fewer tasks"
        )


def batches_per_epoch(training: TrainState) -> int:
    """Training batches an epoch, trainer.limit_batches considered."""
    n = n_train_batches(training.splits.train, training.cfg.trainer.batch_size)
    return min(n, training.cfg.trainer.limit_batches or n)


def state_of(training: TrainState, history: History) -> dict[str, Any]:
    """Plain values and tensors from which `restore` makes the run go on bit for bit; asks every rank."""
    random = training.ranks.gather(random_states(training.device))
    return {
        "identity": identity(training.cfg),
        "made_with": folder_name(training.cfg),
        "network": training.net.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "schedule": training.schedule.state_dict(),
        "random": {str(rank): states for rank, states in enumerate(random)},
        "history": to_plain(history),
    }


def restore(training: TrainState, state: dict[str, Any], file: Path) -> History:
    """Make training go on from a checkpoint's state. Raises CheckpointError if it does not fit."""
    load_network(training.net, state, file)
    if state["identity"] != identity(training.cfg):
        raise CheckpointError(
            f"{file}: the checkpoint of another run ({state['made_with']}); delete the folder to train anew"
        )
    try:
        training.optimizer.load_state_dict(state["optimizer"])
        training.schedule.load_state_dict(state["schedule"])
        if (own := str(training.ranks.rank)) in state["random"]:  # else it was saved by fewer ranks
            restore_random_states(state["random"][own], training.device)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{file}: optimizer, schedule or random states are not whole ({error}); "
            "delete the folder to train anew"
        ) from error
    history = from_plain(state["history"])
    comparable = history.machines[-1:] == [training.machine] and history.code[-1:] == [training.code]
    # Times and bytes of another machine say nothing of this one; warm-up is a process's own.
    return replace(history, costs=replace(history.costs, warm_steps=0) if comparable else CostMeter())
