"""Check that augmented images and frames are the same on this device as on the CPU.

A batch must depend only on the seed.
"""

from collections.abc import Iterator, Mapping

import torch
from omegaconf import DictConfig, OmegaConf

from rbp.check.finding import Finding, absent, ok, wrong
from rbp.data import Images, train_batches

CLOSE = 1e-6  # tolerance: normalisation divides, and devices round that differently
_EVERYTHING = {"crop": 4, "flip": True, "autoaugment": True, "cutout": 8, "roll": 3}
_OF_FRAMES = {"crop": 2, "flip": True, "autoaugment": False, "cutout": 0, "roll": 5}


def check_augmentation(device: torch.device) -> Finding:
    """Check images with every augmentation that a recipe can use."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (64, 3, 32, 32), generator=random, dtype=torch.uint8)
    return _compare(device, "augmented images", pixels, 255, _config(3, _EVERYTHING))


def check_frames(device: torch.device) -> Finding:
    """Check frames of events; all frames of a recording are augmented alike."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(40, (16, 4, 2, 24, 24), generator=random, dtype=torch.int16)
    return _compare(device, "frames of events", pixels, 64, _config(2, _OF_FRAMES))


def _config(channels: int, augment: Mapping[str, object]) -> DictConfig:
    return OmegaConf.create({"mean": [0.4] * channels, "std": [0.2] * channels, "augment": augment})


def _compare(device: torch.device, what: str, pixels: torch.Tensor, levels: int, cfg: DictConfig) -> Finding:
    """Compare batches of `pixels` made on the device with those made on the CPU."""
    if device.type == "cpu":
        return absent("the device is the CPU itself")
    pairs = list(
        zip(_batches("cpu", pixels, levels, cfg), _batches(device, pixels, levels, cfg), strict=True)
    )
    off = max(float((theirs.cpu() - ours).abs().max()) for ours, theirs in pairs)
    summary = f"{len(pairs)} batches of {what}, the most off by {off:.0e}"
    if off <= CLOSE:
        return ok(summary)
    return wrong(summary, "results of this device do not compare with another's")


def _batches(
    device: torch.device | str, pixels: torch.Tensor, levels: int, cfg: DictConfig
) -> Iterator[torch.Tensor]:
    images = Images(pixels, torch.zeros(len(pixels), dtype=torch.long), levels).to(torch.device(device))
    for x, _ in train_batches(images, cfg, batch_size=8, seed=0, epoch=1):
        yield x
