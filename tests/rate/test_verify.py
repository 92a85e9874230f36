"""rbp.rate.verify agrees where the engine is right, and names the first module that differs elsewhere."""

import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

import rbp
from rbp.rate import InputError, NoRuleError, verify
from tests.support.golden_vectors import NETS
from tests.support.networks import lif


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("train", [True, False])
def test_the_engine_is_right_about_the_golden_networks(name: str, train: bool) -> None:
    torch.manual_seed(0)
    net = NETS[name]().double().train(train)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    found = verify(net, torch.rand(3, 3, 8, 8, dtype=torch.float64), T=5, tolerance=1e-6)
    assert found.ok and found.differs == {} and str(found).endswith("ok"), found
    assert max(found.outputs.values()) < 1e-6 and max(found.gradients.values()) < 1e-6
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert net.training == train


class Doubling(nn.Identity):
    """A layer whose rule says something else than the layer does."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class AsIdentity(rbp.rate.CommutingRule):
    def spikes(self, layer: nn.Module, x_seq: Tensor, trace: rbp.rate.Trace) -> Tensor:
        return x_seq

    def rate(self, layer: nn.Module, rate: Tensor, trace: rbp.rate.Trace) -> Tensor:
        return rate


def test_a_wrong_rule_is_found_by_the_path_of_its_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    rbp.rate.register(AsIdentity(), Doubling)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), lif(), Doubling(), nn.Linear(8, 8), lif(), nn.Linear(8, 3))
    found = verify(net, torch.rand(5, 4) * 4)
    assert not found.ok and found.differs == {"rate": "2"}
    assert found.outputs["bptt"] < 1e-5 < found.outputs["rate"] and found.gradients["rate"] > 0.1
    assert "rate  output off by" in str(found) and "first at 2" in str(found) and "not equal" in str(found)


@pytest.mark.parametrize("layout", ["TB", "BT"])
def test_the_layer_is_named_in_a_network_that_sees_time_too(layout: str) -> None:
    rbp.rate.register(AsIdentity(), Doubling)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), lif(), Doubling(), nn.Linear(8, 8), lif(), nn.Linear(8, 3))
    turn = Turned(net) if layout == "BT" else net
    functional.set_step_mode(net, "m")
    found = verify(turn, torch.rand(5, 4) * 4, layout=layout)
    assert not found.ok and found.differs == {"rate": "net.2" if layout == "BT" else "2"}


class Turned(nn.Module):
    """[B, T, ...] in and out, by a network of [T, B, ...]."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.transpose(0, 1)).transpose(0, 1)


def test_dropout_is_left_out_of_the_comparison() -> None:
    net = nn.Sequential(nn.Linear(4, 16), lif(), nn.Dropout(0.5), nn.Linear(16, 3))
    assert verify(net, torch.rand(5, 4) * 4).ok and net[2].training


def test_what_the_engine_has_no_rule_for_is_named() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Hardswish(), lif(), nn.Hardswish(), nn.Linear(4, 3))
    with pytest.raises(NoRuleError, match="Hardswish"):
        verify(net, torch.rand(5, 4) * 4)


@pytest.mark.parametrize("x", [None, torch.zeros(0, 4), torch.tensor(1.0)])
def test_no_batch_is_an_error(x: Tensor) -> None:
    with pytest.raises(InputError):
        verify(nn.Sequential(nn.Linear(4, 3), neuron.IFNode()), x)
