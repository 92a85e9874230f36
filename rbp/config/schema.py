"""Declare every key of a run's configuration: its type, meaning, allowed values, and effect on the result.

Hydra merges conf/*.yaml and the command line into `Config`, and refuses an unknown key or a wrong type by
name. The groups arch, neuron, loss and optimizer are open: each option may have keys of its own, and only the
common ones are declared here.
"""

import functools
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

from rbp.config import allowed
from rbp.config.allowed import above, at_least, between, one_of, or_null
from rbp.config.key import Key, group, key
from rbp.config.key import keys as keys_of

PRECISIONS = ("fp32", "bf16")
GRAD_MODES = ("bptt", "rate", "sltt", "ottt")
KERNELS = ("auto", "plain", "compiled")
INITIAL_WEIGHTS = ("default", "published")
SURROGATES = (
    "sigmoid",
    "atan",
    "piecewise_quadratic",
    "piecewise_exp",
    "soft_sign",
    "super_spike",
    "erf",
)
# Keys whose values are paths, in which ~ is the home folder.
PATHS = ("runs_dir", "checkpoint", "dataset.root", "dataset.stage", "dataset.prepared")
_STATIC = "only where images are static"


@dataclass
class Augment:
    """Random augmentation of the training images."""

    crop: int = key("pixels of padding before a random crop back to size; 0: off", at_least(0))
    flip: bool = key("left to right, every other image")
    autoaugment: bool = key("the CIFAR-10 policy; needs 3 channels")
    cutout: int = key("side of the square that is blanked; 0: off", at_least(0))
    roll: int = key("most pixels that an image is moved by, around its edges; 0: off", at_least(0), default=0)
    resized_crop: float | None = key(
        "of image files: a random part of the image, of at least this share of its area, resized to size",
        or_null(allowed.SHARE_OF_AREA, "the centre"),
        default=None,
        since="0.3",
    )


@dataclass
class Recipe:
    """Training settings that suit a data set; trainer and optimizer take them as defaults."""

    epochs: int = key("for trainer.epochs")
    batch_size: int = key("for trainer.batch_size")
    lr: float = key("for the learning rate of sgd")
    weight_decay: float = key("for the weight decay of sgd")


@dataclass
class Dataset:
    """A data set: where its images come from and how they are fed to the network."""

    name: str = key("of the data set", allowed.NAME)
    _target_: str = key("a function (root, download) -> (train, test)", allowed.FUNCTION)
    root: str = key("the folder with the files", affects_result=False)
    download: bool = key("fetch missing files", affects_result=False)
    stage: str | None = key(
        "a folder on the node's own disk to copy root to and read from, such as $SLURM_TMPDIR/rbp",
        or_null(allowed.FOLDER, "none"),
        default=None,
        affects_result=False,
    )
    channels: int = key("of an image", at_least(1))
    size: int = key("side of the square images", at_least(1))
    short_side: int | None = key(
        "of image files: the shorter side before the centre crop of evaluation",
        or_null(at_least(1), "images are in memory"),
        default=None,
        since="0.3",
    )
    classes: int = key("number of labels", at_least(2))
    mean: list[float] = key("per channel, of pixel/255 or of event counts", allowed.MEANS)
    std: list[float] = key("standard deviation per channel", allowed.DEVIATIONS)
    augment: Augment = group(Augment, "random changes of the training images")
    val_split: float = key("share of the training images held out for validation", allowed.SHARE)
    recipe: Recipe = group(
        Recipe, "what suits the data set; trainer and optimizer read it", affects_result=False
    )
    T: int | None = key("of event data: frames per recording, always the run's T", default=None)
    frames: str | None = key(
        "of event data: event counts, or the published code's 8-bit images",
        or_null(one_of("counts", "paper"), _STATIC),
        default=None,
    )
    frames_by: str | None = key(
        "of event data: as many events per frame, or as long a time",
        or_null(one_of("number", "time"), _STATIC),
        default=None,
    )
    split_seed: int | None = key(
        "of event data: draws the split into training and test recordings", or_null(at_least(0)), default=None
    )
    on_error: str | None = key(
        "of event data and image files: a broken one stops, or is left out and listed",
        or_null(one_of("raise", "skip"), "images are in memory"),
        default=None,
    )
    prepared: str | None = key(
        "folder of the prepared frames of event data, or the index of image files; null: root/prepared",
        default=None,
        affects_result=False,
    )
    workers: int | None = key(
        "of image files: processes of a run (of each of its tasks) that decode them; 0: none of their own",
        or_null(at_least(0), "one per core"),
        default=None,
        affects_result=False,
        since="0.3",
    )


@dataclass
class Arch:
    """The network architecture. Any further key of an option is an argument of its function."""

    name: str = key("of the architecture", allowed.NAME, label=True, required=True)
    _target_: str = key(
        "a function (neuron, in_channels, classes, ...) -> network",
        allowed.FUNCTION,
        label=True,
        required=True,
    )
    min_size: int | None = key(
        "smallest side of an image that fits", or_null(at_least(1), "any"), label=True, affects_result=False
    )
    channels: int | None = key(
        "image channels it needs", or_null(at_least(1), "any"), label=True, affects_result=False
    )
    layout: str | None = key(
        "how the network handles the time axis; static: it takes an image, and repeats it itself",
        or_null(one_of("step", "TB", "BT", "static"), "found out"),
        default=None,
        label=True,
        since="0.2",
    )
    init: str = key("initial weights: torch's, or normal with deviation 0.5", one_of(*INITIAL_WEIGHTS))
    size: int = key("side of the images, where the network must know it", at_least(1))
    norm: str = key(
        "batch: batch norm; weight: scaled weight standardisation, as of OTTT's authors",
        one_of("batch", "weight"),
        since="0.3",
        before="batch",
        of_some=True,
    )


@dataclass
class Neuron:
    """The spiking neuron and its surrogate gradient."""

    name: str = key("of the neuron", allowed.NAME, label=True, required=True)
    _target_: str = key("a function (...) -> layer of neurons", allowed.FUNCTION, label=True, required=True)
    tau: float = key("membrane time constant; the paper's leak 0.2 is 1 - 1/tau", above(1))
    init_tau: float = key("where a learnt membrane time constant starts", above(1))
    decay_input: bool = key("true: the input is divided by tau", allowed.YES_NO)
    v_threshold: float = key("membrane potential at which a neuron spikes", above(0))
    v_reset: float | None = key(
        "membrane potential after a spike",
        or_null(allowed.NUMBER, "soft reset, by subtracting the threshold"),
    )
    detach_reset: bool = key("true: no gradient through the reset", allowed.YES_NO)
    surrogate: str = key("the derivative that stands in for the spike's", one_of(*SURROGATES))
    alpha: float = key("sharpness of the surrogate: the larger, the narrower", above(0))


@dataclass
class GradMode:
    """The gradient mode: how gradients are computed."""

    name: str = key(
        "bptt: through time; rate: Rate-based backpropagation; sltt, ottt: online, step by step",
        one_of(*GRAD_MODES),
    )
    segments: int | str = key(
        "of rate: parts of the time with a rate each, nearer to BPTT the more there are",
        allowed.SEGMENTS,
        default=1,
        since="0.2",
        before=1,
    )
    coupled: bool = key(
        "of rate: segments act on later ones through the membrane",
        allowed.YES_NO,
        default=True,
        since="0.2",
        before=True,
    )
    backprop_steps: int | None = key(
        "of sltt and ottt: K of the T steps, drawn per batch, that are differentiated (SLTT-K)",
        or_null(at_least(1), "all"),
        default=None,
        since="0.3",
    )
    rescale: bool = key(
        "of sltt and ottt with backprop_steps: the loss is multiplied by T/K",
        allowed.YES_NO,
        default=False,
        since="0.3",
        before=False,
    )


@dataclass
class Loss:
    """The loss that training minimises. Any further key of an option is an argument of its function."""

    name: str = key("of the loss", allowed.NAME, label=True, required=True, before="time_mean")
    _target_: str = key(
        "a function (outputs [B, K], labels [B], ...) -> scalar, the mean over the images",
        allowed.FUNCTION,
        label=True,
        required=True,
        before="rbp.train.step.loss.cross_entropy",
    )
    over: str = key(
        "mean: of the time mean of the outputs; steps: of each step's, averaged; unset: as grad_mode has it",
        one_of("mean", "steps"),
        label=True,
        since="0.3",
        before="mean",
    )
    w: float = key("of tet: weight of the outputs' distance from phi", allowed.SHARE, of_some=True)
    phi: float = key("of tet: what every output is drawn to", allowed.NUMBER, of_some=True)
    label_smoothing: float = key(
        "share of the target spread evenly over all classes; not in evaluation", allowed.SHARE, before=0.0
    )


@dataclass
class Optimizer:
    """The torch optimizer and the learning-rate schedule. Any further key is an argument of the optimizer."""

    name: str = key("of the optimizer", allowed.NAME, label=True, required=True)
    _target_: str = key("a class of torch.optim", allowed.FUNCTION, label=True, required=True)
    lr: float = key("learning rate", above(0))
    momentum: float = key("of sgd", allowed.SHARE)
    betas: list[float] = key("of adam and adamw", allowed.BETAS)
    weight_decay: float = key("not on norms nor biases", allowed.NOT_NEGATIVE)
    schedule: str = key("cosine (to 0 at the end) or constant", one_of("cosine", "constant"), label=True)
    warmup_epochs: int = key("epochs over which the learning rate rises linearly", at_least(0), label=True)


@dataclass
class Trainer:
    """The training protocol: duration, device, precision, checkpoints, and which epoch's accuracy counts."""

    name: str = key("of the protocol", affects_result=False)
    epochs: int = key("passes over the training images", at_least(1))
    batch_size: int = key("images per training step, over all ranks", at_least(1))
    accumulate: int = key(
        "parts of a batch, one after another in memory; batch norm and dropout see a part, not the batch",
        at_least(1),
        since="0.3",
        before=1,
    )
    clip_grad: float | None = key(
        "largest norm of all gradients together, to which larger ones are scaled",
        or_null(above(0), "any"),
        since="0.3",
    )
    mixup: float = key(
        "alpha of mixup's Beta distribution; 0: off; train_acc counts the label of larger weight",
        allowed.NOT_NEGATIVE,
        since="0.3",
        before=0.0,
    )
    early_stop: int | None = key(
        "epochs without better val_acc after which a run ends; the schedule stays that of trainer.epochs",
        or_null(at_least(1), "never"),
        since="0.3",
    )
    eval_batch_size: int = key("images at once in evaluation", at_least(1))
    device: str = key("auto: the first GPU if there is one", allowed.DEVICE, affects_result=False)
    precision: str = key("bf16: mixed", one_of(*PRECISIONS))
    loss_over_T: bool = key("true: the loss is divided by T in rate mode, as the published code does")
    headline: str = key("the epoch whose accuracy counts", one_of("last", "best"))
    initial_weights: str = key(
        "where an architecture reads it (arch.init)", one_of(*INITIAL_WEIGHTS), affects_result=False
    )
    limit_batches: int | None = key("training and test batches per epoch; null: all", or_null(at_least(1)))
    deterministic: bool = key("the same bits again on the same machine")
    checkpoint_minutes: float | None = key(
        "between checkpoints in mid-epoch, besides those after every epoch",
        or_null(above(0), "never"),
        default=10.0,
        affects_result=False,
    )
    keep: str | None = key(
        "checkpoints that stay when a run is done; null: that of trainer.headline",
        or_null(one_of("last", "best", "all")),
        default=None,
        affects_result=False,
        since="0.2",
    )
    threads: int | None = key(
        "CPU threads; null: torch's choice", or_null(between(1, allowed.MOST_THREADS)), affects_result=False
    )
    chunk: int | None = key(
        "rate mode, step mode m: time steps in memory at once; null: all",
        or_null(between(1, 10**6)),
        affects_result=False,
    )
    kernels: str = key("of rate mode; auto: compiled on a GPU", one_of(*KERNELS), affects_result=False)
    log_every: int = key(
        "batches between two lines of log, and between two steps' loss and gradient norm in metrics.jsonl",
        at_least(1),
        affects_result=False,
    )
    align_every: int | None = key(
        "epochs between two measurements of how far rate's gradient is from BPTT's (docs/alignment.md)",
        or_null(at_least(1), "never"),
        default=None,
        affects_result=False,
        since="0.3",
    )
    progress: str = key(
        "what the terminal shows of a run", one_of("auto", "bar", "plain", "none"), affects_result=False
    )


@dataclass
class Tracker:
    """The dashboard that shows runs in addition to their folders. Credentials are never part of a config."""

    name: str = key("of the dashboard", one_of("wandb", "tensorboard", "none"))
    mode: str = key("offline: nothing leaves this machine", one_of("offline", "online", "disabled"))
    project: str = key("of the dashboard", allowed.SHORT_NAME)
    entity: str | None = key("account or team; null: the account's own")
    tags: list[str] = key("beside data set, arch, T and modes", allowed.TAGS)
    checkpoints: bool = key(
        "of wandb: a finished run's best checkpoint becomes an artifact",
        allowed.YES_NO,
        default=False,
        since="0.3",
        before=False,
    )


@dataclass
class Sweep:
    """The grid that a run belongs to; set by sweeps=NAME."""

    name: str | None = key("the folder below runs_dir; null: single", or_null(allowed.FOLDER_NAME))
    about: str = key("what the grid is to show")
    published: float | None = key(
        "accuracy in per cent that a paper reports for this cell; the report shows it beside",
        or_null(allowed.PER_CENT),
        default=None,
        affects_result=False,
        since="0.3",
    )


@dataclass
class Config:
    """The configuration of one run, which is one cell of a grid."""

    T: int = key("time steps", at_least(1))
    step_mode: str = key("m: all time steps layer by layer; s: step by step", one_of("m", "s"))
    grad_mode: GradMode = group(GradMode, "how gradients are made")
    seed: int = key("of initial weights, data order and augmentation", at_least(0))
    runs_dir: str = key("run folders lie below it", allowed.FOLDER, affects_result=False)
    checkpoint: str | None = key(
        "what eval_only evaluates; null: the run's own last",
        or_null(allowed.CHECKPOINT),
        affects_result=False,
    )
    eval_only: bool = key("evaluate instead of training", affects_result=False)
    dataset: Dataset = group(Dataset, "images, and the recipe that suits them")
    arch: dict[str, Any] = group(Arch, "the network", open=True)
    neuron: dict[str, Any] = group(Neuron, "the spiking neuron and its surrogate gradient", open=True)
    loss: dict[str, Any] = group(Loss, "what training minimises", open=True, since="0.3")
    optimizer: dict[str, Any] = group(Optimizer, "with its learning rate and schedule", open=True)
    trainer: Trainer = group(Trainer, "how long, where, how precisely, and what counts as the result")
    tracker: Tracker = group(Tracker, "a dashboard beside the run folder", affects_result=False)
    sweep: Sweep = group(Sweep, "the grid that a run belongs to", affects_result=False)


@functools.cache
def keys() -> dict[str, Key]:
    """Return every key of a run's configuration by its dotted name."""
    return keys_of(Config)


@functools.cache
def labels(kind: type) -> tuple[str, ...]:
    """Return the keys that describe an option and are not passed to its function.

    Args:
        kind: The dataclass of a group with a `_target_`: Arch, Neuron, Loss or Optimizer.
    """
    return tuple(name for name, declared in keys_of(kind).items() if declared.label)


def register() -> None:
    """Register the schema with Hydra as `schema`, the first entry of the defaults in conf/config.yaml."""
    ConfigStore.instance().store(name="schema", node=Config, provider="rbp")
