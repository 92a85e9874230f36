"""The options of SpikingJelly's zoo in small sizes, and images for them."""

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from tests.support.configs import made_once

TINY = {
    "sj_ms_resnet18": ("+arch.layers=[1,1,1,1]", "+arch.base_channels=4"),
    "sj_spikformer": ("arch.embed_dims=16", "arch.num_heads=2", "arch.depths=1"),
    "sj_qkformer": ("arch.embed_dims=16", "arch.num_heads=[1,1,2]", "arch.depths=[1,1,1]"),
    "sj_sdt": ("arch.embed_dims=16", "arch.num_heads=2", "arch.depths=1"),
    "sj_maxformer": ("arch.embed_dims=16", "arch.depths=[1,1,1]"),
}
_WHOLE = ("sj_sew_resnet18", "sj_sew_resnet34", "sj_spiking_resnet18", "sj_spiking_vgg11_bn")
LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in _WHOLE]  # have no smaller sizes


def config(name: str, *overrides: str) -> DictConfig:
    """The frozen config of an option, in its small size."""
    return made_once(f"arch={name}", *TINY.get(name, ()), *overrides)


def images(cfg: DictConfig, T: int = 2) -> Tensor:
    """Two images for T steps, as small as the network takes them."""
    side = {"spiking_vgg11_bn": 32, "ms_resnet18": 16, "qkformer_10_384": 16}.get(cfg.arch.model, 8)
    shape = (2, cfg.dataset.channels, side, side)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).expand(T, *shape)
