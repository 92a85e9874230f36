"""What the call returns: outputs by step, static batches and sequences, low precision."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import nn

import rbp
from rbp.rate.errors import InputError
from rbp.rate.layout.time_first import as_sequence
from tests.support.networks import BPTT, MODES, RATE, distance, frames, gradients_of, lif, small, step


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_per_step_gives_the_same_outputs_in_both_gradient_modes_and_their_mean_is_the_output(
    step_mode: str,
) -> None:
    torch.manual_seed(0)
    net, x = small(), frames()
    how: dict[str, Any] = {"step_mode": step_mode}
    by_step = [rbp.forward(net, x, per_step=True, **how, **mode) for mode in (BPTT, RATE)]
    assert by_step[0].shape == (3, 4, 5)
    torch.testing.assert_close(by_step[0], by_step[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(by_step[1].mean(0), rbp.forward(net, x, **how), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_a_loss_at_every_step_reaches_the_rate_by_the_sum_of_its_gradients(step_mode: str) -> None:
    """TET: dL/dr is the sum over t of dL_t/dy_t, here for a loss linear in y worked out by hand."""
    torch.manual_seed(0)
    net, x = small().eval(), frames()
    weights = torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1)
    (rbp.forward(net, x, step_mode=step_mode, per_step=True) * weights).sum().backward()
    by_step = [grad.clone() for grad in gradients_of(net).values()]
    net.zero_grad()
    (rbp.forward(net, x, step_mode=step_mode) * 7).sum().backward()
    for a, p in zip(by_step, net.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grad_mode, step_mode", MODES)
def test_t_shows_a_static_batch_and_checks_a_sequence(grad_mode: str, step_mode: str) -> None:
    torch.manual_seed(0)
    net = small().eval()
    how: dict[str, Any] = {"grad_mode": grad_mode, "step_mode": step_mode}
    x = frames()[0]
    torch.testing.assert_close(
        rbp.forward(net, x, T=4, **how), rbp.forward(net, x.expand(4, *x.shape), **how)
    )
    torch.testing.assert_close(rbp.forward(net, frames(), T=3, **how), rbp.forward(net, frames(), **how))
    with pytest.raises(InputError, match=r"T=5, but x_seq has 3 steps \(its shape is \(3, 4, 2, 8, 8\)"):
        rbp.forward(net, frames(), T=5, **how)
    with pytest.raises(InputError, match="T=0"):
        rbp.forward(net, x, T=0, **how)


@pytest.mark.parametrize(
    "make, shape, is_sequence",
    [
        (lambda: nn.Conv2d(2, 3, 3), (4, 2, 8, 8), False),
        (lambda: nn.Conv2d(2, 3, 3), (4, 4, 2, 8, 8), True),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.Conv1d(2, 3, 3)), (4, 4, 2), True),
        (lambda: nn.Conv1d(2, 3, 3), (4, 2, 8), False),
        (lambda: nn.Conv1d(2, 3, 3), (4, 4, 2, 8), True),
        (lambda: nn.Linear(8, 3), (4, 8), False),
        (lambda: nn.Linear(8, 3), (4, 5, 8), True),
        (lambda: nn.Linear(8, 3), (4, 1, 8), True),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), (4, 8, 8), False),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), (4, 1, 8, 8), False),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), (4, 5, 1, 8, 8), True),
        (lambda: nn.BatchNorm2d(3), (4, 4, 3, 8, 8), True),
    ],
)
def test_a_static_batch_is_told_from_a_sequence(
    make: Callable[[], nn.Module], shape: tuple[int, ...], is_sequence: bool
) -> None:
    net, x = nn.Sequential(make(), lif()), torch.randn(shape)
    assert as_sequence(net, x, 4).dim() == x.dim() + (not is_sequence)
    assert as_sequence(net, x[0].expand(x.shape), 4).dim() == x.dim()  # stride 0: a sequence


def test_where_nothing_tells_it_apart_it_asks() -> None:
    with pytest.raises(InputError, match=r"\(4, 2, 3, 3\).*x.expand\(T"):
        rbp.forward(nn.Sequential(lif()), torch.rand(4, 2, 3, 3), T=4)


def mixed() -> nn.Module:
    norm = nn.Sequential(nn.GroupNorm(2, 6), nn.MaxPool2d(2))
    body = [nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), lif(v_threshold=0.5), norm, nn.Conv2d(6, 6, 3)]
    end = [nn.BatchNorm2d(6), neuron.LIFNode(v_threshold=0.5), nn.Flatten(), nn.Linear(24, 5)]
    return nn.Sequential(*body, *end)


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_autocast_to_bfloat16_gives_bptts_gradients_at_one_step(step_mode: str) -> None:
    torch.manual_seed(0)
    net, x, gradients = mixed(), frames(1, 16), []
    for mode in (RATE, BPTT):
        with torch.autocast("cpu", torch.bfloat16):
            _, g = step(net, x, step_mode=step_mode, **mode)
            assert torch.is_autocast_enabled("cpu")
        gradients.append({k: v for k, v in g.items() if k not in ("0.bias", "3.0.bias", "4.bias")})
        assert all(v.dtype == torch.float32 for v in g.values())
    assert distance(*gradients) < 0.02  # without the biases ahead of a normalisation, which are truly 0


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_autocast_stays_near_float32_over_several_steps(step_mode: str) -> None:
    torch.manual_seed(0)
    net, x = mixed().eval(), frames(4, 16)
    y, _ = step(net, x, step_mode=step_mode)
    with torch.autocast("cpu", torch.bfloat16):
        y_low, g = step(net, x, step_mode=step_mode)
    assert float((y_low - y).norm() / y.norm()) < 0.1 and all(v.isfinite().all() for v in g.values())


@pytest.mark.parametrize("grad_mode, step_mode", MODES)
def test_a_network_of_bfloat16_weights(grad_mode: str, step_mode: str) -> None:
    torch.manual_seed(0)
    net = mixed().eval()
    y, _ = step(net, frames(), grad_mode=grad_mode, step_mode=step_mode)
    y_low, g = step(net.bfloat16(), frames().bfloat16(), grad_mode=grad_mode, step_mode=step_mode)
    assert float((y_low - y).norm() / y.norm()) < 0.1
    assert all(v.dtype == torch.bfloat16 and v.isfinite().all() for v in g.values())
