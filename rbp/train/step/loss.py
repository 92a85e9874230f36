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
    """Return the mean cross-entropy of outputs, of the time mean or of a step (`loss.over`).

    Evaluation (`val_loss`, `test_loss`) always has the plain cross-entropy, whatever a run trains on, so that
    runs with different losses can be compared.

    Args:
        outputs: Time mean of the output [B, K].
        labels: Labels [B].
        label_smoothing: Share of the target probability that is spread evenly over all K classes.
    """
    return F.cross_entropy(outputs, labels, label_smoothing=label_smoothing)


def tet(
    outputs: Tensor, labels: Tensor, w: float = 1e-3, phi: float = 1.0, label_smoothing: float = 0.0
) -> Tensor:
    """Return the loss of temporal efficient training (Deng et al., ICLR 2022) for one time step's output.

    It is (1-w) times the cross-entropy plus w times the mean squared distance of every output from phi, all
    classes alike. The config option `loss=tet` takes its mean over the steps.

    Args:
        outputs: Output of one step [B, K].
        labels: Labels [B].
        w: Weight of the distance.
        phi: What every output is drawn to.
        label_smoothing: As in `cross_entropy`.
    """
    regular = F.mse_loss(outputs, torch.full_like(outputs, phi))
    return (1 - w) * cross_entropy(outputs, labels, label_smoothing) + w * regular


def loss_over(cfg: DictConfig) -> str | None:
    """Return what the loss of a config is taken of, as `over` of `rbp.backward`; None: as the mode has it."""
    over: str | None = cfg.loss.get("over")
    return over


def build_loss(cfg: DictConfig, world: int = 1) -> LossFunction:
    """Build the loss of a config: a function of outputs [B, K] and labels [B] that returns a scalar.

    It is tried on a small batch.

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
    outputs, targets = _trial_batch(cfg.dataset.classes)
    with torch.enable_grad():
        _tried(loss, cfg, outputs, targets)
        if world > 1 or cfg.trainer.accumulate > 1:
            _refuse_other_than_mean(loss, cfg, outputs, targets)
    return loss


def _trial_batch(classes: int) -> tuple[Tensor, Tensor]:
    """Return outputs [B, K] and labels [B] of a batch with every class, some of them several times."""
    targets = torch.arange(2 * classes + 1, device="cpu").mul(7) % classes
    numbers = torch.arange(len(targets) * classes, device="cpu", dtype=torch.float32)
    return (1.7 * numbers).sin().view(len(targets), classes).requires_grad_(), targets


def _tried(loss: Callable[..., Any], cfg: DictConfig, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss. Raises ConfigError if it cannot be called or returns no scalar with a gradient."""
    before = (outputs.detach().clone(), targets.clone())
    try:
        value = loss(outputs, targets)
    except Exception as error:
        raise ConfigError(
            f"loss={cfg.loss.name}: {cfg.loss._target_} cannot be called with (outputs [B, K], "
            f"labels [B]): {type(error).__name__}: {error}"
        ) from error
    if not (torch.equal(outputs, before[0]) and torch.equal(targets, before[1])):
        raise ConfigError(
            f"loss._target_={cfg.loss._target_}: changes the outputs or the labels that it is given; it must "
            "work on a copy"
        )
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
    loss: Callable[..., Any], cfg: DictConfig, outputs: Tensor, targets: Tensor
) -> None:
    """Raise ConfigError if a batch's loss or gradient is not the mean of its parts', weighted by images."""
    parts = zip(outputs.tensor_split(3), targets.tensor_split(3), strict=True)
    shares = [_tried(loss, cfg, x, y) * (len(y) / len(targets)) for x, y in parts]
    whole, mean = _tried(loss, cfg, outputs, targets), torch.stack(shares).sum()
    of_whole, of_parts = (torch.autograd.grad(value, outputs)[0] for value in (whole, mean))
    same = torch.isclose(whole, mean, rtol=1e-4, atol=1e-6)
    if not same or not torch.allclose(of_whole, of_parts, rtol=1e-3, atol=1e-6):
        raise ConfigError(
            f"loss._target_={cfg.loss._target_}: must be the mean of the images' losses where a batch is "
            f"computed in parts (trainer.accumulate={cfg.trainer.accumulate}) or by several tasks; of a batch"
            f" it is {whole.item():.6g}, and the mean over its parts {mean.item():.6g}, or their gradients "
            "differ; use trainer.accumulate=1 and one task"
        )
