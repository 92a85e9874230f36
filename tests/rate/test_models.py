"""SpikingJelly's own models, as they are."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from spikingjelly.activation_based.model import (
    maxformer,
    qkformer,
    sew_resnet,
    spike_driven_transformer,
    spikformer,
    spiking_resnet,
    spiking_vgg,
)
from torch import Tensor, nn

import rbp
from rbp.rate.errors import InputError
from tests.support.networks import BPTT, RATE, distance, step

RESNETS = {
    "sew_resnet18": lambda: sew_resnet.sew_resnet18(spiking_neuron=neuron.LIFNode, cnf="ADD", num_classes=7),
    "sew_resnet18 with IAND": lambda: sew_resnet.sew_resnet18(
        spiking_neuron=neuron.IFNode, cnf="IAND", num_classes=7, detach_reset=True
    ),
    "spiking_resnet18": lambda: spiking_resnet.spiking_resnet18(
        spiking_neuron=neuron.ParametricLIFNode, num_classes=7
    ),
}


Step = tuple[Tensor, dict[str, Tensor]]  # the output and the gradients


def both(net: nn.Module, x: Tensor, **how: Any) -> tuple[Step, Step]:
    """A training step in rate mode, and one by BPTT of the same network."""
    state = {k: v.clone() for k, v in net.state_dict().items()}
    by_bptt = step(net, x, **BPTT, **how)
    net.load_state_dict(state)
    return step(net, x, **RATE, **how), by_bptt


def check(net: nn.Module, step_mode: str, size: int, steps: int) -> None:
    """One step: BPTT's gradients. More: BPTT's outputs, and a gradient for every weight that has one
    there."""
    x = torch.randn(1, 2, 3, size, size, dtype=torch.float64)
    (y, gradients), (y_bptt, by_bptt) = both(net.double(), x, step_mode=step_mode)
    torch.testing.assert_close(y, y_bptt, rtol=1e-4, atol=1e-5)
    assert distance(gradients, by_bptt) < 1e-4
    frames = torch.randn(steps, 2, 3, size, size)
    (y, gradients), (y_bptt, by_bptt) = both(net.float(), frames, step_mode=step_mode)
    torch.testing.assert_close(y, y_bptt, rtol=1e-4, atol=1e-5)
    assert all(g.isfinite().all() for g in gradients.values())
    assert all((gradients[k].abs().sum() > 0) == (g.abs().sum() > 0) for k, g in by_bptt.items())


@pytest.mark.slow
@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("name", RESNETS)
def test_resnets_of_spikingjelly_in_both_step_modes(name: str, step_mode: str) -> None:
    torch.manual_seed(0)
    check(RESNETS[name](), step_mode, size=48, steps=2)


@pytest.mark.slow
def test_vgg11_of_spikingjelly_in_both_step_modes() -> None:
    torch.manual_seed(0)
    net = spiking_vgg.spiking_vgg11_bn(spiking_neuron=neuron.LIFNode, num_classes=7)
    x = torch.randn(1, 2, 3, 32, 32)
    y_bptt, by_bptt = step(net, x, **BPTT)
    for step_mode in "ms":
        y, gradients = step(net, x, step_mode=step_mode)
        torch.testing.assert_close(y, y_bptt, rtol=1e-4, atol=1e-5)
        assert distance(gradients, by_bptt) < 1e-4


def small_spikformer() -> nn.Module:
    size = {"img_size_h": 32, "img_size_w": 32, "patch_size": 4, "embed_dims": 32, "num_heads": 4}
    return spikformer.Spikformer(T=4, num_classes=7, depths=2, **size)


def test_spikformer_at_one_step_has_the_gradients_of_bptt() -> None:
    torch.manual_seed(0)
    check(small_spikformer(), "m", size=32, steps=4)


@pytest.mark.slow
def test_spikformer_trains_in_rate_mode() -> None:
    torch.manual_seed(0)
    net, x, labels = small_spikformer(), torch.randn(8, 3, 32, 32), torch.arange(8) % 7
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(rbp.forward(net, x, T=4), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_a_model_for_step_mode_m_alone_says_so() -> None:
    with pytest.raises(InputError, match=r"patch_embed.*SeqToANNContainer.*step_mode='m'"):
        rbp.forward(small_spikformer(), torch.randn(2, 2, 3, 32, 32), step_mode="s", layout="step")


SIZES: dict[str, Any] = {"T": 3, "num_classes": 5, "embed_dims": 32}
TRANSFORMERS = {
    "QKFormer": lambda: qkformer.QKFormer(num_heads=(1, 2, 4), depths=(1, 1, 1), **SIZES),
    "SpikeDrivenTransformer": lambda: spike_driven_transformer.SpikeDrivenTransformer(
        num_heads=4, depths=1, **SIZES
    ),
    "MaxFormer": lambda: maxformer.MaxFormer(depths=(1, 1, 1), cifar=True, **SIZES),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_that_take_the_time_mean_themselves(name: str) -> None:
    torch.manual_seed(0)
    net = TRANSFORMERS[name]().double()
    (y, gradients), (y_bptt, by_bptt) = both(net, torch.randn(1, 2, 3, 64, 64).double())
    torch.testing.assert_close(y, y_bptt)
    assert distance(gradients, by_bptt) < 1e-8
    (y, _), (y_bptt, _) = both(net, torch.randn(3, 2, 3, 64, 64).double())
    torch.testing.assert_close(y, y_bptt)


class ByHand(nn.Module):
    """SpikingJelly's neurons and wrappers with torch's layers, time folded into the batch by hand."""

    def __init__(self, container: nn.Module) -> None:
        super().__init__()
        self.conv, self.lif1 = layer.Conv2d(3, 6, 3, padding=1, step_mode="m"), neuron.LIFNode(step_mode="m")
        self.plain, self.norm = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.inner, self.lif2 = container, neuron.LIFNode(v_threshold=0.5, step_mode="m")
        self.drop, self.fc = nn.Dropout(0.2), nn.Linear(6 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        T, B = x.shape[:2]
        x = self.lif1(self.conv(x))
        x = self.norm(self.plain(x.flatten(0, 1))).view(T, B, 6, 8, 8) + x
        x = self.lif2(self.inner(x))
        return self.fc(self.drop(x.reshape(T * B, -1)).reshape(T, B, -1))


def containers() -> Iterator[Callable[[], nn.Module]]:
    yield lambda: layer.SeqToANNContainer(nn.Conv2d(6, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.AvgPool2d(2))
    yield lambda: layer.MultiStepContainer(
        nn.Conv2d(6, 6, 1), neuron.LIFNode(v_threshold=0.5), nn.MaxPool2d(2)
    )


@pytest.mark.parametrize("container", containers())
def test_time_folded_into_the_batch_by_hand_and_containers(container: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = ByHand(container()).double()
    modes = [m.step_mode for m in net.modules() if hasattr(m, "_step_mode")]
    (_, gradients), (_, by_bptt) = both(net, torch.randn(1, 3, 3, 8, 8).double() * 2)
    assert distance(gradients, by_bptt) < 1e-8
    (y, _), (y_bptt, _) = both(net, torch.randn(3, 3, 3, 8, 8).double() * 2)
    torch.testing.assert_close(y, y_bptt, rtol=1e-4, atol=1e-5)
    assert [m.step_mode for m in net.modules() if hasattr(m, "_step_mode")] == modes
