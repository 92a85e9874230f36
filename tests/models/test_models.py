"""The networks are the paper's, counted by hand; initial weights depend on seed and network alone."""

import copy
import itertools
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from spikingjelly.activation_based import neuron
from torch import nn

import rbp
from rbp.config.schema import SURROGATES
from rbp.errors import ConfigError
from rbp.models import build
from tests.support.configs import make


def conv_bn(c_in: int, c_out: int, kernel: int = 3, bias: bool = False) -> int:
    """Parameters of a convolution with the batch normalisation behind it."""
    return c_in * c_out * kernel**2 + (c_out if bias else 0) + 2 * c_out


def linear(d_in: int, d_out: int) -> int:
    return d_in * d_out + d_out


def block(c_in: int, c_out: int, bias: bool = False) -> int:
    shortcut = conv_bn(c_in, c_out, 1, bias) if c_in != c_out else 0
    return conv_bn(c_in, c_out, bias=bias) + conv_bn(c_out, c_out, bias=bias) + shortcut


def vgg(widths: list[int]) -> int:
    return sum(conv_bn(a, b, bias=True) for a, b in zip([3, *widths], widths, strict=False))


def resnet34() -> int:
    widths = [64, *[64] * 3, *[128] * 4, *[256] * 6, *[512] * 3]
    blocks = sum(block(a, b, bias=True) for a, b in itertools.pairwise(widths))
    return conv_bn(3, 64, 7, bias=True) + blocks + linear(512, 10)


PARAMETERS = {
    "digits_cnn": conv_bn(3, 32) + conv_bn(32, 64) + conv_bn(64, 128) + linear(128, 10),
    "resnet18": conv_bn(3, 64)
    + block(64, 64) * 2
    + block(64, 128)
    + block(128, 128)
    + block(128, 256)
    + block(256, 256)
    + block(256, 512)
    + block(512, 512)
    + linear(512, 10),
    "resnet19": conv_bn(3, 128)
    + block(128, 128) * 3
    + block(128, 256)
    + block(256, 256) * 2
    + block(256, 512)
    + block(512, 512)
    + linear(512, 256)
    + linear(256, 10),
    "vgg11": vgg([64, 128, 256, 512, 512, 512, 512, 512]) + linear(512, 10),
    "vgg13": vgg([64, 64, 128, 128, 256, 256, 512, 512, 512, 512]) + linear(512, 10),
    "vggsnn_cifar": vgg([64, 128, 256, 256, 512, 512, 512, 512]) + linear(512 * 9, 10),
    "dvs_cnn": conv_bn(3, 16) + conv_bn(16, 32) + conv_bn(32, 64) + linear(64, 10),
    "sew_resnet34": resnet34(),
    "preact_resnet34": resnet34(),
}
# Convolutions and linear layers, and the neurons behind them: as many as the networks' names count.
NEURONS = {
    "digits_cnn": 3,
    "resnet18": 17,
    "resnet19": 18,
    "vgg11": 8,
    "vgg13": 10,
    "vggsnn_cifar": 8,
    "dvs_cnn": 3,
    "sew_resnet34": 1 + 2 * 16 + 3,  # three of the shortcuts have neurons
    "preact_resnet34": 2 * 16,
}
# Side of the image where the last neurons before the pool see it, for 32 x 32 images.
LAST_SIDE = {
    "digits_cnn": 16,
    "resnet18": 4,
    "resnet19": 8,
    "vgg11": 2,
    "vgg13": 2,
    "vggsnn_cifar": 4,
    "dvs_cnn": 8,
    "sew_resnet34": 1,
    "preact_resnet34": 1,
}


def network(*overrides: str) -> nn.Module:
    return build(make("dataset=cifar10", *overrides))


@pytest.mark.parametrize("arch", PARAMETERS)
def test_parameters_and_layers_are_those_of_the_paper(arch: str) -> None:
    net = network(f"arch={arch}")
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS[arch]
    assert sum(isinstance(m, neuron.LIFNode) for m in net.modules()) == NEURONS[arch]


def test_the_resnet18_is_the_well_known_one_of_11_million() -> None:
    assert PARAMETERS["resnet18"] == 11_173_962


def test_for_imagenet_the_resnet34s_are_torchvisions_but_for_the_biases_of_36_convolutions() -> None:
    with torch.device("meta"):
        net = network("arch=sew_resnet34", "dataset.classes=1000")
    biases = [m.bias.numel() for m in net.modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    assert len(biases) == 36
    assert sum(p.numel() for p in net.parameters()) - sum(biases) == 21_797_672


@pytest.mark.parametrize("arch", PARAMETERS)
def test_the_image_is_halved_where_the_paper_halves_it(arch: str) -> None:
    net = network(f"arch={arch}")
    sides: list[int] = []
    for module in net.modules():
        if isinstance(module, nn.AdaptiveAvgPool2d):
            module.register_forward_pre_hook(lambda module, args: sides.append(args[0].shape[-1]))
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert sides == [LAST_SIDE[arch]]


@pytest.mark.parametrize("arch", PARAMETERS)
def test_smallest_image_of_the_yaml_is_the_smallest_that_fits(arch: str) -> None:
    cfg = make("dataset=cifar10", f"arch={arch}")
    net = build(cfg)
    side = cfg.arch.min_size
    assert net(torch.rand(2, 3, side, side)).shape == (2, 10)


def test_vggsnn_dvs_sees_3_x_3_maps_of_the_papers_frames_and_fits_every_size_from_16_on() -> None:
    widths = [64, 128, 256, 256, 512, 512, 512, 512]
    own = sum(conv_bn(a, b, bias=True) for a, b in zip([2, *widths], widths, strict=False))
    net = build(make("dataset=cifar10_dvs", "arch=vggsnn_dvs"))
    assert sum(p.numel() for p in net.parameters()) == own + linear(512 * 9, 10)
    assert [type(m) for m in net.children()][-3:] == [nn.AvgPool2d, nn.Flatten, nn.Linear]  # no adaptive pool
    for size in (16, 31, 48, 50):
        net = build(make("dataset=cifar10_dvs", "arch=vggsnn_dvs", f"dataset.size={size}"))
        assert net(torch.rand(2, 2, size, size)).shape == (2, 10)


def test_classes_and_channels_are_those_of_the_data_set() -> None:
    net = build(make("dataset=cifar100", "arch=vgg11"))
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 100)
    assert build(make("dataset=digits", "arch=resnet18"))(torch.rand(2, 1, 8, 8)).shape == (2, 10)


# --- initial weights ----------------------------------------------------------------------------------------


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("other", ["T=1", "step_mode=s", "grad_mode=bptt", "trainer.precision=bf16"])
def test_initial_weights_are_the_same_in_every_cell_of_a_seed(other: str) -> None:
    assert same(network("arch=digits_cnn"), network("arch=digits_cnn", other))
    assert not same(network("arch=digits_cnn"), network("arch=digits_cnn", other, "seed=1"))


def test_building_a_network_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    network("arch=vgg11")
    assert torch.equal(torch.get_rng_state(), before)


def test_published_weights_of_the_vggs_are_normal_with_deviation_one_half() -> None:
    published, usual = network("arch=vgg11", "trainer=paper"), network("arch=vgg11")
    convs = [[m for m in net.modules() if isinstance(m, nn.Conv2d)] for net in (published, usual)]
    for ours, default in zip(*convs, strict=True):
        assert 0.48 < ours.weight.std().item() < 0.52 and abs(ours.weight.mean().item()) < 0.05
        assert ours.bias.abs().max() == 0
        bound = (ours.in_channels * 9) ** -0.5  # PyTorch's default: uniform within 1/sqrt(fan in)
        assert bound * 0.9 < default.weight.abs().max().item() <= bound * 1.000001
    *_, last = published.children()
    assert isinstance(last, nn.Linear) and 0.48 < last.weight.std().item() < 0.52


def test_weights_of_the_resnet34s_are_kaimings_by_fan_out() -> None:
    convolutions = [m for m in network("arch=preact_resnet34").modules() if isinstance(m, nn.Conv2d)]
    for conv in convolutions:
        fan_out = conv.out_channels * conv.kernel_size[0] ** 2
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)


# --- neurons ------------------------------------------------------------------------------------------------


def neurons(*overrides: str) -> list[nn.Module]:
    return [m for m in network(*overrides).modules() if isinstance(m, neuron.BaseNode)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("lif", neuron.LIFNode),
        ("lif_hard", neuron.LIFNode),
        ("if", neuron.IFNode),
        ("plif", neuron.ParametricLIFNode),
    ],
)
def test_the_keys_of_a_neuron_reach_spikingjelly(name: str, kind: type) -> None:
    (first, *_) = made = neurons(f"neuron={name}", "neuron.v_threshold=0.7", "neuron.detach_reset=false")
    assert type(first) is kind and len({id(m) for m in made}) == len(made) == 3
    assert first.v_threshold == 0.7 and first.detach_reset is False
    assert first.v_reset == (0.0 if name == "lif_hard" else None)
    if name == "plif":
        assert torch.sigmoid(first.w).item() == pytest.approx(1 / 1.25)


# The surrogates' derivatives at the threshold for width alpha, from SpikingJelly's published formulas.
AT_THRESHOLD = {
    "sigmoid": lambda a: a / 4,
    "atan": lambda a: a / 2,
    "piecewise_quadratic": lambda a: a,
    "piecewise_exp": lambda a: a / 2,
    "soft_sign": lambda a: 1 / (2 * (1 / a)),
    "super_spike": lambda a: a,
    "erf": lambda a: a / torch.pi**0.5,
}


@pytest.mark.parametrize("name", SURROGATES)
def test_the_surrogate_has_the_width_asked_for(name: str) -> None:
    first: Any
    (first, *_) = neurons(f"neuron.surrogate={name}", "neuron.alpha=3")
    x = torch.zeros(1, requires_grad=True)
    first.surrogate_function(x).sum().backward()
    assert x.grad is not None and x.grad.item() == pytest.approx(AT_THRESHOLD[name](3.0), rel=1e-4)


def test_a_target_that_cannot_be_built_is_refused_by_its_group() -> None:
    with pytest.raises(ConfigError, match=r"arch._target_=rbp.models.nowhere: cannot be imported"):
        network("arch._target_=rbp.models.nowhere")
    with pytest.raises(
        ConfigError, match=r"arch=resnet18: rbp.models.resnet.resnet18 takes other keys.*depth"
    ):
        network("arch=resnet18", "+arch.depth=3")


def test_a_network_of_another_shape_can_be_added_by_one_function(tmp_path: object) -> None:
    cfg: DictConfig = make("arch._target_=tests.models.test_models.tiny", "arch.min_size=1")
    assert build(cfg)(torch.rand(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("arch", ["sew_resnet34", "preact_resnet34"])
def test_the_resnet34s_train_a_step_in_every_mode(arch: str) -> None:
    built, x = network(f"arch={arch}"), torch.rand(2, 3, 32, 32).expand(2, 2, 3, 32, 32)
    modes = [("bptt", "m"), ("bptt", "s"), ("rate", "m"), ("rate", "s"), ("sltt", "s"), ("ottt", "s")]
    for grad_mode, step_mode in modes:
        net = copy.deepcopy(built)
        rbp.backward(net, x, lambda y: y.square().mean(), grad_mode=grad_mode, step_mode=step_mode)
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters()), grad_mode


def tiny(spiking: object, in_channels: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 64, 8), spiking(), nn.Linear(8, classes))  # type: ignore[operator]
