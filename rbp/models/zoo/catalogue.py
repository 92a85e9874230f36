"""The models of SpikingJelly's zoo by name: how each is built, its settings, and the smallest image."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from spikingjelly.activation_based.model import (
    maxformer,
    ms_resnet,
    qkformer,
    sew_resnet,
    spike_driven_transformer,
    spikformer,
    spiking_resnet,
    spiking_vgg,
)
from torch import nn

from rbp.models.zoo import sequences, wrapped

Settings = dict[str, Any]


class Model(NamedTuple):
    """A model of the zoo.

    Attributes:
        build: Makes the network, from the arguments of `rbp.models.zoo.network` and the settings.
        settings: Its settings with their values; no others can be set.
        smallest: Returns the side of the smallest image for values of the settings, for which the last maps
            are of 1 x 1.
    """

    build: Callable[..., nn.Module]
    settings: Settings
    smallest: Callable[[Settings], int]


def _always(side: int) -> Callable[[Settings], int]:
    return lambda settings: side


def _of_images(small: int, imagenet: int) -> Callable[[Settings], int]:
    return lambda settings: small if settings["images"] == "small" else imagenet


def _resnets() -> dict[str, Model]:
    found = {}
    smallest = _of_images(small=8, imagenet=32)
    for depth in (18, 34, 50, 101, 152):
        sew = functools.partial(wrapped.resnet, getattr(sew_resnet, f"sew_resnet{depth}"))
        found[f"sew_resnet{depth}"] = Model(sew, {"images": "small", "cnf": "ADD"}, smallest)
    for depth in (18, 34, 50, 101, 152):
        plain = functools.partial(wrapped.resnet, getattr(spiking_resnet, f"spiking_resnet{depth}"))
        found[f"spiking_resnet{depth}"] = Model(plain, {"images": "small"}, smallest)
    return found


def _vggs() -> dict[str, Model]:
    names = [f"spiking_vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]
    build = {name: functools.partial(wrapped.vgg, getattr(spiking_vgg, name)) for name in names}
    return {name: Model(build[name], {"images": "small"}, _always(32)) for name in names}


def _ms_resnets() -> dict[str, Model]:
    build = functools.partial(sequences.ms_resnet, ms_resnet.MSResNet)
    widths: Settings = {"images": "small", "base_channels": 64}
    smallest = _of_images(small=16, imagenet=32)
    return {
        "ms_resnet18": Model(build, widths | {"layers": (2, 2, 2, 2)}, smallest),
        "ms_resnet34": Model(build, widths | {"layers": (3, 4, 6, 3)}, smallest),
        "max_resnet18": Model(
            functools.partial(sequences.sequence, ms_resnet.max_resnet18), {}, smallest=_always(4)
        ),
    }


def _spikformer(embed_dims: int, num_heads: int, depths: int, patch_size: int) -> Model:
    settings: Settings = {"embed_dims": embed_dims, "num_heads": num_heads, "depths": depths}
    settings |= {"patch_size": patch_size, "mlp_ratio": 4.0}
    build = functools.partial(sequences.spikformer, spikformer.Spikformer)
    return Model(build, settings, lambda values: values["patch_size"])


def _transformers() -> dict[str, Model]:
    qk = functools.partial(sequences.sequence, qkformer.QKFormer)
    sdt = functools.partial(sequences.sequence, spike_driven_transformer.SpikeDrivenTransformer)
    small = functools.partial(sequences.sequence, maxformer.MaxFormer, cifar=True)
    large = functools.partial(sequences.sequence, maxformer.MaxFormer)
    widths: Settings = {"embed_dims": 384, "mlp_ratio": 4.0}
    stages: Settings = {"num_heads": (6, 6, 6), "depths": (1, 2, 7), "qka_type": "token"}
    blocks: Settings = {"num_heads": 8, "depths": 8, "pooling_stat": "1111"}
    return {
        "spikformer_ti": _spikformer(256, 8, 4, patch_size=16),
        "spikformer_s": _spikformer(384, 12, 6, patch_size=16),
        "spikformer_cifar10": _spikformer(384, 12, 4, patch_size=4),
        "qkformer_10_384": Model(qk, widths | stages, _always(16)),
        "sdt_8_384": Model(sdt, widths | blocks, _pools),
        "maxformer_10_384": Model(large, widths | {"depths": (1, 2, 7)}, _always(16)),
        "maxformer_cifar": Model(small, widths | {"depths": (1, 1, 2)}, _always(4)),
    }


def _pools(settings: Settings) -> int:
    return 2 ** int(settings["pooling_stat"].count("1"))


MODELS = _resnets() | _vggs() | _ms_resnets() | _transformers()
