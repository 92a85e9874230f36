"""The call: what it returns, what it leaves as it was, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import base, functional, layer, neuron
from torch import nn

import rbp
from rbp.rate.errors import InputError, NoRuleError
from rbp.rate.linear import ConvRule
from tests.rate.nets import BPTT, RATE, distance, lif, step

MODES = [(g, s) for g in ("bptt", "rate") for s in ("m", "s")]


def small(last: nn.Module | None = None) -> nn.Sequential:
    body = [nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), lif(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3)]
    end = [nn.BatchNorm2d(6), neuron.LIFNode(v_threshold=0.2), nn.Flatten(), last or nn.Linear(24, 5)]
    return nn.Sequential(*body, *end)


def frames(T: int = 3, B: int = 4) -> torch.Tensor:
    return torch.randn(T, B, 2, 8, 8, generator=torch.Generator().manual_seed(0))


# ---------------------------------------------------------------- what it returns


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_per_step_gives_the_same_outputs_in_both_gradient_modes_and_their_mean_is_the_output(step_mode):
    torch.manual_seed(0)
    net, x = small(), frames()
    how = {"step_mode": step_mode}
    by_step = [rbp.forward(net, x, per_step=True, **how, **mode) for mode in (BPTT, RATE)]
    assert by_step[0].shape == (3, 4, 5)
    torch.testing.assert_close(by_step[0], by_step[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(by_step[1].mean(0), rbp.forward(net, x, **how), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_a_loss_at_every_step_reaches_the_rate_by_the_sum_of_its_gradients(step_mode):
    """TET: dL/dr is the sum over t of dL_t/dy_t, here for a loss linear in y worked out by hand."""
    torch.manual_seed(0)
    net, x = small().eval(), frames()
    weights = torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1)
    (rbp.forward(net, x, step_mode=step_mode, per_step=True) * weights).sum().backward()
    by_step = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    (rbp.forward(net, x, step_mode=step_mode) * 7).sum().backward()
    for a, p in zip(by_step, net.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grad_mode, step_mode", MODES)
def test_t_shows_a_static_batch_and_checks_a_sequence(grad_mode, step_mode):
    torch.manual_seed(0)
    net, how = small().eval(), {"grad_mode": grad_mode, "step_mode": step_mode}
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
    "net, shape, is_sequence",
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
def test_a_static_batch_is_told_from_a_sequence(net, shape, is_sequence):
    net, x = nn.Sequential(net(), lif()), torch.randn(shape)
    assert rbp.rate.timeaxis.as_sequence(net, x, 4).dim() == x.dim() + (not is_sequence)
    assert (
        rbp.rate.timeaxis.as_sequence(net, x[0].expand(x.shape), 4).dim() == x.dim()
    )  # stride 0: a sequence


def test_where_nothing_tells_it_apart_it_asks():
    with pytest.raises(InputError, match=r"\(4, 2, 3, 3\).*x.expand\(T"):
        rbp.forward(nn.Sequential(lif()), torch.rand(4, 2, 3, 3), T=4)


# ---------------------------------------------------------------- what it leaves as it was


def snapshot(net: nn.Module) -> dict:
    """All that a call may not change, in comparable form; tensors by identity and version."""
    modules = dict(net.named_modules())
    return {
        "grad": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "training": {k: m.training for k, m in modules.items()},
        "step modes": {k: getattr(m, "step_mode", None) for k, m in modules.items()},
        "attributes": {k: sorted(m.__dict__) for k, m in modules.items()},
        "hooks": {k: list(m._forward_hooks) + list(m._forward_pre_hooks) for k, m in modules.items()},
        "children": {k: [id(c) for c in m.children()] for k, m in modules.items()},
        "memories": {k: repr(m._memories) for k, m in modules.items() if isinstance(m, base.MemoryModule)},
        "parameters": {k: (id(p), p._version, p.requires_grad) for k, p in net.named_parameters()},
    }


def statistics(net: nn.Module) -> dict:
    return {k: b.tolist() for k, b in net.named_buffers()}


class Fails(nn.Module):
    """A last layer that raises at its n-th call."""

    def __init__(self, error: type[BaseException], at: int) -> None:
        super().__init__()
        self.fc, self.error, self.left = nn.Linear(24, 5), error, at

    def forward(self, x):
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
def test_a_call_leaves_everything_as_it_was(grad_mode, step_mode, grads):
    net = prepared()
    before = snapshot(net)
    for _ in range(2):
        with torch.set_grad_enabled(grads):
            rbp.forward(net, frames(), grad_mode=grad_mode, step_mode=step_mode)
    assert snapshot(net) == before


@pytest.mark.parametrize("grad_mode, step_mode", MODES)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("at", [1, 2])
def test_also_after_an_exception_and_the_next_call_is_right(grad_mode, step_mode, error, at):
    if at == 2 and step_mode == "m":
        pytest.skip("step mode m calls a layer once")
    torch.manual_seed(0)
    net = prepared(Fails(error, at))
    before = snapshot(net)
    how = {"grad_mode": grad_mode, "step_mode": step_mode}
    with torch.autocast("cpu", enabled=False), torch.enable_grad(), pytest.raises(error, match="on purpose"):
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
def test_a_refused_layer_leaves_the_running_statistics_alone(step_mode):
    """Those of the layers before it, which have run by then."""
    net = small(nn.Sequential(nn.Linear(24, 5), nn.ReLU()))
    before = snapshot(net), statistics(net)
    with pytest.raises(NoRuleError):
        rbp.forward(net, frames(), step_mode=step_mode)
    assert (snapshot(net), statistics(net)) == before


def test_neurons_start_at_rest_whatever_a_caller_left_in_them():
    torch.manual_seed(0)
    net, x = small().eval(), frames()
    y = rbp.forward(net, x)
    net(x[0])  # a step by hand leaves membrane potentials behind
    for mode in (RATE, BPTT):
        torch.testing.assert_close(rbp.forward(net, x, **mode), y, rtol=1e-4, atol=1e-5)
    assert isinstance(net[2].v, float)


def test_hooks_run_and_see_pairs_of_spikes_and_rate():
    seen, net = [], small()
    net[4].register_forward_hook(lambda module, inputs, output: seen.append(output))
    rbp.forward(net, frames())
    (pair,) = seen
    assert pair.shape == (4, 6, 2, 2) and pair.spikes.shape == (3, 4, 6, 2, 2)
    torch.testing.assert_close(pair.rate, pair.spikes.mean(0))


class CountedRule(ConvRule):
    calls = 0

    def rate(self, *args):
        CountedRule.calls += 1
        return super().rate(*args)


class CountedConv(nn.Conv2d):
    pass


rbp.rate.register(CountedRule(), CountedConv)


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_without_gradients_no_rate_is_computed_and_in_eval_with_gradients_it_is(step_mode):
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
def test_two_forward_passes_before_one_backward(grad_mode, step_mode):
    torch.manual_seed(0)
    net, how = small().eval(), {"grad_mode": grad_mode, "step_mode": step_mode}
    xs = [frames(), -frames(2)]
    sum(rbp.forward(net, x, **how).square().sum() for x in xs).backward()
    together = {k: p.grad.clone() for k, p in net.named_parameters()}
    net.zero_grad()
    for x in xs:
        rbp.forward(net, x, **how).square().sum().backward()
    assert distance(together, {k: p.grad for k, p in net.named_parameters()}) < 1e-5


# ---------------------------------------------------------------- precision


def mixed() -> nn.Module:
    norm = nn.Sequential(nn.GroupNorm(2, 6), nn.MaxPool2d(2))
    body = [nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), lif(v_threshold=0.5), norm, nn.Conv2d(6, 6, 3)]
    end = [nn.BatchNorm2d(6), neuron.LIFNode(v_threshold=0.5), nn.Flatten(), nn.Linear(24, 5)]
    return nn.Sequential(*body, *end)


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_autocast_to_bfloat16_gives_bptts_gradients_at_one_step(step_mode):
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
def test_autocast_stays_near_float32_over_several_steps(step_mode):
    torch.manual_seed(0)
    net, x = mixed().eval(), frames(4, 16)
    y, _ = step(net, x, step_mode=step_mode)
    with torch.autocast("cpu", torch.bfloat16):
        y_low, g = step(net, x, step_mode=step_mode)
    assert float((y_low - y).norm() / y.norm()) < 0.1 and all(v.isfinite().all() for v in g.values())


@pytest.mark.parametrize("grad_mode, step_mode", MODES)
def test_a_network_of_bfloat16_weights(grad_mode, step_mode):
    torch.manual_seed(0)
    net = mixed().eval()
    y, _ = step(net, frames(), grad_mode=grad_mode, step_mode=step_mode)
    y_low, g = step(net.bfloat16(), frames().bfloat16(), grad_mode=grad_mode, step_mode=step_mode)
    assert float((y_low - y).norm() / y.norm()) < 0.1
    assert all(v.dtype == torch.bfloat16 and v.isfinite().all() for v in g.values())


# ---------------------------------------------------------------- what it refuses


class Squares(nn.Module):
    def forward(self, x):
        return x**2


class Compares(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Equals(nn.Module):
    def forward(self, x):
        return x * (x == 0)


class Writes(nn.Module):
    def forward(self, x):
        x[:, 0] = 0
        return x


class MeanOverTime(nn.Module):
    """Written for [T, B, ...], with a time mean of its own before its head."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = layer.Linear(8, 8, step_mode="m"), neuron.LIFNode(v_threshold=0.3, step_mode="m")
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.lif(self.fc(x[..., 0, 0, :])).mean(0))


class SumOverTime(MeanOverTime):
    def forward(self, x):
        return self.head(torch.sum(self.lif(self.fc(x[..., 0, 0, :])), dim=0) / len(x))


class Cuts(MeanOverTime):
    def forward(self, x):
        return self.head(self.lif(self.fc(x[..., 0, 0, :])))[1:]


class Transposes(MeanOverTime):
    def forward(self, x):
        return self.lif(self.fc(x.transpose(0, 1))).transpose(0, 1)


class LastStep(MeanOverTime):
    def forward(self, x):
        return self.head(self.lif(self.fc(x))[-1])


@pytest.mark.parametrize("net", [Transposes, LastStep])
def test_an_operation_on_the_time_axis_is_refused(net):
    with pytest.raises(NoRuleError, match=r"the network \(.*(transpose|__getitem__).* the time axis"):
        rbp.forward(net(), frames())


@pytest.mark.parametrize("net", [MeanOverTime, SumOverTime])
def test_a_network_may_take_the_time_mean_itself(net):
    torch.manual_seed(0)
    network, x = net(), frames(1)[0].expand(3, 4, 2, 8, 8)
    (y, gradients), (y_bptt, by_bptt) = (step(network, x, **how) for how in (RATE, BPTT))
    assert y.shape == (4, 5)
    torch.testing.assert_close(y, y_bptt, rtol=1e-4, atol=1e-5)
    assert distance(gradients, by_bptt) < 1e-5


class TwoOutputs(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize(
    "module, operation",
    [
        (nn.ReLU(inplace=True), "relu_? does not commute"),
        (nn.Softmax(dim=1), "softmax does not commute"),
        (Squares(), "pow.* does not commute"),
        (Compares(), "__gt__ does not commute"),
        (Equals(), "__eq__ does not commute"),
        (Writes(), "__setitem__ does not commute"),
        (layer.SynapseFilter(), "keeps a state from step to step"),
        (nn.MaxPool3d(2), "max_pool3d.* does not commute"),
        (nn.InstanceNorm1d(1), "instance_norm does not commute"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_has_no_rule_names_its_path_type_and_the_way_to_register_one(module, operation, step_mode):
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
        (lambda: nn.Sequential(small(), TwoOutputs()), frames(), {}, "returned tuple"),
        (lambda: nn.Sequential(small(), TwoOutputs()), frames(), BPTT, "returned tuple"),
        (lambda: nn.Sequential(small(), TwoOutputs()), frames(), BPTT | {"step_mode": "s"}, "returned tuple"),
        (lambda: torch.compile(small()), frames(), {}, "compiled by torch.compile"),
        (lambda: layer.MultiStepContainer(small()), frames(), {"step_mode": "s"}, "all time steps at once"),
        (lambda: Cuts(), frames(), BPTT, r"returned shape \(2, 4, 5\): \[T=3, B=4, ...\] is needed"),
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
def test_bad_input_is_one_clear_error_and_changes_nothing(net, x, how, message):
    net = net()
    before = snapshot(net)
    with pytest.raises(InputError, match=message):
        rbp.forward(net, x, **how)
    assert snapshot(net) == before


def test_bptt_needs_neither_rules_nor_neurons():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(8, 8), nn.GELU(), Squares(), nn.Softmax(-1)), torch.rand(3, 4, 8)
    for step_mode in "ms":
        y = rbp.forward(net, x, grad_mode="bptt", step_mode=step_mode)
        torch.testing.assert_close(y, F.softmax(F.gelu(net[0](x)) ** 2, -1).mean(0))
