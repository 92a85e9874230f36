"""Check that a network and its optimizer can be built, and that one step of training runs with them.

A network is built on the meta device, without memory for weights, and once for all checks and for all runs in
a row that have it.
"""

import functools
import json
import warnings
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rbp.errors import ConfigError

_LONGEST_TRIAL = 64  # time steps of a trial step, which loops over them


def check_network(cfg: DictConfig) -> None:
    """Raise ConfigError if the network or the optimizer cannot be built from the configuration.

    If that fails on the meta device, they are built as in training.
    """
    import torch

    from rbp.models import build
    from rbp.train.optimizer import build_optimizer

    try:
        with torch.device("meta"):
            build_optimizer(cfg, _on_meta(cfg))
    except Exception:  # the network reads its weights while being built, or there is a real problem
        build_optimizer(cfg, build(cfg))


def _on_meta(cfg: DictConfig) -> Any:
    """Return the config's network on the meta device; the one before, if it is the same."""
    groups = {
        group: OmegaConf.to_container(cfg[group], resolve=True) for group in ("dataset", "arch", "neuron")
    }
    return _build_on_meta(json.dumps(groups))


@functools.lru_cache(maxsize=1)
def _build_on_meta(groups: str) -> Any:
    import torch

    from rbp.models import build

    without_weights = {"seed": 0, **json.loads(groups)}  # for which all seeds are alike
    with torch.device("meta"):
        return build(OmegaConf.create(without_weights))


def check_step(cfg: DictConfig) -> None:
    """Raise ConfigError if the network cannot take the images, or does not fit the gradient mode and loss.

    One step runs on the meta device, with shapes alone. If it fails there, it runs once more with two images
    of zeros, since networks may read values. Errors other than of shapes are left to training.
    """
    from rbp.rate import InputError, NoRuleError

    named = f"arch={cfg.arch.name} with neuron={cfg.neuron.name}"
    try:
        outputs = _trial_step(cfg, "meta")
    except NoRuleError as error:
        raise ConfigError(f"{named}: {error}") from error
    except Exception:  # perhaps its own code reads values, which are not there
        try:
            outputs = _trial_step(cfg, "cpu")
        except InputError as error:
            raise ConfigError(f"{named}: {error}") from error
        except Exception as error:
            if not _is_of_shapes(error):
                return
            first = str(error).splitlines()[0]
            raise ConfigError(f"{named}: cannot take images {_shape(cfg)}: {first}") from error
    if outputs != cfg.dataset.classes:
        raise ConfigError(
            f"{named}: has {outputs} outputs; must be dataset.classes={cfg.dataset.classes} of "
            f"dataset={cfg.dataset.name}"
        )


def _shape(cfg: DictConfig) -> list[int]:
    return [cfg.dataset.channels, cfg.dataset.size, cfg.dataset.size]


def _is_of_shapes(error: Exception) -> bool:
    words = ("shape", "size", "channels", "dimension")
    return isinstance(error, RuntimeError | ValueError) and any(word in str(error) for word in words)


def _trial_step(cfg: DictConfig, device: str) -> int:
    """Run a step on two images of zeros, and return the number of outputs."""
    import torch

    from rbp.gradients import backward
    from rbp.gradients.online import ONLINE
    from rbp.models import build
    from rbp.rate import forward
    from rbp.train.step.loss import loss_over

    mode, T = cfg.grad_mode, min(cfg.T, _LONGEST_TRIAL)
    net = _on_meta(cfg) if device == "meta" else build(cfg)
    with torch.device(device), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.zeros(2, *_shape(cfg))
        layout = cfg.arch.get("layout")
        x_seq = x if layout == "static" else x.expand(T, *x.shape).contiguous()
        how = {"T": T if layout == "static" else None, "layout": layout, "grad_mode": mode.name}
        if mode.name in ONLINE:
            return int(backward(net, x_seq, lambda y: y.sum(), **how).y.shape[-1])
        how |= {"segments": min(mode.segments, T), "coupled": mode.coupled, "step_mode": cfg.step_mode}
        how["per_step"] = loss_over(cfg) == "steps"
        return int(forward(net, x_seq, **how).shape[-1])
