"""What the call leaves as it was: everything but the neurons, which are at rest; also when it fails."""

from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

import rbp
from rbp.rate.errors import InputError, NoRuleError
from rbp.rate.rules.weighted import ConvRule
from tests.support.networks import (
    BPTT,
    MODES,
    RATE,
    distance,
    frames,
    gradients_of,
    small,
    snapshot,
    statistics,
    step,
)


class Fails(nn.Module):
    """A last layer that raises at its n-th call."""

    def __init__(self, error: type[BaseException], at: int) -> None:
        super().__init__()
        self.fc, self.error, self.left = nn.Linear(24, 5), error, at

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            raise self.error("on purpose")
        return self.fc(x)


def prepared(last: nn.Module | None = None) -> nn.Sequential:
    """A network in an unusual state: a layer in eval, mixed step modes, a hook."""
    net = small(last)
    net[1].eval()
    functional.set_step_mode(net[2], "m")
    net[4].register_forward_hook(lambda *_: None)
    return net


@pytest.mark.parametrize("grad_mode, step_mode", MODES)
@pytest.mark.parametrize("grads", [True, False])
def test_a_call_leaves_everything_as_it_was(grad_mode: str, step_mode: str, grads: bool) -> None:
    net = prepared()
    before = snapshot(net)
    for _ in range(2):
        with torch.set_grad_enabled(grads):
            rbp.forward(net, frames(), grad_mode=grad_mode, step_mode=step_mode)
    assert snapshot(net) == before


@pytest.mark.parametrize("grad_mode, step_mode", MODES)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("at", [1, 2])
def test_also_after_an_exception_and_the_next_call_is_right(
    grad_mode: str, step_mode: str, error: type[BaseException], at: int
) -> None:
    if at == 2 and step_mode == "m":
        pytest.skip("step mode m calls a layer once")
    torch.manual_seed(0)
    net: Any = prepared(Fails(error, at))
    before = snapshot(net)
    how: dict[str, Any] = {"grad_mode": grad_mode, "step_mode": step_mode}
    with (
        torch.autocast("cpu", enabled=False),
        torch.enable_grad(),
        pytest.raises((error, InputError), match="on purpose"),
    ):
        rbp.forward(net, frames(), **how)
    del net[8].left  # as it was before
    net[8].left = 0
    assert snapshot(net) == before
    torch.manual_seed(0)
    fresh = prepared(Fails(error, 0))
    fresh.load_state_dict(net.state_dict())
    y, gradients = step(net, frames(), **how)
    y_fresh, of_fresh = step(fresh, frames(), **how)
    torch.testing.assert_close(y, y_fresh)
    assert distance(gradients, of_fresh) < 1e-6


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_a_refused_layer_leaves_the_running_statistics_alone(step_mode: str) -> None:
    """Those of the layers before it, which have run by then."""
    net = small(nn.Sequential(nn.Linear(24, 5), nn.ReLU()))
    before = snapshot(net), statistics(net)
    with pytest.raises(NoRuleError):
        rbp.forward(net, frames(), step_mode=step_mode)
    assert (snapshot(net), statistics(net)) == before


def test_neurons_start_at_rest_whatever_a_caller_left_in_them() -> None:
    torch.manual_seed(0)
    net, x = small().eval(), frames()
    y = rbp.forward(net, x)
    net(x[0])  # a step by hand leaves membrane potentials behind
    for mode in (RATE, BPTT):
        torch.testing.assert_close(rbp.forward(net, x, **mode), y, rtol=1e-4, atol=1e-5)
    assert isinstance(net[2].v, float)


def test_hooks_run_and_see_pairs_of_spikes_and_rate() -> None:
    seen, net = [], small()
    net[4].register_forward_hook(lambda module, inputs, output: seen.append(output))
    rbp.forward(net, frames())
    (pair,) = seen
    assert pair.shape == (4, 6, 2, 2) and pair.spikes.shape == (3, 4, 6, 2, 2)
    torch.testing.assert_close(pair.rate, pair.spikes.mean(0))


class CountedRule(ConvRule):
    calls = 0

    def rate(self, *args: Any) -> Any:
        CountedRule.calls += 1
        return super().rate(*args)


class CountedConv(nn.Conv2d):
    pass


rbp.rate.register(CountedRule(), CountedConv)


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_without_gradients_no_rate_is_computed_and_in_eval_with_gradients_it_is(step_mode: str) -> None:
    torch.manual_seed(0)
    net, x = small(), frames()
    net[4] = CountedConv(6, 6, 3)
    net.eval()
    CountedRule.calls = 0
    with torch.no_grad():
        y = rbp.forward(net, x, step_mode=step_mode)
    assert CountedRule.calls == 0 and not y.requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(rbp.forward(net, x, step_mode=step_mode), y)
    y_eval, gradients = step(net, x, step_mode=step_mode)
    assert CountedRule.calls == 1 and all(g.abs().sum() > 0 for g in gradients.values())
    torch.testing.assert_close(y_eval, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grad_mode, step_mode", MODES)
def test_two_forward_passes_before_one_backward(grad_mode: str, step_mode: str) -> None:
    torch.manual_seed(0)
    net = small().eval()
    how: dict[str, Any] = {"grad_mode": grad_mode, "step_mode": step_mode}
    xs = [frames(), -frames(2)]
    sum((rbp.forward(net, x, **how).square().sum() for x in xs), torch.zeros(())).backward()
    together = {k: grad.clone() for k, grad in gradients_of(net).items()}
    net.zero_grad()
    for x in xs:
        rbp.forward(net, x, **how).square().sum().backward()
    assert distance(together, gradients_of(net)) < 1e-5
