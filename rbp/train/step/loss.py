"""The loss of a run: the function that its config group `loss` names."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor

from rbp.config.schema import Loss, labels
from rbp.errors import ConfigError
from rbp.targets import function_of

LossFunction = Callable[[Tensor, Tensor], Tensor]  # (outputs [B, K], labels [B]) -> scalar


def cross_entropy(outputs: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of the time mean of a network's output.

    Evaluation (`val_loss`, `test_loss`) always has the plain cross-entropy, whatever a run trains on, so that
    runs with different losses can be compared.

    Args:
        outputs: Time mean of the output [B, K].
        labels: Labels [B].
        label_smoothing: Share of the target probability that is spread evenly over all K classes.
    """
    return F.cross_entropy(outputs, labels, label_smoothing=label_smoothing)


def build_loss(cfg: DictConfig, world: int = 1) -> LossFunction:
    """Build the loss of a config: a function of outputs [B, K] and labels [B] that returns a scalar.

    It is tried on two images.

    Args:
        cfg: The frozen config.
        world: Number of ranks. If a batch is shared out over several, or computed in parts
            (`trainer.accumulate`), its loss must be the mean of its images' losses, or gradients would not be
            those of the batch.

    Raises:
        ConfigError: `loss._target_` cannot be imported, takes other keys, does not return a scalar with a
            gradient, or is no mean where it must be.
    """
    # label_smoothing comes with the default file, so a function without it works by loss._target_ alone.
    unneeded = {"label_smoothing": 0}
    loss = function_of(cfg.loss, "loss", labels(Loss), "outputs", "labels", unneeded=unneeded)
    outputs = torch.linspace(-1, 1, 2 * cfg.dataset.classes, device="cpu").view(2, -1)
    targets = torch.tensor([0, 1], device="cpu")
    with torch.enable_grad():
        value = _tried(loss, cfg, outputs.requires_grad_(), targets)
    if world > 1 or cfg.trainer.accumulate > 1:
        _refuse_other_than_mean(loss, cfg, outputs, targets, value)
    return loss


def _tried(loss: Callable[..., Any], cfg: DictConfig, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss. Raises ConfigError if it cannot be called or returns no scalar with a gradient."""
    try:
        value = loss(outputs, targets)
    except Exception as error:
        raise ConfigError(
            f"loss={cfg.loss.name}: {cfg.loss._target_} cannot be called with (outputs [B, K], "
            f"labels [B]): {type(error).__name__}: {error}"
        ) from error
    if not isinstance(value, Tensor):
        found = f"{value!r:.60}"
    elif value.dim():
        found = f"a tensor of shape {list(value.shape)}"
    elif not value.requires_grad:
        found = "one without a gradient"
    else:
        return value
    raise ConfigError(
        f"loss._target_={cfg.loss._target_}: must return a scalar tensor computed from the outputs, the mean "
        f"over the images; not {found}"
    )


def _refuse_other_than_mean(
    loss: Callable[..., Any], cfg: DictConfig, outputs: Tensor, targets: Tensor, value: Tensor
) -> None:
    """Raise ConfigError if the loss of all images is not the mean of the loss of each."""
    each = [_tried(loss, cfg, x, y) for x, y in zip(outputs.split(1), targets.split(1), strict=True)]
    mean = torch.stack(each).mean()
    if not torch.isclose(value, mean, rtol=1e-4, atol=1e-6):
        raise ConfigError(
            f"loss={cfg.loss.name}: {cfg.loss._target_} must be the mean of the images' losses where a batch "
            f"is computed in parts (trainer.accumulate={cfg.trainer.accumulate}) or by several tasks: for "
            f"two images it is {value.item():.6g}, and their mean {mean.item():.6g}; use "
            "trainer.accumulate=1 and one task"
        )
