"""SpikingJelly's own models in each layout and step mode that they have, against their plain run.

Every one of them runs in both gradient modes and step modes: those written for step mode m alone, the first
list, do s on sequences of one step. Only an image that the network repeats itself has no step mode s. Sizes
are the smallest that construct; thresholds are low, so that every neuron layer fires.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.model import (
    maxformer,
    ms_resnet,
    parametric_lif_net,
    qkformer,
    sew_resnet,
    spike_driven_transformer,
    spikformer,
    spiking_resnet,
    spiking_vgg,
)
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import rbp
from rbp.rate.errors import InputError
from tests.support.networks import BPTT
from tests.support.plain_runs import Truth, plain

SMALL: dict[str, Any] = {"num_classes": 5, "embed_dims": 16}
DEPTHS: dict[str, Any] = {"depths": (1, 1, 1)}


class Model(NamedTuple):
    """make: for T steps; shape: of one image."""

    make: Callable[[int], nn.Module]
    shape: tuple[int, int, int]


def small_spikformer(T: int) -> nn.Module:
    size = {"img_size_h": 16, "img_size_w": 16, "patch_size": 4, "num_heads": 2}
    return spikformer.Spikformer(T=T, depths=1, **size, **SMALL)


def small_vgg(T: int) -> nn.Module:
    """SpikingVGG; its classifier of 120 million weights is made on no device, and a small one put there."""
    settings: dict[str, Any] = {"cfg": [4, "M", 6, "M"], "batch_norm": True}
    with torch.device("meta"):
        net = spiking_vgg.SpikingVGG(spiking_neuron=neuron.LIFNode, **settings)
    net.features = net.make_layers(neuron=neuron.LIFNode, **settings)
    net.avgpool = layer.AdaptiveAvgPool2d((2, 2))
    small = [layer.Linear(24, 12), neuron.LIFNode(v_threshold=0.3), layer.Dropout(), layer.Linear(12, 5)]
    net.classifier = nn.Sequential(*small)
    return net


# They handle time themselves: an image that they repeat, or a sequence.
TRANSFORMERS = {
    "Spikformer": Model(small_spikformer, (3, 16, 16)),
    "QKFormer": Model(lambda T: qkformer.QKFormer(T, num_heads=(1, 1, 2), **DEPTHS, **SMALL), (3, 32, 32)),
    "QKFormer, channels": Model(
        lambda T: qkformer.QKFormer(T, num_heads=(1, 1, 2), qka_type="channel", **DEPTHS, **SMALL),
        (3, 32, 32),
    ),
    "SpikeDrivenTransformer": Model(
        lambda T: spike_driven_transformer.SpikeDrivenTransformer(T, num_heads=2, depths=1, **SMALL),
        (3, 32, 32),
    ),
    "MaxFormer": Model(lambda T: maxformer.MaxFormer(T, **DEPTHS, **SMALL), (3, 32, 32)),
    "MaxFormer, CIFAR": Model(lambda T: maxformer.MaxFormer(T, cifar=True, **DEPTHS, **SMALL), (3, 16, 16)),
    "MSResNet": Model(
        lambda T: ms_resnet.MSResNet(T, num_classes=5, layers=(1, 1, 1), base_channels=4), (3, 32, 32)
    ),
    "MaxResNet": Model(
        lambda T: ms_resnet.MaxResNet(
            T, num_classes=5, layers=(1, 1, 1), base_channels=4, stem_kernel_size=3, stem_stride=1
        ),
        (3, 16, 16),
    ),
}
PLIF: dict[str, Any] = {"channels": 4, "spiking_neuron": neuron.ParametricLIFNode}
# Made of SpikingJelly's wrappers: step by step or with time first, as functional.set_step_mode says.
WRAPPERS = {
    "SEWResNet, ADD": Model(
        lambda T: sew_resnet.SEWResNet(
            sew_resnet.BasicBlock, [1, 1, 1, 1], 5, cnf="ADD", spiking_neuron=neuron.LIFNode
        ),
        (3, 64, 64),
    ),
    "SEWResNet, IAND": Model(
        lambda T: sew_resnet.SEWResNet(
            sew_resnet.BasicBlock, [1, 1, 1, 1], 5, cnf="IAND", spiking_neuron=neuron.IFNode
        ),
        (3, 64, 64),
    ),
    "SpikingResNet": Model(
        lambda T: spiking_resnet.SpikingResNet(
            spiking_resnet.BasicBlock, [1, 1, 1, 1], 5, spiking_neuron=neuron.ParametricLIFNode
        ),
        (3, 64, 64),
    ),
    "SpikingVGG": Model(small_vgg, (3, 16, 16)),
    "MNISTNet": Model(lambda T: parametric_lif_net.MNISTNet(**PLIF), (1, 28, 28)),
    "NMNISTNet": Model(lambda T: parametric_lif_net.NMNISTNet(**PLIF), (2, 34, 34)),
    "CIFAR10Net": Model(lambda T: parametric_lif_net.CIFAR10Net(**PLIF), (3, 32, 32)),
    "CIFAR10DVSNet": Model(lambda T: parametric_lif_net.CIFAR10DVSNet(**PLIF), (2, 128, 128)),
    "DVSGestureNet": Model(lambda T: parametric_lif_net.DVSGestureNet(**PLIF), (2, 128, 128)),
}


def lively(model: Model, T: int, layout: str) -> tuple[nn.Module, Tensor]:
    """The network, in float64, all neurons in the layout's step mode, and its input. Dropout is off."""
    torch.manual_seed(0)
    net = model.make(T)
    for module in net.modules():
        if isinstance(module, neuron.BaseNode):
            module.v_threshold = 0.2
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=2.0 / module.in_features**0.5)
        elif isinstance(module, _BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        elif isinstance(module, layer.Dropout):
            module.eval()
    functional.set_step_mode(net, "s" if layout == "step" else "m")
    x = torch.randn(T, 2, *model.shape, dtype=torch.float64) * 2
    return net.double(), x[0] if layout == "static" else x


def holds(model: Model, layout: str, step_mode: str, T: int) -> None:
    net, x = lively(model, T, layout)
    truth = Truth(net, x, layout, step_mode)
    assert all(rate > 0 for rate in truth.firing.values()) and min(truth.firing.values()) < 1
    truth.holds(net, x, one_step=T == 1, layout=layout, step_mode=step_mode)


@pytest.mark.parametrize("T", [1, 3])
@pytest.mark.parametrize("layout, step_mode", [("static", "m"), ("TB", "m"), ("TB", "s")])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_networks_that_handle_time_themselves(name: str, layout: str, step_mode: str, T: int) -> None:
    holds(TRANSFORMERS[name], layout, step_mode, T)


@pytest.mark.parametrize("T", [1, 3])
@pytest.mark.parametrize("layout, step_mode", [("step", "m"), ("step", "s"), ("TB", "m"), ("TB", "s")])
@pytest.mark.parametrize("name", WRAPPERS)
def test_networks_of_wrappers(name: str, layout: str, step_mode: str, T: int) -> None:
    holds(WRAPPERS[name], layout, step_mode, T)


def test_spikformer_at_four_steps_of_four_samples() -> None:
    net, _ = lively(TRANSFORMERS["Spikformer"], 4, "TB")
    x = torch.randn(4, 4, 3, 16, 16, dtype=torch.float64) * 2
    Truth(net, x, "TB").holds(net, x, one_step=False, layout="TB")


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_without_layout_a_sequence_is_one_and_an_image_is_repeated(name: str) -> None:
    for layout, T in (("TB", None), ("static", None), ("static", 3)):
        net, x = lively(TRANSFORMERS[name], 3, layout)
        truth = Truth(net, x, layout)
        for grad_mode in ("bptt", "rate"):
            y = rbp.forward(copy.deepcopy(net), x, T=T, grad_mode=grad_mode)
            torch.testing.assert_close(y, truth.y)


@pytest.mark.parametrize("grad_mode", ["bptt", "rate"])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_without_layout_step_mode_s_is_sequences_of_one_step_or_refused(name: str, grad_mode: str) -> None:
    net, x = lively(TRANSFORMERS[name], 3, "TB")
    truth = Truth(net, x, "TB", "s")
    try:
        y = rbp.forward(net, x, step_mode="s", grad_mode=grad_mode)
    except InputError as error:
        assert "step_mode='m'" in str(error)
    else:
        torch.testing.assert_close(y, truth.y)


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("layout", ["step", "TB"])
@pytest.mark.parametrize("name", WRAPPERS)
def test_without_layout_wrappers_run_in_the_step_mode_asked_for(
    name: str, layout: str, step_mode: str
) -> None:
    net, x = lively(WRAPPERS[name], 3, layout)
    truth = Truth(net, x, layout, step_mode)
    for grad_mode in ("bptt", "rate"):
        y = rbp.forward(copy.deepcopy(net), x, grad_mode=grad_mode, step_mode=step_mode)
        torch.testing.assert_close(y, truth.y)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_an_image_that_the_network_repeats_has_no_step_mode_s(name: str) -> None:
    net, x = lively(TRANSFORMERS[name], 3, "static")
    for grad_mode in ("bptt", "rate"):
        with pytest.raises(InputError, match=r"step_mode='s'.*static.*step_mode='m'"):
            rbp.forward(net, x, layout="static", step_mode="s", grad_mode=grad_mode)


def test_what_is_not_trained_runs_the_same() -> None:
    for name in ("Spikformer", "MSResNet"):
        net, x = lively(TRANSFORMERS[name], 3, "TB")
        net.eval()
        with torch.no_grad():
            y = plain(net, x, "TB")
            torch.testing.assert_close(rbp.forward(net, x, layout="TB"), y)
            torch.testing.assert_close(rbp.forward(net, x, layout="TB", **BPTT), y)
