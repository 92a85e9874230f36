"""The working parts of a run (device, data, network, optimizer), and their checkpointed state."""

import contextlib
from collections.abc import Callable, Iterator
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
from rbp.data.stage import copied_to_stage
from rbp.errors import CheckpointError, ConfigError
from rbp.gradients import Step, backward
from rbp.gradients.online import ONLINE
from rbp.models import build
from rbp.provenance import code_version, git_commits
from rbp.rate import data_parallel, forward
from rbp.rate.errors import NoStepsError
from rbp.rate.memory.draws import random_state, set_random_state
from rbp.rate.neurons import compiled
from rbp.seeds import stream
from rbp.train.device import autocast, choose_device, describe_machine, prepare_torch
from rbp.train.optimizer import build_optimizer
from rbp.train.over_time import time_mean
from rbp.train.ranks import ALONE, Ranks
from rbp.train.resume.checkpoint import load_network, random_states, restore_random_states
from rbp.train.resume.fingerprint import fingerprint
from rbp.train.resume.history import History, from_plain, to_plain
from rbp.train.step.loss import LossFunction, build_loss, loss_over
from rbp.train.telemetry.costs import CostMeter


@dataclass
class TrainState:
    """The working parts of a training run, all on its device.

    Attributes:
        cfg: The frozen config.
        device: Where the run computes.
        splits: Training, validation and test images.
        net: The network, not wrapped.
        loss: The loss of outputs [B, K] and labels [B].
        optimizer: The optimizer.
        schedule: The learning-rate schedule, stepped once per epoch.
        machine: The description of the machine (`describe_machine`).
        code: The version of the code (`code_version`).
        ranks: The processes that train the network together.
        parallel: `net` wrapped in DistributedDataParallel; None with a single rank.
        gives_steps: Whether the network gives the output of every step, as far as is known.
        images: What tells the images from others (`fingerprint`).
    """

    cfg: DictConfig
    device: torch.device
    splits: Splits
    net: nn.Module
    loss: LossFunction
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    machine: dict[str, Any]
    code: dict[str, Any]
    ranks: Ranks = ALONE
    parallel: DistributedDataParallel | None = None
    gives_steps: bool = True
    images: str = ""

    @contextlib.contextmanager
    def gradients_averaged(self, now: bool) -> Iterator[None]:
        """Average gradients over ranks in the backward pass inside the block, or only add them up on each.

        Args:
            now: Whether to average them, with those added up before; else a later backward pass must do so.
        """
        with contextlib.nullcontext() if now or self.parallel is None else self.parallel.no_sync():
            yield

    def forward(self, x: Tensor) -> Tensor:
        """Run the network without gradients and return its output [B, K] in float32.

        Args:
            x: Images [B, C, H, W], each presented at every time step, or frames [B, T, C, H, W], one per time
                step.
        """
        with torch.no_grad(), autocast(self.cfg, self.device):
            return self._forward(x, per_step=False).float()

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what `forward` does, to the bit, and the output of every step [T, B, K].

        The latter is None if the network takes the time mean itself (`gives_steps` is then false).
        """
        if self.gives_steps:
            before = random_state(self.device)
            try:
                with torch.no_grad(), autocast(self.cfg, self.device):
                    steps = self._forward(x, per_step=True)
                    return time_mean(steps, self.cfg.step_mode).float(), steps
            except NoStepsError:  # once a run: what the failed pass drew is drawn again
                self.gives_steps = False
                set_random_state(before)
        return self.forward(x), None

    def _forward(self, x: Tensor, per_step: bool) -> Tensor:
        x, how = self._shown(x)
        if how["grad_mode"] in ONLINE:  # without gradients all modes are the same
            how["grad_mode"] = "bptt"
        return forward(self.net, x, per_step=per_step, **how)

    def backward(self, x: Tensor, loss: Callable[[Tensor], Tensor], **more: Any) -> Step:
        """Run forward and backward of a training step (`rbp.backward`) as the config says.

        Args:
            x: Images or frames, as in `forward`.
            loss: Maps outputs [B, K] to a scalar.
            more: `generator`, `scale` and `around` of `rbp.backward`.
        """
        net = self.net if self.parallel is None else self.parallel
        mode, (x, how) = self.cfg.grad_mode, self._shown(x)
        if mode.name in ONLINE:
            how |= {"backprop_steps": mode.backprop_steps, "rescale": mode.rescale}
        how["over"] = loss_over(self.cfg)
        with autocast(self.cfg, self.device):
            return backward(net, x, loss, **how, **more)

    def _shown(self, x: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Return the input as the network is shown it, and the arguments of `rbp.forward` for it."""
        mode = self.cfg.grad_mode
        own = {"grad_mode": mode.name, "segments": mode.segments, "coupled": mode.coupled}
        return self.shown(x), self.how() | own

    def shown(self, x: Tensor) -> Tensor:
        """Return images or frames (as in `forward`) as the network is shown them."""
        if self.cfg.arch.get("layout") == "static":  # the network itself repeats the image T times
            return x
        return x.transpose(0, 1).contiguous() if x.dim() == 5 else x.expand(self.cfg.T, *x.shape)

    def how(self) -> dict[str, Any]:
        """Return the arguments of `rbp.forward` that all gradient modes share."""
        cfg, layout = self.cfg, self.cfg.arch.get("layout")
        how = {"step_mode": cfg.step_mode, "layout": layout}
        how |= {"chunk": cfg.trainer.chunk, "kernels": cfg.trainer.kernels}
        return how | {"T": cfg.T} if layout == "static" else how


def set_up(cfg: DictConfig, ranks: Ranks = ALONE) -> TrainState:
    """Build everything that a run needs before its first step, from the config and its seed alone."""
    code = code_version(cfg)  # first, since files may be edited while the run goes on
    git_commits(cfg)  # noted now, for the same reason; `make_result` gets the same answer
    prepare_torch(cfg)
    device = choose_device(cfg, ranks)
    splits = load(copied_to_stage(cfg.dataset))
    on_device = Splits(
        train=splits.train.to(device),
        val=None if splits.val is None else splits.val.to(device),
        test=splits.test.to(device),
    )
    _refuse_small_last(cfg, splits, ranks)
    net = build(cfg).to(device)
    # Without find_unused_parameters, DDP reorders its buckets after a process's first step. That changes the
    # order of sums over three or more ranks, and a resumed run would not be bit-identical. (torch warns that
    # the option costs a little.)
    parallel = data_parallel(net, find_unused_parameters=True) if ranks.world > 1 else None
    net = net if parallel is None else parallel.module  # the wrapper replaced its batch normalisation
    loss, (optimizer, schedule) = build_loss(cfg, ranks.world), build_optimizer(cfg, net)
    own = (ranks.rank,) if ranks.rank else ()  # ranks see different images and need different dropout masks
    torch.manual_seed(stream(cfg.seed, "dropout", *own).initial_seed())
    machine = describe_machine(cfg, device, ranks)
    compiled.ran.clear()  # counts of an earlier run in this process
    return TrainState(
        *(cfg, device, on_device, net, loss, optimizer, schedule, machine, code, ranks, parallel),
        images=fingerprint(splits),
    )


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
    """Return the number of training batches per epoch, limited by `trainer.limit_batches`."""
    n = n_train_batches(training.splits.train, training.cfg.trainer.batch_size)
    return min(n, training.cfg.trainer.limit_batches or n)


def state_of(training: TrainState, history: History) -> dict[str, Any]:
    """Return the plain values and tensors from which `restore` continues the run bit for bit.

    All ranks must call this together, since their random states are gathered.
    """
    random = training.ranks.gather(random_states(training.device))
    return {
        "identity": identity(training.cfg),
        "made_with": folder_name(training.cfg),
        "images": training.images,
        "network": training.net.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "schedule": training.schedule.state_dict(),
        "random": {str(rank): states for rank, states in enumerate(random)},
        "history": to_plain(history),
    }


def restore(training: TrainState, state: dict[str, Any], file: Path) -> History:
    """Restore the run from a checkpoint's state and return its history.

    Args:
        training: A freshly set up run; network, optimizer, schedule and random states are overwritten.
        state: The state of the checkpoint.
        file: The checkpoint's path, for error messages.

    Raises:
        CheckpointError: The checkpoint belongs to another network or run, or is not complete.
    """
    load_network(training.net, state, file)
    if state["identity"] != identity(training.cfg):
        raise CheckpointError(
            f"{file}: the checkpoint of another run ({state['made_with']}); delete the folder to train anew"
        )
    if (before := state.get("images", training.images)) != training.images:  # without: of version 0.2
        raise CheckpointError(
            f"{file}: was trained on {before}, but dataset.root={training.cfg.dataset.root} has "
            f"{training.images}; bring the images of before back, or delete the folder to train anew"
        )
    try:
        training.optimizer.load_state_dict(state["optimizer"])
        training.schedule.load_state_dict(state["schedule"])
        if (own := str(training.ranks.rank)) in state["random"]:  # otherwise fewer ranks saved it
            restore_random_states(state["random"][own], training.device)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{file}: optimizer, schedule or random states are not whole ({error}); "
            "delete the folder to train anew"
        ) from error
    history = from_plain(state["history"])
    comparable = history.machines[-1:] == [training.machine] and history.code[-1:] == [training.code]
    # Costs measured on another machine or with other code do not count. Each process warms up anew.
    return replace(history, costs=replace(history.costs, warm_steps=0) if comparable else CostMeter())
