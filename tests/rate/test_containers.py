"""SpikingJelly's containers of single steps: batch normalisation in them has each step's own statistics."""

from collections.abc import Callable

import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

import rbp
from rbp.rate import InputError, register
from tests.support.networks import BPTT, RATE, distance, lif, step


def per_step() -> nn.Module:
    body = [nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), lif(v_threshold=0.2)]
    return layer.MultiStepContainer(*body, nn.BatchNorm2d(4))


def stateful() -> nn.Module:
    body = [nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), lif(v_threshold=0.2)]
    return layer.StepModeContainer(True, "m", *body)


def net(container: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    stem = [layer.Conv2d(2, 4, 3, step_mode="m"), neuron.LIFNode(v_threshold=0.3, step_mode="m")]
    end = [layer.Flatten(step_mode="m"), layer.Linear(144, 5, step_mode="m")]
    return nn.Sequential(*stem, container(), *end).double()


@pytest.mark.parametrize("T", [1, 3, 4])
@pytest.mark.parametrize("container", [per_step, stateful])
def test_a_container_of_single_steps_has_each_steps_statistics(
    container: Callable[[], nn.Module], T: int
) -> None:
    x = torch.randn(T, 3, 2, 8, 8, generator=torch.Generator().manual_seed(0)).double() * 3
    x = x * torch.linspace(0.2, 2.0, T).double().view(T, 1, 1, 1, 1)  # so that they differ
    found = {}
    for name, how in (("bptt", BPTT), ("rate", RATE)):
        network = net(container)
        y, gradients = step(network, x, **how, layout="TB")
        found[name] = y, gradients, dict(network.named_buffers())
    (y, wanted, buffers), (z, gradients, others) = found["bptt"], found["rate"]
    torch.testing.assert_close(z, y)
    for name, buffer in buffers.items():
        torch.testing.assert_close(others[name], buffer)
    assert T > 1 or distance(gradients, wanted) < 1e-9


def test_over_all_steps_at_once_the_statistics_would_be_others() -> None:
    """The test above could not fail else."""
    x = torch.randn(4, 3, 2, 8, 8).double() * torch.linspace(0.2, 4.0, 4).double().view(4, 1, 1, 1, 1)
    joined = net(lambda: layer.SeqToANNContainer(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)))
    apart = net(lambda: layer.MultiStepContainer(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)))
    y, z = (rbp.forward(network, x, layout="TB") for network in (joined, apart))
    assert (y - z).abs().max() > 1e-3


@pytest.mark.parametrize(
    "rule, kind, message",
    [
        (object(), nn.ReLU, "an instance of a subclass of rbp.rate.Rule"),
        (rbp.rate.CommutingRule, nn.ReLU, "an instance of a subclass of rbp.rate.Rule"),
        (rbp.rate.CommutingRule(), nn.ReLU(), "a subclass of torch.nn.Module"),
    ],
)
def test_what_cannot_be_a_rule_is_refused(rule: object, kind: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        register(rule, kind)  # type: ignore[arg-type]
