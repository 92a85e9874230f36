"""What the dial promises between its ends: what eligibilities add up to, how far from BPTT it is, and why."""

from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn

import rbp
from rbp.rate.memory.segments import Segments
from tests.support.networks import BPTT, RATE, step
from tests.support.operators import OPERATORS, Operated
from tests.support.segments import NEURONS, Projected, frames, lif, network

MODES = ["m", "s"]


@pytest.mark.parametrize("step_mode", MODES)
@pytest.mark.parametrize("name", NEURONS)
def test_the_segments_effects_add_up_to_rate_bps_eligibility(name: str, step_mode: str) -> None:
    """sum_j n_j/T sum_{i<=j} E[i][j]: the input shifted equally at all steps, whatever the segments."""

    def by_input(k: int) -> Tensor:
        x_seq = frames(6)[:, :, :1].expand(6, 3, 4, 6, 6).clone().requires_grad_()
        net = nn.Sequential(NEURONS[name]()).double()
        rbp.forward(net, x_seq, step_mode=step_mode, segments=k).sum().backward()
        assert x_seq.grad is not None
        return x_seq.grad.sum(0)

    wanted = by_input(1)
    assert wanted.abs().max() > 0.1
    for k in (2, 3, 4, 6):
        torch.testing.assert_close(by_input(k), wanted, rtol=1e-9, atol=1e-12)


def cosine(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    a, b = (torch.cat([grads[name].flatten() for name in wanted]) for grads in (found, wanted))
    return float(a @ b / (a.norm() * b.norm()))


def of_leak(tau: float, k: int | None, **how: Any) -> dict[str, Tensor]:
    """The gradient of a network with this leak by BPTT (k=None), or by k segments of 8 steps."""
    net = network(lambda: lif(tau=tau) if tau else NEURONS["IF"]())
    mode = BPTT if k is None else RATE | {"segments": k, **how}
    return step(net, frames(8), **mode)[1]


@pytest.mark.parametrize("tau", [1.25, 2.0, 0.0], ids=["lambda 0.2", "lambda 0.5", "IF"])
def test_nested_segments_come_nearer_to_bptt_when_coupled(tau: float) -> None:
    wanted = of_leak(tau, None)
    near = [cosine(of_leak(tau, k), wanted) for k in (1, 2, 4, 8)]
    assert near == sorted(near) and near[0] < 0.999 and near[-1] == pytest.approx(1.0)


def test_uncoupled_segments_fall_behind_rate_bp_where_the_leak_is_slow() -> None:
    """Detaching the potential at more borders cuts more of what the steps owe each other."""
    slow, fast = of_leak(0.0, None), of_leak(1.25, None)
    apart = [cosine(of_leak(0.0, k, coupled=False), slow) for k in (1, 4, 8)]
    assert apart[2] < apart[1] < apart[0]
    assert apart[2] < cosine(of_leak(1.25, 8, coupled=False), fast) - 0.1


class Watched(nn.Linear):
    """Keeps what reaches it, and the gradient at its output."""

    def forward(self, x: Tensor) -> Tensor:
        self.inputs = x
        return super().forward(x)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_the_error_of_a_weights_gradient_is_what_varies_within_segments(k: int) -> None:
    """dW's error = sum_t [(I-P)delta]_t [(I-P)a]_t^T + sum_t (Pe)_t (Pa)_t^T, e = delta - its estimate."""
    torch.manual_seed(0)
    T, lengths = 5, Segments(5, k).lengths
    net = nn.Sequential(nn.Linear(4, 8), lif(), nn.Linear(8, 8), lif(), nn.Linear(8, 3)).double()
    x_seq = torch.randn(T, 6, 4).double() * 2
    seen: dict[str, Any] = {}
    middle = net[2]

    def see(module: nn.Module, given: Any, got: Any) -> None:
        seen.update(grad=got[0])

    middle.register_full_backward_hook(see)
    middle.register_forward_hook(lambda module, args, y: seen.update(a=args[0]))
    _, by_steps = step(net, x_seq, **BPTT)
    delta, a = seen["grad"], seen["a"].spikes.detach()
    _, by_rates = step(net, x_seq, **RATE, segments=k)
    estimate = seen["grad"].view(k, 6, 8)
    estimate = torch.cat([(g / n).expand(n, 6, 8) for g, n in zip(estimate, lengths, strict=True)])

    def P(z: Tensor) -> Tensor:
        return torch.cat([part.mean(0, keepdim=True).expand_as(part) for part in z.split(lengths)])

    e = delta - estimate
    within = torch.einsum("tbi,tbj->ij", delta - P(delta), a - P(a))
    error = within + torch.einsum("tbi,tbj->ij", P(e), P(a))
    torch.testing.assert_close(by_steps["2.weight"] - by_rates["2.weight"], error, rtol=0, atol=1e-12)
    assert (error.norm() > 1e-3) == (k < T)


def moving(T: int, B: int = 16) -> Tensor:
    """An image per sample that changes a little from step to step."""
    draws = torch.Generator().manual_seed(1)
    image, noise = (torch.randn(n, B, 2, 6, 6, generator=draws).double() * 2 for n in (1, T))
    return image + 0.3 * noise


def far_from_projected(operator: Any, k: int, seed: int) -> float:
    """Distance of the convolution's gradient in conv - LIF - operator - linear, on a static image, T=6."""
    torch.manual_seed(seed)
    net, x, labels = Operated(operator()).double(), torch.randn(8, 3, 8, 8).double(), torch.arange(8) % 5
    lengths, grads = Segments(6, k).lengths, []
    functional.reset_net(net)
    z_seq = x.expand(6, *x.shape)
    for layer_ in (net.conv, net.lif, net.operator, lambda z: net.fc(z.flatten(1))):
        z_seq = Projected.apply(torch.stack([layer_(z) for z in z_seq]), lengths)
    for y in (z_seq.mean(0), rbp.forward(net, x, T=6, segments=k)):
        net.zero_grad()
        nn.functional.cross_entropy(y, labels).backward()
        assert net.conv.weight.grad is not None
        grads.append(net.conv.weight.grad.clone())
    return float((grads[1] - grads[0]).norm() / grads[0].norm())


@pytest.mark.parametrize("k", [1, 2, 4, 6])
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_are_near_the_projected_gradient(name: str, k: int) -> None:
    """As near as rate mode's are to BPTT, and exact at k=T; products and gates are exact at any k."""
    operator, _, most = OPERATORS[name]
    exact = k == 6 or name in ("nothing", "product", "product by einsum", "gate")
    for seed in range(3):
        assert far_from_projected(operator, k, seed) <= (1e-9 if exact else most)


def per_step_net() -> nn.Sequential:
    torch.manual_seed(0)
    stem = [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), lif()]
    return nn.Sequential(
        *stem, nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3)
    ).double()


def in_containers() -> nn.Sequential:
    """The same layers as SpikingJelly wraps them for [T, B, ...]."""
    fire: Any
    conv, norm, fire, *others = per_step_net()
    fire.step_mode = "m"
    return nn.Sequential(
        layer.MultiStepContainer(conv, norm), fire, layer.MultiStepContainer(nn.Sequential(*others))
    )


def each_step_by_itself(net: nn.Sequential, x_seq: Tensor, lengths: list[int]) -> list[Tensor]:
    """The parameters' gradients by BPTT, projected after every layer, each step with its own statistics."""
    for module in net:
        x_seq = Projected.apply(torch.stack([module(x) for x in x_seq]), lengths)
    y = x_seq.mean(0)
    nn.functional.cross_entropy(y, torch.arange(len(y)) % y.shape[1]).backward()
    return [p.grad.clone() for p in net.parameters() if p.grad is not None]


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("make, how", [(per_step_net, {"step_mode": "s"}), (in_containers, {"layout": "TB"})])
def test_each_steps_statistics_are_near_the_projected_gradient(
    make: Any, how: dict[str, Any], k: int
) -> None:
    """In step mode s, and in containers of single steps; exact at k=T."""
    wanted = each_step_by_itself(per_step_net(), moving(5), Segments(5, k).lengths)
    _, found = step(make(), moving(5), **RATE, **how, segments=k)
    difference = sum(((a - b) ** 2).sum() for a, b in zip(found.values(), wanted, strict=True))
    far = float((difference / sum((g**2).sum() for g in wanted)) ** 0.5)
    assert far < (1e-9 if k == 5 else 0.02)
