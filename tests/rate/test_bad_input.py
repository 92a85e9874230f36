"""What the call refuses, in one clear error that changes nothing."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

import rbp
from rbp.rate.errors import InputError, NoRuleError
from tests.support.networks import BPTT, RATE, distance, frames, lif, small, snapshot, step


class Squares(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x**2


class Compares(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Equals(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (x == 0)


class MeanOverTime(nn.Module):
    """Written for [T, B, ...], with a time mean of its own before its head."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = layer.Linear(8, 8, step_mode="m"), neuron.LIFNode(v_threshold=0.3, step_mode="m")
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lif(self.fc(x[..., 0, 0, :])).mean(0))


class SumOverTime(MeanOverTime):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.sum(self.lif(self.fc(x[..., 0, 0, :])), dim=0) / len(x))


class Cuts(MeanOverTime):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lif(self.fc(x[..., 0, 0, :])))[1:]


@pytest.mark.parametrize("net", [MeanOverTime, SumOverTime])
def test_a_network_may_take_the_time_mean_itself(net: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network, x = net(), frames(1)[0].expand(3, 4, 2, 8, 8)
    (y, gradients), (y_bptt, by_bptt) = (step(network, x, **how) for how in (RATE, BPTT))
    assert y.shape == (4, 5)
    torch.testing.assert_close(y, y_bptt, rtol=1e-4, atol=1e-5)
    assert distance(gradients, by_bptt) < 1e-5


STEPS: dict[str, Any] = {"step_mode": "s", "layout": "step"}


class TwoOutputs(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize(
    "module, operation",
    [
        (nn.ReLU(inplace=True), "relu_? does not commute"),
        (nn.Softmax(dim=1), "softmax does not commute"),
        (Squares(), "pow.* does not commute"),
        (Compares(), "gt does not commute"),
        (Equals(), "eq.* does not commute"),
        (layer.SynapseFilter(), "keeps a state from step to step"),
        (nn.LPPool2d(2, 2), "lp_pool2d.* does not commute"),
        (nn.InstanceNorm1d(1), "instance_norm does not commute"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_has_no_rule_names_its_path_type_and_the_way_to_register_one(
    module: nn.Module, operation: str, step_mode: str
) -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.Sequential(lif(), module))
    kind = type(module).__qualname__
    message = rf"for 1\.1 \(.*{kind}\): .*{operation}.*rbp.rate.register\(rule, LayerType\)"
    with pytest.raises(NoRuleError, match=message):
        rbp.forward(net, torch.rand(2, 3, 8), step_mode=step_mode)


@pytest.mark.parametrize(
    "net, x, how, message",
    [
        (small, frames(), {"step_mode": "x"}, "step_mode='x': 'm'.*or 's'"),
        (small, frames(), {"grad_mode": "x"}, "grad_mode='x': 'bptt' or 'rate'"),
        (small, frames()[0], {}, r"shape \(4, 2, 8, 8\) has no time axis.*T= for a static batch"),
        (small, frames()[:, :0], {}, r"shape \(3, 0, 2, 8, 8\)"),
        (small, frames()[:0], {}, r"shape \(0, 4, 2, 8, 8\)"),
        (small, frames().long(), {}, "int64"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 5)), frames(), {}, "no spiking neurons"),
        (lambda: nn.DataParallel(small()), frames(), {}, "DataParallel.*DistributedDataParallel"),
        (lambda: nn.Sequential(small(), TwoOutputs()), frames(), {}, "returned a tuple of 2"),
        (lambda: nn.Sequential(small(), TwoOutputs()), frames(), BPTT, "returned a tuple of 2"),
        (
            lambda: nn.Sequential(small(), TwoOutputs()),
            frames(),
            BPTT | {"step_mode": "s"},
            "returned a tuple of 2",
        ),
        (lambda: torch.compile(small()), frames(), {}, "compiled by torch.compile"),
        (lambda: layer.MultiStepContainer(small()), frames(), STEPS, "all time steps at once"),
        (lambda: Cuts(), frames(), BPTT, r"returned shape \(2, 4, 5\): \[T=3, B=4, K\] is needed"),
        (
            lambda: MeanOverTime(),
            frames(),
            RATE | {"per_step": True},
            "per_step=True: the network takes the time mean",
        ),
        (
            lambda: MeanOverTime(),
            frames(),
            BPTT | {"per_step": True},
            "per_step=True: the network takes the time mean",
        ),
    ],
)
def test_bad_input_is_one_clear_error_and_changes_nothing(
    net: Any, x: Any, how: dict[str, Any], message: str
) -> None:
    net = net()
    before = snapshot(net)
    with pytest.raises(InputError, match=message):
        rbp.forward(net, x, **how)
    assert snapshot(net) == before


def test_bptt_needs_neither_rules_nor_neurons() -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(8, 8), nn.GELU(), Squares(), nn.Softmax(-1)), torch.rand(3, 4, 8)
    for step_mode in "ms":
        y = rbp.forward(net, x, grad_mode="bptt", step_mode=step_mode)
        torch.testing.assert_close(y, F.softmax(F.gelu(net[0](x)) ** 2, -1).mean(0))
