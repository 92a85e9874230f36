"""The schema of a configuration: which keys there are and their types. The values are in conf/*.yaml.

Hydra merges the YAML files and the command line into `Config`, so that an unknown key or a wrong type is
refused by name. Groups whose options have keys of their own (arch, neuron, optimizer) are open here: their
keys are those of the chosen file, and `rbp.validate` knows the types of the usual ones.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

PRECISIONS = ("fp32", "bf16")
KERNELS = ("auto", "plain", "compiled")
HEADLINES = ("last", "best")
TRACKERS = ("wandb", "tensorboard", "none")
TRACKER_MODES = ("offline", "online", "disabled")
PROGRESS = ("auto", "bar", "plain", "none")
SCHEDULES = ("cosine", "constant")
INITIAL_WEIGHTS = ("default", "published")
FRAMES = ("counts", "paper")
FRAMES_BY = ("number", "time")
ON_ERROR = ("raise", "skip")
SURROGATES = (
    "sigmoid",
    "atan",
    "piecewise_quadratic",
    "piecewise_exp",
    "soft_sign",
    "super_spike",
    "erf",
)


@dataclass
class Augment:
    """Random changes of the training images."""

    crop: int = MISSING  # pixels of padding before a random crop back to size; 0: off
    flip: bool = MISSING  # left to right, every other image
    autoaugment: bool = MISSING  # the CIFAR-10 policy; needs 3 channels
    cutout: int = MISSING  # side of the square that is blanked; 0: off
    roll: int = 0  # most pixels that an image is moved by, around its edges; 0: off


@dataclass
class Recipe:
    """What suits a data set; trainer and optimizer read it unless they say otherwise."""

    epochs: int = MISSING
    batch_size: int = MISSING
    lr: float = MISSING  # for sgd
    weight_decay: float = MISSING  # for sgd


@dataclass
class Dataset:
    """Where images come from and how they reach the network."""

    name: str = MISSING
    _target_: str = MISSING  # a function (root, download) -> (train, test)
    root: str = MISSING  # the folder with the files
    download: bool = MISSING  # fetch missing files
    stage: str | None = None  # a folder on the node's own disk, to copy root to and read from; null: none
    channels: int = MISSING
    size: int = MISSING  # side of the square images
    classes: int = MISSING
    mean: list[float] = MISSING  # one per channel, of pixel/255 or of event counts
    std: list[float] = MISSING
    augment: Augment = field(default_factory=Augment)
    val_split: float = MISSING  # share of the training images held out for validation
    recipe: Recipe = field(default_factory=Recipe)
    # Of event data sets only; null in others.
    T: int | None = None  # frames a recording, always the run's T
    frames: str | None = None  # one of FRAMES: event counts, or the published code's 8-bit images
    frames_by: str | None = None  # one of FRAMES_BY: frames of as many events, or of as long a time
    split_seed: int | None = None  # of the split into training and test recordings
    on_error: str | None = None  # one of ON_ERROR: a broken recording stops, or is left out and listed
    prepared: str | None = None  # folder of the prepared frames; null: root/prepared


@dataclass
class Trainer:
    """How long, where, how precisely, and what counts as the result."""

    name: str = MISSING
    epochs: int = MISSING
    batch_size: int = MISSING
    eval_batch_size: int = MISSING
    device: str = MISSING  # auto | cpu | cuda | cuda:N
    precision: str = MISSING  # one of PRECISIONS
    loss_over_T: bool = MISSING  # divide the loss by T in rate mode, as published
    headline: str = MISSING  # one of HEADLINES: the epoch whose accuracy counts
    initial_weights: str = MISSING  # one of INITIAL_WEIGHTS; an arch may read it
    limit_batches: int | None = MISSING  # training and test batches an epoch; null: all
    deterministic: bool = MISSING  # the same bits again on the same machine
    checkpoint_minutes: float | None = 10.0  # between checkpoints in mid-epoch; null: none
    threads: int | None = MISSING  # CPU threads; null: torch's choice
    chunk: int | None = MISSING  # of rate mode, step mode m: time steps in memory at once; null: all
    kernels: str = MISSING  # of rate mode; one of KERNELS
    log_every: int = MISSING  # batches between two lines of log
    progress: str = MISSING  # one of PROGRESS


@dataclass
class Tracker:
    """The dashboard beside the run folder; its key is never in a config."""

    name: str = MISSING  # one of TRACKERS
    mode: str = MISSING  # one of TRACKER_MODES
    project: str = MISSING
    entity: str | None = MISSING  # account or team; null: the account's own
    tags: list[str] = MISSING


@dataclass
class Sweep:
    """The grid that a run belongs to."""

    name: str | None = MISSING  # the folder below runs_dir; null: single
    about: str = MISSING  # what the grid is to show


@dataclass
class Config:
    """One run: a cell of the grid."""

    T: int = MISSING  # time steps
    step_mode: str = MISSING  # m | s
    grad_mode: str = MISSING  # bptt | rate
    seed: int = MISSING  # of initial weights, data order and augmentation
    runs_dir: str = MISSING  # run folders lie below it
    checkpoint: str | None = MISSING  # what eval_only evaluates; null: the run's own last
    eval_only: bool = MISSING  # evaluate instead of training
    dataset: Dataset = field(default_factory=Dataset)
    arch: dict[str, Any] = field(default_factory=dict)  # name, _target_, min_size, channels, own keys
    neuron: dict[str, Any] = field(default_factory=dict)  # name, _target_, own keys
    optimizer: dict[str, Any] = field(default_factory=dict)  # name, _target_, schedule, own keys
    trainer: Trainer = field(default_factory=Trainer)
    tracker: Tracker = field(default_factory=Tracker)
    sweep: Sweep = field(default_factory=Sweep)


def register() -> None:
    """Make the schema known to Hydra, as the first line of conf/config.yaml."""
    ConfigStore.instance().store(name="schema", node=Config, provider="rbp")
