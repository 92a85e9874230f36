"""One test for each defect of the published code, 1 to 7, that shows that it is not here.

(1) mode s keeps the last step's statistics and adds eps twice, (2) mode s with frames feeds the last frame,
(3) soft detached resets and one surrogate only, (4) the grad mode switched in hooks, (5) a forward without a
backward breaks the next step, (6) the loss divided by T, (7) evaluation freezes running statistics, BatchNorm
twice, SyncBatchNorm.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import neuron, surrogate
from torch import nn

import rbp
from tests.support.networks import BPTT, RATE, distance, frames, lif, step

S: dict[str, Any] = {"step_mode": "s"}


def network() -> nn.Module:
    body = [nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), lif(v_threshold=0.5), nn.Flatten(), nn.Linear(216, 5)]
    return nn.Sequential(*body)


def test_1_mode_s_averages_the_statistics_of_all_steps_and_adds_eps_once() -> None:
    """The gradient by the input of a BatchNorm, worked out from the steps' statistics; eps is made to
    matter."""
    torch.manual_seed(0)
    norm, eps, T = nn.BatchNorm1d(6, eps=0.3), 0.3, 4
    net: Any = nn.Sequential(nn.Identity(), norm, nn.Identity())
    net.aside = lif()  # reached by nothing, so that the gradient at the norm's output is known
    net.forward = lambda x: norm(x) if net.aside(x) is not None else x
    x = torch.randn(T, 32, 6, dtype=torch.float64) * torch.arange(1, T + 1).view(T, 1, 1)
    x = x.requires_grad_()
    weights = torch.randn(32, 6, dtype=torch.float64)
    (rbp.forward(net.double(), x, **S) * weights).sum().backward()
    with torch.no_grad():
        mean = x.mean((0, 1))
        invstd = (1 / (x.var(1, correction=0) + eps)).mean(0).sqrt()
        xhat = (x.mean(0) - mean) * invstd
        dx = invstd * (weights - weights.mean(0) - xhat * (weights * xhat).mean(0)) / T
    torch.testing.assert_close(x.grad, dx.expand_as(x))


def test_2_mode_s_with_frames_uses_the_mean_frame() -> None:
    """The first layer's gradient is that of the mean frame: without BatchNorm, mode s is mode m."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(128, 16), lif(v_threshold=0.3), nn.Linear(16, 5))
    _, in_s = step(net, frames(4, 8), **S)
    _, in_m = step(net, frames(4, 8))
    assert distance(in_s, in_m) < 1e-5
    _, of_last = step(net, frames(4, 8)[-1:].expand(4, 8, 2, 8, 8), **S)
    assert distance(in_s, of_last) > 0.1


@pytest.mark.parametrize("v_reset, detached", [(None, False), (0.0, True), (0.0, False)])
@pytest.mark.parametrize("function", [surrogate.ATan(), surrogate.PiecewiseQuadratic()])
def test_3_every_reset_and_surrogate_has_its_own_gradient(
    v_reset: float | None, detached: bool, function: nn.Module
) -> None:
    torch.manual_seed(0)
    node = neuron.LIFNode(1.5, False, 0.5, v_reset, function, detached)
    net = nn.Sequential(nn.Flatten(), nn.Linear(128, 16), node, nn.Linear(16, 5))
    net, x = net.double(), frames(1, 8)[0].double().expand(5, 8, 2, 8, 8)
    assert distance(step(net, x, **RATE)[1], step(net, x, **BPTT)[1]) < 1e-10
    sigmoid = neuron.LIFNode(1.5, False, 0.5, None, surrogate.Sigmoid(4.0), True)
    other = nn.Sequential(*net[:2], sigmoid, net[3])
    assert distance(step(net, x)[1], step(other, x)[1]) > 0.01


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_4_the_callers_grad_mode_survives_exceptions_and_no_grad(step_mode: str) -> None:
    net: Any = network()
    net[4] = nn.Linear(7, 5)  # does not fit
    for grads in (True, False):
        with torch.set_grad_enabled(grads):
            with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
                rbp.forward(net, frames(4, 8), step_mode=step_mode)
            assert torch.is_grad_enabled() is grads
            assert not rbp.forward(network(), frames(4, 8), step_mode=step_mode).requires_grad or grads
            assert torch.is_grad_enabled() is grads


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_5_a_forward_without_a_backward_does_not_disturb_the_next_step(step_mode: str) -> None:
    torch.manual_seed(0)
    net = network().eval()
    _, alone = step(net, frames(4, 8), step_mode=step_mode)
    rbp.forward(net, frames(3, 8), step_mode=step_mode)
    _, after = step(net, frames(4, 8), step_mode=step_mode)
    assert all(p.grad is not None for p in net.parameters())
    assert distance(after, alone) < 1e-6


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_6_both_gradient_modes_have_the_same_scale(step_mode: str) -> None:
    """At any T: with one spiking layer and a static input the gradients are equal, not T times each other."""
    torch.manual_seed(0)
    net, x = network(), frames(1, 8)[0]
    for T in (1, 4, 7):
        _, by_rate = step(net, x, T=T, step_mode=step_mode, **RATE)
        _, by_bptt = step(net, x, T=T, step_mode=step_mode, **BPTT)
        del by_rate["0.bias"], by_bptt["0.bias"]  # ahead of a normalisation: truly 0
        assert distance(by_rate, by_bptt) < 1e-4


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_7_running_statistics_are_those_of_bptt_and_move_after_an_evaluation_with_gradients(
    step_mode: str,
) -> None:
    by_mode = {}
    for mode in ("bptt", "rate"):
        torch.manual_seed(0)
        net: Any = network()
        step(net.eval(), frames(4, 8), step_mode=step_mode, grad_mode=mode)
        assert net[1].num_batches_tracked == 0 and net[1].running_mean.abs().sum() == 0
        step(net.train(), frames(4, 8), step_mode=step_mode, grad_mode=mode)
        assert net[1].num_batches_tracked == (1 if step_mode == "m" else 4)  # once a step, not twice
        by_mode[mode] = net[1].running_mean.clone(), net[1].running_var.clone()
    torch.testing.assert_close(by_mode["rate"], by_mode["bptt"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("mode", ["bptt", "rate"])
def test_7_sync_batch_norm_in_one_process_is_batch_norm(step_mode: str, mode: str) -> None:
    torch.manual_seed(0)
    net: Any = network()
    y, gradients = step(net, frames(4, 8), step_mode=step_mode, grad_mode=mode)
    torch.manual_seed(0)
    synchronised: Any = nn.SyncBatchNorm.convert_sync_batchnorm(network())
    y_sync, of_sync = step(synchronised, frames(4, 8), step_mode=step_mode, grad_mode=mode)
    torch.testing.assert_close(y_sync, y)
    assert distance(of_sync, gradients) < 1e-6
    torch.testing.assert_close(synchronised[1].running_var, net[1].running_var)


def test_6_the_loss_of_a_training_step_is_not_divided_by_t() -> None:
    net = network().eval()
    y = rbp.forward(net, frames(4, 8))
    expected = rbp.forward(net, frames(4, 8), grad_mode="bptt")
    labels = torch.arange(8) % 5
    torch.testing.assert_close(
        F.cross_entropy(y, labels), F.cross_entropy(expected, labels), rtol=1e-4, atol=1e-5
    )
