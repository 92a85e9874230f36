"""Measure the alignment of a run's network with BPTT at the weights that it has."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from rbp.alignment import FEWEST
from rbp.data import train_batches
from rbp.errors import ConfigError
from rbp.gradients import alignment
from rbp.gradients.alignment.compare import Statistic
from rbp.gradients.objective import Loss
from rbp.rate.errors import InputError
from rbp.train.alignment.modes import modes, over
from rbp.train.device import autocast
from rbp.train.state import TrainState
from rbp.train.step.share import share_of

EPOCH = -1  # of the batches: an epoch that is never trained, so that they are the same at all epochs


def batch_size(cfg: DictConfig) -> int:
    """Return the number of images that the network sees at once in training."""
    size: int = cfg.trainer.batch_size // cfg.trainer.accumulate
    return size


def refuse_too_few(cfg: DictConfig, images: int, batches: int, asked: str) -> None:
    """Raise ConfigError if the training images do not make so many batches.

    Args:
        cfg: The config.
        images: Number of training images.
        batches: Number of batches.
        asked: What asked for them, such as "trainer.align_every=1".
    """
    size = batch_size(cfg)
    if (there := images // size) < batches:
        raise ConfigError(
            f"{asked}: gradients are compared on {batches} batches of {size} images (trainer.batch_size / "
            f"trainer.accumulate), and the {images} training images of dataset={cfg.dataset.name} make "
            f"{there}; choose smaller batches"
        )


def refuse_shared(cfg: DictConfig, tasks: int) -> None:
    """Raise ConfigError if several tasks train together and are to measure."""
    if cfg.trainer.align_every is not None and tasks > 1:
        raise ConfigError(
            f"trainer.align_every={cfg.trainer.align_every}: one task alone can compare gradients, and this "
            f"run has {tasks}; leave it out, and use `rbp align RUN` when the run is done"
        )


def measure_run(
    training: TrainState,
    epoch: int,
    segments: Sequence[int] | None = None,
    batches: int = FEWEST,
    between: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Compare the gradients of other modes with BPTT's on training batches; see rbp.gradients.alignment.

    The batches are those of an epoch that is never trained, augmented and mixed as in training; with the
    run's seed they are always the same. The network is put in training mode; nothing else is changed. Losses
    are not divided by T (`trainer.loss_over_T`), and gradients not clipped.

    Args:
        training: The run's state, on a single rank.
        epoch: Completed epochs.
        segments: Numbers of segments in rate mode; None as in rbp.train.alignment.modes.
        batches: Number of batches.
        between: Called between two passes; it can stop the measurement by raising.

    Returns:
        A line of alignment.jsonl (see rbp.runs.alignment).

    Raises:
        ConfigError: The network cannot be measured.
    """
    cfg = training.cfg
    training.net.train()
    try:
        with autocast(cfg, training.device):
            found = alignment.measure(
                training.net,
                _batches(training, batches),
                modes(cfg, segments),
                seed=cfg.seed,
                between=between,
                over=over(cfg),
                **training.how(),
            )
    except InputError as error:
        raise ConfigError(f"arch={cfg.arch.name}: {error}") from error
    return {
        "epoch": epoch,
        "T": cfg.T,
        "batches": found.batches,
        "batch_size": batch_size(cfg),
        "modes": {name: _by_layer(found.cosine[name], found.norm[name]) for name in found.cosine},
        "noise_floor": {layer: cosine._asdict() for layer, cosine in found.noise_floor.items()},
        "left_out": found.left_out,
        "not_measured": found.not_measured,
    }


def _batches(training: TrainState, n: int) -> Iterator[tuple[Tensor, Loss]]:
    """Yield the first n batches, as the network is shown them, with their losses."""
    cfg, images = training.cfg, training.splits.train
    mixup = {"alpha": cfg.trainer.mixup, "seed": cfg.seed, "epoch": EPOCH}
    found = train_batches(
        images, cfg.dataset, batch_size=batch_size(cfg), seed=cfg.seed, epoch=EPOCH, wanted=[None] * n
    )
    for batch, (x, y) in enumerate(found):
        x, target = share_of(len(y), training.ranks, batch=batch, **mixup).take(x, y)
        yield training.shown(x), partial(target.loss, training.loss)


def _by_layer(cosines: dict[str, Statistic], norms: dict[str, Statistic]) -> dict[str, Any]:
    return {
        layer: {"cosine": cosine._asdict(), "norm": norms[layer]._asdict()}
        for layer, cosine in cosines.items()
    }
