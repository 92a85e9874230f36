"""The optimizer of a network, and its learning-rate schedule over the epochs."""

import math
from typing import Any

import torch
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from rbp.config.schema import Optimizer, labels
from rbp.errors import ConfigError
from rbp.rate.registry import is_neuron


def build_optimizer(cfg: DictConfig, net: nn.Module) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """Build the optimizer of config group `optimizer` and its schedule, to be stepped once per epoch.

    Weight decay applies to the weights of convolutions and linear layers. Norms, biases and learnable neuron
    parameters (ParametricLIF's tau) are not decayed.

    Raises:
        ConfigError: The optimizer cannot be imported, or does not accept one of the group's keys.
    """
    values = OmegaConf.to_container(cfg.optimizer, resolve=True)
    assert isinstance(values, dict)
    keys: dict[str, Any] = {str(k): v for k, v in values.items() if k not in labels(Optimizer)}
    try:
        optimizer = get_class(cfg.optimizer._target_)(_groups(net, keys.pop("weight_decay", 0.0)), **keys)
    except (TypeError, ValueError, ImportError) as error:
        raise ConfigError(f"optimizer={cfg.optimizer.name}: {cfg.optimizer._target_}: {error}") from error
    schedule, warmup, epochs = cfg.optimizer.schedule, cfg.optimizer.warmup_epochs, cfg.trainer.epochs
    return optimizer, LambdaLR(optimizer, lambda epoch: lr_factor(schedule, warmup, epochs, epoch))


def lr_factor(schedule: str, warmup: int, epochs: int, epoch: int) -> float:
    """Return the fraction of the full learning rate in an epoch (from 0).

    It rises linearly in the warm-up, then follows a cosine or stays constant.
    """
    if epoch < warmup:
        return (epoch + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup)))


def _groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split the parameters into a group with weight decay and one without."""
    decayed: dict[nn.Parameter, None] = {}  # a dict as an ordered set: two layers may share a parameter
    others: dict[nn.Parameter, None] = {}
    for module in net.modules():
        for name, parameter in module.named_parameters(recurse=False):
            is_weight = name != "bias" and parameter.dim() > 1 and not is_neuron(module)
            (decayed if is_weight else others)[parameter] = None
    groups = ((decayed, weight_decay), (others, 0.0))
    return [{"params": list(params), "weight_decay": decay} for params, decay in groups if params]
