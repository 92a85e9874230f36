"""Check rules between keys and groups, such as an architecture that needs larger images."""

from collections.abc import Iterator

from omegaconf import DictConfig

from rbp.config.text import short

# Keys that the rules read. The rules run only if each of these has an allowed value by itself.
READ_ACROSS = {
    "arch.channels",
    "arch.min_size",
    "arch.name",
    "dataset.augment.crop",
    "dataset.augment.cutout",
    "dataset.augment.resized_crop",
    "dataset.augment.roll",
    "dataset.frames",
    "dataset.short_side",
    "dataset.size",
    "dataset.channels",
    "dataset.val_split",
    "grad_mode.name",
    "grad_mode.segments",
    "grad_mode.coupled",
    "grad_mode.backprop_steps",
    "grad_mode.rescale",
    "loss.name",
    "loss.over",
    "neuron.v_threshold",
    "neuron.v_reset",
    "optimizer.warmup_epochs",
    "trainer.accumulate",
    "trainer.batch_size",
    "trainer.early_stop",
    "trainer.epochs",
}


ONLINE = ("sltt", "ottt")  # gradient modes that differentiate each step before the next one


def cross_key_problems(cfg: DictConfig) -> Iterator[str]:
    """Yield one message for each combination of values in a configuration that does not fit together."""
    yield from _network_and_images(cfg)
    yield from _layout(cfg)
    yield from _segments(cfg)
    yield from _online(cfg)
    yield from _images(cfg.dataset)
    if cfg.dataset.get("frames") is not None:
        yield from _frames(cfg)
    yield from _training(cfg)
    yield from _tracker(cfg.tracker)
    if cfg.checkpoint is not None and not cfg.eval_only:
        yield f"checkpoint={cfg.checkpoint}: is read with eval_only=true only; a run goes on by itself"


def _network_and_images(cfg: DictConfig) -> Iterator[str]:
    data, arch = cfg.dataset, cfg.arch
    if (smallest := arch.get("min_size")) and data.size < smallest:
        yield (
            f"arch={arch.name} with dataset={data.name}: the network halves the image too often for "
            f"{data.size} x {data.size}; it needs at least {smallest} x {smallest}"
        )
    if (wanted := arch.get("channels")) and data.channels != wanted:
        yield (
            f"arch={arch.name} with dataset={data.name}: the images have {data.channels} channels, "
            f"the network takes {wanted}"
        )


def _layout(cfg: DictConfig) -> Iterator[str]:
    if cfg.arch.get("layout") != "static":
        return
    if cfg.dataset.get("frames") is not None:
        yield (
            f"arch.layout=static with dataset={cfg.dataset.name}: the network repeats one image T times "
            "itself, the data are a frame per time step"
        )
    if cfg.grad_mode.name in ONLINE:
        yield (
            f"arch.layout=static with grad_mode={cfg.grad_mode.name}: the network runs all its time steps at "
            "once; use grad_mode=rate or bptt"
        )
    elif cfg.step_mode == "s":
        yield "arch.layout=static with step_mode=s: the network runs all its time steps at once"


_IN_A_SWEEP = "a sweep leaves such cells out by pairs or exclude"


def _segments(cfg: DictConfig) -> Iterator[str]:
    mode = cfg.grad_mode
    steps = cfg.T if mode.segments == "T" else mode.segments
    if mode.name != "rate":
        method = "BPTT" if mode.name == "bptt" else mode.name.upper()
        for key, value, usual in (("segments", steps, 1), ("coupled", mode.coupled, True)):
            if value != usual:
                yield (
                    f"grad_mode.{key}={short(value)} with grad_mode={mode.name}: {method} has no segments of "
                    f"time; {_IN_A_SWEEP}"
                )
        return
    if steps > cfg.T:
        yield f"grad_mode.segments={steps}: must be at most T={cfg.T}; {_IN_A_SWEEP}"
    if steps == 1 and not mode.coupled:
        yield (
            "grad_mode.coupled=false with grad_mode.segments=1: one segment has none to be coupled with; "
            f"{_IN_A_SWEEP}"
        )
    if steps > 1 and cfg.trainer.chunk is not None:
        yield (
            f"trainer.chunk={cfg.trainer.chunk} with grad_mode.segments={steps}: only one of them can be "
            "used; leave out trainer.chunk"
        )


def _online(cfg: DictConfig) -> Iterator[str]:
    mode = cfg.grad_mode
    K, rescale, over = mode.backprop_steps, mode.rescale, cfg.loss.get("over")
    if mode.name not in ONLINE:
        for key, value, usual in (("backprop_steps", K, None), ("rescale", rescale, False)):
            if value != usual:
                yield (
                    f"grad_mode.{key}={short(value)} with grad_mode={mode.name}: it is of the online modes, "
                    f"sltt and ottt; {_IN_A_SWEEP}"
                )
        return
    if cfg.step_mode != "s":
        yield (
            f"step_mode={cfg.step_mode} with grad_mode={mode.name}: it goes step by step; leave step_mode "
            f"out, or step_mode=s; {_IN_A_SWEEP}"
        )
    if over == "mean":
        yield (
            f"loss={cfg.loss.name} with grad_mode={mode.name}: it differentiates each step's loss, and this "
            "is one of the time mean (loss.over=mean); leave loss out, or loss=per_step or loss=tet; "
            f"{_IN_A_SWEEP}"
        )
    if K is not None and K > cfg.T:
        yield f"grad_mode.backprop_steps={K}: must be at most T={cfg.T}, or null for all; {_IN_A_SWEEP}"
    if rescale and K in (None, cfg.T):
        yield (
            f"grad_mode.rescale=true with grad_mode.backprop_steps={short(K)}: all steps are differentiated, "
            f"so that nothing is to be scaled; {_IN_A_SWEEP}"
        )


def _images(data: DictConfig) -> Iterator[str]:
    for key in ("mean", "std"):
        if len(data[key]) != data.channels:
            yield f"dataset.{key}={list(data[key])}: must have one number per channel, {data.channels}"
    if data.augment.autoaugment and data.channels != 3:
        yield (
            f"dataset.augment.autoaugment=true with dataset={data.name}: AutoAugment works on 3 colour "
            f"channels, the images have {data.channels}"
        )
    for key in ("crop", "cutout", "roll"):
        if data.augment.get(key, 0) > data.size:
            yield f"dataset.augment.{key}={data.augment[key]}: must be at most dataset.size={data.size}"
    yield from _image_files(data)


def _image_files(data: DictConfig) -> Iterator[str]:
    """Check the keys that only a data set of image files has, and those that it can't have."""
    if (short_side := data.get("short_side")) is None:
        if (share := data.augment.get("resized_crop")) is not None:
            yield (
                f"dataset.augment.resized_crop={share}: dataset={data.name} is not read from image files; "
                "must be null"
            )
        return
    if short_side < data.size:
        yield f"dataset.short_side={short_side}: must be at least dataset.size={data.size}"
    if data.channels != 3:
        yield f"dataset.channels={data.channels}: image files are read as RGB; must be 3"
    for key in ("crop", "autoaugment", "cutout", "roll"):
        if value := data.augment.get(key):
            yield (
                f"dataset.augment.{key}={short(value)}: images of dataset={data.name} are augmented by "
                "resized_crop and flip only; must be off"
            )


def _frames(cfg: DictConfig) -> Iterator[str]:
    """Check the keys that only an event data set needs."""
    data = cfg.dataset
    for key in ("frames_by", "on_error", "split_seed"):
        if data[key] is None:
            yield f"dataset.{key}=null: must be set where dataset.frames is"
    if data.T != cfg.T:
        yield f"dataset.T={short(data.T)}: must be the run's T={cfg.T}, as many frames as time steps"


def _training(cfg: DictConfig) -> Iterator[str]:
    neuron, optimizer, trainer = cfg.neuron, cfg.optimizer, cfg.trainer
    v_reset, v_threshold = neuron.get("v_reset"), neuron.get("v_threshold")
    if v_reset is not None and v_threshold is not None and v_reset >= v_threshold:
        yield f"neuron.v_reset={v_reset}: must be null or below neuron.v_threshold={v_threshold}"
    if optimizer.get("warmup_epochs", 0) >= trainer.epochs:
        warmup = optimizer.warmup_epochs
        yield f"optimizer.warmup_epochs={warmup}: must be below trainer.epochs={trainer.epochs}"
    if trainer.batch_size % trainer.accumulate:
        yield (
            f"trainer.accumulate={trainer.accumulate}: must divide trainer.batch_size={trainer.batch_size}, "
            "which it computes in parts of equal size"
        )
    if trainer.early_stop is not None and not cfg.dataset.val_split:
        yield (
            f"trainer.early_stop={trainer.early_stop}: needs validation images, as the test images must not "
            "decide when a run stops: set dataset.val_split, such as to 0.1, or trainer.early_stop=null"
        )


def _tracker(tracker: DictConfig) -> Iterator[str]:
    if tracker.name == "none" and tracker.mode != "disabled":
        yield f"tracker.mode={short(tracker.mode)}: must be disabled with tracker=none, which shows nothing"
    if tracker.name == "tensorboard" and tracker.mode == "online":
        yield "tracker.mode=online: must be offline or disabled with tracker=tensorboard, which writes files"
    if tracker.get("checkpoints") and tracker.name != "wandb":
        yield (
            f"tracker.checkpoints=true: only tracker=wandb takes checkpoints, not {tracker.name}; a "
            "run's own are in its folder"
        )
