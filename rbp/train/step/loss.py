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


def build_loss(cfg: DictConfig) -> LossFunction:
    """Build the loss of a config: a function of outputs [B, K] and labels [B] that returns a scalar.

    It must be a mean over the images of the batch, since a batch may be shared out over ranks and parts
    (`trainer.accumulate`). It is tried on two images.

    Raises:
        ConfigError: `loss._target_` cannot be imported, takes other keys, or does not return a scalar with a
            gradient.
    """
    # label_smoothing comes with the default file, so a function without it works by loss._target_ alone.
    unneeded = {"label_smoothing": 0}
    loss = function_of(cfg.loss, "loss", labels(Loss), "outputs", "labels", unneeded=unneeded)
    _refuse_unfit(loss, cfg)
    return loss


def _refuse_unfit(loss: Callable[..., Any], cfg: DictConfig) -> None:
    """Raise ConfigError if the loss does not return a scalar with a gradient for outputs on a CPU."""
    with torch.enable_grad():
        outputs = torch.linspace(-1, 1, 2 * cfg.dataset.classes, device="cpu").view(2, -1).requires_grad_()
        try:
            value = loss(outputs, torch.tensor([0, 1], device="cpu"))
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
        return
    raise ConfigError(
        f"loss._target_={cfg.loss._target_}: must return a scalar tensor computed from the outputs, the mean "
        f"over the images; not {found}"
    )
