"""Segments of time: k=1 is rate mode, k=T coupled is BPTT, and between them is BPTT with the mean of the
gradient taken over each segment after every layer."""

from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

import rbp
from rbp.rate import InputError, NoRuleError
from rbp.rate.memory.segments import Segments
from tests.support.networks import BPTT, RATE, distance, kept_bytes, step
from tests.support.segments import NEURONS, Projected, Residual, frames, lif, network


class Gate(nn.Module):
    """A product of two spiking tensors."""

    def __init__(self, fire: nn.Module) -> None:
        super().__init__()
        self.fire = fire

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fire(x)


def oracle(module: nn.Module, x_seq: Tensor, lengths: list[int], coupled: bool) -> Tensor:
    """BPTT on x_seq [T, B, ...], the gradient projected after every layer; slow and obvious."""
    if isinstance(module, nn.Sequential):
        for child in module:
            x_seq = oracle(child, x_seq, lengths, coupled)
        return x_seq
    if isinstance(module, Residual):
        return x_seq + oracle(module.block, x_seq, lengths, coupled)
    if isinstance(module, Gate):
        return Projected.apply(x_seq * oracle(module.fire, x_seq, lengths, coupled), lengths)
    if isinstance(module, neuron.BaseNode):
        borders = {sum(lengths[:j]) for j in range(1, len(lengths))}
        steps = []
        for t, x in enumerate(x_seq):
            if t in borders and not coupled:
                module.detach()
            steps.append(module(x))
        return Projected.apply(torch.stack(steps), lengths)
    return Projected.apply(module(x_seq.flatten(0, 1)).unflatten(0, x_seq.shape[:2]), lengths)


def by_oracle(net: nn.Module, x_seq: Tensor, lengths: list[int], coupled: bool) -> dict[str, Tensor]:
    functional.reset_net(net)
    net.zero_grad()
    y = oracle(net, x_seq, lengths, coupled).mean(0)
    nn.functional.cross_entropy(y, torch.arange(len(y)) % y.shape[1]).backward()
    functional.reset_net(net)
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("T", [2, 3, 5])
@pytest.mark.parametrize("name", NEURONS)
def test_as_many_coupled_segments_as_steps_are_bptt(name: str, T: int, step_mode: str) -> None:
    make = NEURONS[name]
    more = (
        nn.GroupNorm(2, 4),
        make(),
        nn.LayerNorm([4, 3, 3]),
        make(),
        Gate(make()),
        nn.Conv2d(4, 4, 1),
        make(),
    )
    y, wanted = step(network(make, *more), frames(T), **BPTT, step_mode=step_mode)
    z, found = step(network(make, *more), frames(T), **RATE, step_mode=step_mode, segments=T)
    torch.testing.assert_close(z, y)
    assert distance(found, wanted) < 1e-9


@pytest.mark.parametrize("T, k", [(4, 1), (4, 2), (5, 2), (5, 3), (6, 3), (5, 5)])
@pytest.mark.parametrize("coupled", [True, False])
@pytest.mark.parametrize("name", [name for name in NEURONS if name != "plain module"])
def test_between_them_is_bptt_with_the_gradients_mean_over_each_segment(
    name: str, T: int, k: int, coupled: bool
) -> None:
    lengths = Segments(T, k).lengths
    assert sum(lengths) == T and max(lengths) - min(lengths) <= 1 and lengths == sorted(lengths, reverse=True)
    wanted = by_oracle(network(NEURONS[name]), frames(T), lengths, coupled)
    _, found = step(network(NEURONS[name]), frames(T), **RATE, segments=k, coupled=coupled)
    assert distance(found, wanted) < 1e-9


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_every_step_and_a_static_image(step_mode: str) -> None:
    how: dict[str, Any] = {"step_mode": step_mode, "per_step": True}
    still = frames(1)[0]
    for x_seq in (frames(4), still.expand(4, *still.shape)):
        y, wanted = step(network(lif), x_seq, **BPTT, **how)
        z, found = step(network(lif), x_seq, **RATE, **how, segments=4)
        torch.testing.assert_close(z, y)
        assert distance(found, wanted) < 1e-9


def test_spikingjellys_gated_lif_too() -> None:
    net, x_seq = network(lambda: neuron.GatedLIFNode(T=4)), frames(4)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    _, wanted = step(net, x_seq, **BPTT)
    net.load_state_dict(state)
    _, found = step(net, x_seq, **RATE, segments=4)
    assert distance(found, wanted) < 1e-9
    with pytest.raises(NoRuleError, match="coupled=True"):
        rbp.forward(net, x_seq, segments=2, coupled=False)


class Turned(nn.Module):
    """[B, T, ...] in, [B, K] out by its own mean over time; a time embedding, folded and unfolded."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.layout, self.a, self.b, self.c = layout, nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.l1, self.l2 = lif(step_mode="m"), lif(step_mode="m")
        self.time = nn.Parameter(torch.randn(4, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        if self.layout == "static":
            x = x.unsqueeze(0).repeat(4, 1, 1)
        x = x.transpose(0, 1) if self.layout == "BT" else x
        x = self.l1(self.a(x) + self.time)
        T, B = x.shape[:2]
        x = self.l2(self.b(x.flatten(0, 1)).view(T, B, -1))
        return self.c(x.mean(0)) + 0.1 * self.c(x[1]) + 0.1 * self.c(x.sum(0))


@pytest.mark.parametrize("layout", ["TB", "BT", "static"])
def test_networks_that_see_time(layout: str) -> None:
    torch.manual_seed(0)
    net = Turned(layout).double()
    x = torch.rand(5, 4).double() * 4 if layout == "static" else torch.rand(4, 5, 4).double() * 4
    how: dict[str, Any] = {"layout": layout}
    (y, wanted), (z, found) = (step(net, x, **how, **mode) for mode in (BPTT, RATE | {"segments": 4}))
    torch.testing.assert_close(z, y)
    assert distance(found, wanted) < 1e-9
    _, uneven = step(net, x, **how, **RATE, segments=3)
    assert distance(uneven, wanted) < distance(step(net, x, **how, **RATE)[1], wanted)


def test_what_is_kept_is_affine_in_the_number_of_segments() -> None:
    net, x_seq = network(lif).float(), frames(8).float()
    kept = [kept_bytes(net, x_seq, segments=k) for k in (2, 4, 8)]
    assert kept[2] - kept[1] == pytest.approx(2 * (kept[1] - kept[0]), rel=0.05)
    assert kept_bytes(net, x_seq, segments=1) == kept_bytes(net, frames(4).float(), segments=1)


@pytest.mark.parametrize("how", [{"segments": n} for n in (0, -1, 5, 1.5, True)] + [{"coupled": "no"}])
def test_what_is_no_number_of_segments_is_an_error(how: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(how))):
        rbp.forward(network(lif), frames(4), **how)


@pytest.mark.parametrize("how", [BPTT, {"chunk": 2}])
def test_bptt_and_chunks_have_no_segments(how: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="segments=2"):
        rbp.forward(network(lif), frames(4), segments=2, **how)
