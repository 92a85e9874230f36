"""SpikingJelly's zoo by config: sizes counted by hand, and the config's neurons, channels and classes."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from spikingjelly.activation_based import base, neuron
from torch import nn

import rbp
from rbp.config.composition.places import options
from rbp.errors import ConfigError
from rbp.models import build
from rbp.models.zoo import spikingjelly
from rbp.models.zoo.catalogue import MODELS
from tests.models.test_models import block, conv_bn, linear
from tests.support.configs import as_dict, made_once
from tests.support.zoo import LARGE, TINY, config, images

D = 384  # width of the transformers


def conv_bns(*widths: int, bias: bool = False) -> int:
    return sum(conv_bn(a, b, bias=bias) for a, b in itertools.pairwise(widths))


def mlp(d: int, bias: bool = False) -> int:
    return conv_bn(d, 4 * d, 1, bias) + conv_bn(4 * d, d, 1, bias)


def attention(d: int, bias: bool = False) -> int:
    """Queries, keys and values from one convolution, and a projection."""
    return conv_bn(d, 3 * d, 1) + conv_bn(d, d, 1, bias)


def resnet(stages: list[int], stem: int) -> int:
    """Two convolutions a block, and a shortcut of 1 x 1 where the width changes."""
    widths = [64, *(width for n, width in zip(stages, (64, 128, 256, 512), strict=True) for _ in range(n))]
    blocks = sum(block(a, b) for a, b in itertools.pairwise(widths))
    return conv_bn(3, 64, stem) + blocks + linear(512, 10)


def qkformer() -> int:
    first = conv_bns(3, 48, 96, 96, bias=True) + conv_bn(48, 96, 1, True)
    stages = [conv_bns(a, b, b, bias=True) + conv_bn(a, b, 1, True) for a, b in ((96, 192), (192, 384))]
    token = [conv_bn(d, d, 1) * 2 + conv_bn(d, d, 1) for d in (96, 192)]  # queries, keys, projection
    blocks = token[0] + mlp(96, True) + 2 * (token[1] + mlp(192, True)) + 7 * (attention(D) + mlp(D, True))
    return first + sum(stages) + blocks + linear(D, 10)


def maxformer() -> int:
    first = conv_bns(3, 48, 96) + conv_bn(48, 96, 1)
    stages = sum(conv_bns(a, b, b) + conv_bn(a, b, 1) for a, b in ((96, 192), (192, 384)))
    depthwise = 192 * 9 + 192 + 2 * 192
    blocks = mlp(96, True) + depthwise + mlp(192, True) + 2 * (attention(D, True) + mlp(D, True))
    return first + stages + blocks + linear(D, 10)


RESNET18, RESNET34 = [2, 2, 2, 2], [3, 4, 6, 3]
PARAMETERS = {
    "sj_sew_resnet18": resnet(RESNET18, stem=3),
    "sj_sew_resnet34": resnet(RESNET34, stem=3),
    "sj_spiking_resnet18": resnet(RESNET18, stem=3),
    "sj_spiking_vgg11_bn": conv_bns(3, 64, 128, 256, 256, 512, 512, 512, 512, bias=True)
    + linear(512, 4096)
    + linear(4096, 4096)
    + linear(4096, 10),
    # Its first stage halves the image as well, and so has a shortcut of 64 x 64.
    "sj_ms_resnet18": resnet(RESNET18, stem=3) + conv_bn(64, 64, 1),
    "sj_spikformer": conv_bns(3, 48, 96, 192, D, D) + 4 * (attention(D) + mlp(D)) + linear(D, 10),
    "sj_qkformer": qkformer(),
    "sj_sdt": conv_bns(3, 48, 96, 192, D, bias=True)
    + conv_bn(D, D)
    + 8 * (attention(D, True) + mlp(D, True))
    + linear(D, 10),
    "sj_maxformer": maxformer(),
}
# The same networks as torchvision has them, for ImageNet's thousand classes.
OF_TORCHVISION = {
    "sew_resnet18": 11_689_512,
    "sew_resnet34": 21_797_672,
    "sew_resnet50": 25_557_032,
    "spiking_resnet18": 11_689_512,
    "spiking_vgg11_bn": 132_868_840,
    "spiking_vgg16": 138_357_544,
}


def meta(name: str, *overrides: str) -> nn.Module:
    with torch.device("meta"):
        return build(made_once(f"arch={name}", *(overrides or ("dataset=cifar10",))))


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_counted_by_hand(name: str) -> None:
    assert count(meta(name)) == PARAMETERS[name]


@pytest.mark.parametrize("model", OF_TORCHVISION)
def test_for_imagenet_the_sizes_are_those_of_torchvision(model: str) -> None:
    with torch.device("meta"):
        net = spikingjelly(neuron.LIFNode, 3, 1000, model, size=224, T=4, images="imagenet")
    assert count(net) == OF_TORCHVISION[model]


def test_published_sizes_of_transformers() -> None:
    """In millions: QKFormer-10-384 and Spike-driven Transformer-8-384 for ImageNet, Max-Former for CIFAR."""
    for model, classes, millions in (
        ("qkformer_10_384", 1000, 16.47),
        ("sdt_8_384", 1000, 16.81),
        ("maxformer_10_384", 1000, 16.23),
        ("maxformer_cifar", 10, 6.57),
    ):
        with torch.device("meta"):
            net = spikingjelly(neuron.LIFNode, 3, classes, model, size=64, T=4)
        assert count(net) / 1e6 == pytest.approx(millions, abs=0.01)


def test_every_model_of_the_catalogue_is_built_by_the_generic_option() -> None:
    cfg = OmegaConf.create(as_dict(made_once("arch=spikingjelly", "dataset=cifar10")))
    for model in MODELS:
        cfg.arch.model = model
        with torch.device("meta"):
            net = build(cfg)
        assert type(net).__module__.startswith("spikingjelly.activation_based.model.")
        assert any(isinstance(m, neuron.LIFNode) for m in net.modules())


@pytest.mark.parametrize("name", TINY)
def test_all_neurons_are_the_configs(name: str) -> None:
    net = build(config(name, "dataset=cifar10", "neuron=plif", "neuron.v_threshold=0.7"))
    found = [m for m in net.modules() if isinstance(m, base.MemoryModule)]
    assert len({id(m) for m in found}) == len(found) > 4
    assert all(type(m) is neuron.ParametricLIFNode and m.v_threshold == 0.7 for m in found)


@pytest.mark.parametrize("name", [*TINY, *LARGE])
def test_channels_and_classes_are_those_of_the_data_set(name: str) -> None:
    cfg = config(name, "dataset=dvs128_gesture")
    y = rbp.forward(build(cfg), images(cfg), layout=cfg.arch.layout)
    assert y.shape == (2, 11)


def test_images_for_which_a_resnet_is_laid_out_change_its_stem_alone() -> None:
    small, large = meta("sj_sew_resnet18"), meta("sj_sew_resnet18", "dataset=cifar10", "arch.images=imagenet")
    assert count(large) - count(small) == 3 * 64 * (7 * 7 - 3 * 3)
    shapes: dict[str, torch.Size] = {}
    for label, net in (("small", small), ("imagenet", large)):
        net.layer1.register_forward_pre_hook(  # type: ignore[union-attr]
            lambda _, args, label=label: shapes.__setitem__(label, args[0].shape)
        )
        net(torch.empty(2, 3, 32, 32, device="meta"))
    assert shapes == {"small": (2, 64, 32, 32), "imagenet": (2, 64, 8, 8)}


def test_initial_weights_are_those_of_the_zoo_also_where_layers_are_replaced() -> None:
    """Convolutions: normal, variance 2 / fan-out. Linear layers of VGG: deviation 0.01."""
    net = build(config("sj_sew_resnet18", "dataset=cifar10_dvs"))
    first: Any = net.conv1
    assert first.in_channels == 2
    assert first.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)
    vgg: Any = build(config("sj_spiking_vgg11_bn", "dataset=cifar10_dvs"))
    first, head = vgg.features[0], vgg.classifier[0]
    assert first.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)
    assert head.weight.std().item() == pytest.approx(0.01, rel=0.02) and head.bias.abs().max() == 0


def test_the_page_of_architectures_has_every_option_its_size_and_its_smallest_image() -> None:
    page = Path(__file__).parents[2] / "docs" / "architectures.md"
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) M \| (\d+) \|", page.read_text("utf-8"), re.MULTILINE)
    assert {name for name, _, _ in rows} | {"spikingjelly"} == set(options("arch"))
    for name, millions, side in rows:
        cfg = OmegaConf.create(as_dict(made_once(f"arch={name}", "dataset=cifar10")))
        with torch.device("meta"):
            assert count(build(cfg)) / 1e6 == pytest.approx(float(millions), abs=0.006)
            if cfg.arch.min_size is not None:
                assert cfg.arch.min_size == int(side)
                continue
            cfg.arch.size = int(side)
            build(cfg)
            cfg.arch.size = int(side) - 1
            with pytest.raises(ConfigError, match=f"at least {side}"):
                build(cfg)
