"""What a trial step before submission says of the online gradient modes: it fits, or what goes instead."""

from typing import Any

import pytest
from spikingjelly.activation_based import layer
from torch import Tensor, nn

from rbp.errors import ConfigError
from rbp.sweep.grid.cell import Cell
from rbp.sweep.preflight import preflight
from rbp.sweep.preflight.network import check_step
from tests.support.configs import as_dict, make
from tests.support.segments import PlainNeuron


def unknown_leak() -> nn.Module:
    return PlainNeuron()


def needs_all_steps(neuron: Any, in_channels: int, classes: int) -> nn.Module:
    """Takes the time mean itself."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(layer.Flatten(), layer.Linear(64 * in_channels, 8), neuron())
            self.last = layer.Linear(8, classes)

        def forward(self, x_seq: Tensor) -> Tensor:
            return self.last(self.body(x_seq)).mean(0)

    return Net()


def four_channels(neuron: Any, in_channels: int, classes: int) -> nn.Module:
    body = [nn.Conv2d(in_channels, 4, 3), nn.BatchNorm2d(4), neuron(), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(144, classes))


def tried(*overrides: str) -> None:
    preflight([Cell(as_dict(make("trainer.device=cpu", *overrides)))], trials=True)


@pytest.mark.parametrize("arch", ["digits_cnn", "resnet18", "vgg11"])
def test_the_networks_take_every_mode_and_loss(arch: str) -> None:
    how = ["grad_mode=sltt", "grad_mode=ottt", "loss=tet", "loss=per_step"]
    for chosen in how:
        cfg = make("trainer.device=cpu", f"arch={arch}", chosen, "dataset=cifar10")
        check_step(cfg)


def test_a_neuron_of_unknown_leak_is_refused_for_ottt_alone() -> None:
    plain = {"name": "plain", "_target_": "tests.sweep.test_online.unknown_leak"}
    for mode in ("sltt", "ottt"):
        values = as_dict(make("trainer.device=cpu", f"grad_mode={mode}"))
        values["arch"]["_target_"] = "tests.sweep.test_online.four_channels"
        cell = Cell(values | {"neuron": plain})
        if mode == "sltt":
            preflight([cell], trials=True)
            continue
        with pytest.raises(ConfigError, match=r"does not know the leak of 2 .*trace_leak.*grad_mode='sltt'"):
            preflight([cell], trials=True)


@pytest.mark.parametrize("mode", ["sltt", "ottt"])
def test_a_network_that_needs_all_steps_is_told_what_goes_instead(mode: str) -> None:
    arch = "arch._target_=tests.sweep.test_online.needs_all_steps"
    tried(arch, "grad_mode=rate")
    with pytest.raises(ConfigError, match=f"grad_mode='{mode}' goes step by step, .* use grad_mode='rate'"):
        tried(arch, f"grad_mode={mode}")
    with pytest.raises(ConfigError, match="per_step=True: the network takes the time mean itself"):
        tried(arch, "grad_mode=rate", "loss=per_step")
