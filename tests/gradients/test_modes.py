"""`rbp.backward` in every gradient mode: what it adds to .grad, returns, leaves, and keeps in memory."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import rbp
from rbp.rate import InputError
from rbp.train.step.loss import tet
from tests.support import segments
from tests.support.networks import distance, small, snapshot, statistics
from tests.support.online import each_step, gradients, trained

ONLINE = ("sltt", "ottt")
LABELS = torch.arange(3) % 3
LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "cross-entropy": lambda y: F.cross_entropy(y, LABELS),
    "smoothed": lambda y: F.cross_entropy(y, LABELS, label_smoothing=0.2),
    "tet": lambda y: tet(y, LABELS, w=0.3, phi=0.5),
    "margin": lambda y: F.multi_margin_loss(y, LABELS),
    "weighted sum": lambda y: (y * torch.linspace(-1, 1, y.shape[1])).sum(),
}
# Neurons whose steps SpikingJelly computes in double precision as in single, and that have one leak.
LEAKY = ("soft", "soft, detached", "hard", "hard, detached", "decayed input", "IF", "PLIF", "complementary")


def wrapped() -> nn.Sequential:
    """A network of SpikingJelly's wrappers, in float64."""
    torch.manual_seed(0)
    body = [layer.Conv2d(2, 4, 3), layer.BatchNorm2d(4), neuron.ParametricLIFNode(v_threshold=0.3)]
    body += [layer.MaxPool2d(2), layer.Flatten(), layer.Dropout(0.2), layer.Linear(16, 8)]
    return nn.Sequential(*body, neuron.IFNode(v_threshold=0.5), layer.Linear(8, 3)).double()


@pytest.mark.parametrize("name", LEAKY)
def test_at_one_step_all_modes_are_bptt(name: str) -> None:
    net, x = segments.network(segments.NEURONS[name], nn.Dropout(0.3)), segments.frames(1)
    for loss in LOSSES.values():
        step, bptt = trained(net, x, loss, grad_mode="bptt")
        for mode in ("rate", *ONLINE):
            other, found = trained(net, x, loss, grad_mode=mode)
            assert distance(found, bptt) < 1e-9, mode
            torch.testing.assert_close((other.loss, other.y), (step.loss, step.y))


@pytest.mark.parametrize("mode", ("rate", *ONLINE))
def test_at_one_step_all_modes_are_bptt_with_spikingjellys_wrappers(mode: str) -> None:
    net, x = wrapped(), segments.frames(1)
    bptt, other = (
        trained(net, x, LOSSES["cross-entropy"], grad_mode=m, step_mode="s") for m in ("bptt", mode)
    )
    assert distance(other[1], bptt[1]) < 1e-9 and torch.equal(other[0].loss, bptt[0].loss)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", [*LEAKY, "KLIF", "CUBALIF", "plain module", "wrapped"])
def test_sltt_is_rate_mode_with_a_segment_a_step_uncoupled_and_the_loss_of_each(name: str, loss: str) -> None:
    def make() -> nn.Sequential:
        return wrapped() if name == "wrapped" else segments.network(segments.NEURONS[name], nn.Dropout(0.3))

    T = 4
    x, one, two = segments.frames(T), make(), make()
    how = {"step_mode": "s", "over": "steps", "segments": T, "coupled": False}
    rate, of_rate = trained(one, x, LOSSES[loss], grad_mode="rate", **how)
    sltt, of_sltt = trained(two, x, LOSSES[loss], grad_mode="sltt")
    assert distance(of_sltt, of_rate) < 1e-9
    torch.testing.assert_close((sltt.loss, sltt.y), (rate.loss, rate.y))
    torch.testing.assert_close(dict(one.named_buffers()), dict(two.named_buffers()))


@pytest.mark.parametrize("name", ["soft", "hard", "PLIF", "KLIF", "CUBALIF"])
def test_sltt_is_a_plain_loop_that_cuts_the_neurons_states(name: str) -> None:
    one, two = (segments.network(segments.NEURONS[name]) for _ in range(2))
    x, loss = segments.frames(5), LOSSES["cross-entropy"]
    step, found = trained(one, x, loss, grad_mode="sltt")
    expected = each_step(two, x, loss)
    assert distance(found, gradients(two)) < 1e-9
    torch.testing.assert_close(step.loss, expected)


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("loss", LOSSES)
def test_in_bptt_the_loss_over_steps_is_the_mean_of_a_plain_loops_losses(step_mode: str, loss: str) -> None:
    net, x = segments.network(segments.NEURONS["hard"]), segments.frames(4)
    step, found = trained(net, x, LOSSES[loss], grad_mode="bptt", step_mode=step_mode, over="steps")
    net.zero_grad()
    y_seq = rbp.forward(net, x, grad_mode="bptt", step_mode=step_mode, per_step=True)
    expected = torch.stack([LOSSES[loss](y) for y in y_seq]).mean()
    expected.backward()
    assert distance(found, gradients(net)) < 1e-12
    torch.testing.assert_close((step.loss, step.y), (expected.detach(), y_seq.mean(0).detach()))


@pytest.mark.parametrize("mode", ["bptt", "rate"])
def test_over_the_mean_it_is_forward_and_backward_to_a_bit(mode: str) -> None:
    net, x, loss = segments.network(segments.NEURONS["soft"]), segments.frames(3), LOSSES["cross-entropy"]
    step, found = trained(net, x, loss, grad_mode=mode, scale=0.37)
    net.zero_grad()
    torch.manual_seed(7)
    y = rbp.forward(net, x, grad_mode=mode)
    (loss(y) * 0.37).backward()
    assert all(torch.equal(found[name], g) for name, g in gradients(net).items())
    assert torch.equal(step.y, y) and torch.equal(step.loss, loss(y)) and not step.y.requires_grad


@pytest.mark.parametrize("mode", ["bptt", "rate", *ONLINE])
def test_gradients_are_added_and_scaled_and_the_loss_is_not(mode: str) -> None:
    net, x, loss = segments.network(segments.NEURONS["soft"]), segments.frames(3), LOSSES["tet"]
    net.eval()
    once, of_once = trained(net, x, loss, grad_mode=mode)
    twice = rbp.backward(net, x, loss, grad_mode=mode, scale=-3.0)
    assert distance(gradients(net), {name: -2 * g for name, g in of_once.items()}) < 1e-12
    assert torch.equal(twice.loss, once.loss) and once.loss.shape == ()


@pytest.mark.parametrize("mode", ["bptt", "rate", *ONLINE])
def test_outputs_may_have_more_axes(mode: str) -> None:
    """As of a network that classifies places: [B, places, K]."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), neuron.LIFNode(v_threshold=0.2), nn.Linear(6, 3)).double()
    x = torch.rand(4, 5, 7, 4).double()
    step, found = trained(net, x, lambda y: y.square().mean(), grad_mode=mode)
    assert step.y.shape == (5, 7, 3) and all(g.abs().sum() > 0 for g in found.values())
    if mode in ("bptt", "rate"):
        torch.testing.assert_close(step.loss, step.y.square().mean())


@pytest.mark.parametrize("mode", ONLINE)
def test_a_static_batch_is_shown_T_times(mode: str) -> None:
    net, x, loss = segments.network(segments.NEURONS["soft"]), segments.frames(1), LOSSES["margin"]
    shown = trained(net, x.expand(4, *x.shape[1:]), loss, grad_mode=mode)[1]
    assert distance(trained(net, x[0], loss, grad_mode=mode, T=4)[1], shown) == 0


# --- K of T steps -------------------------------------------------------------------------------------------

some = settings(max_examples=25, deadline=None, derandomize=True, database=None)


@some
@given(T=st.integers(1, 6), data=st.data(), seed=st.integers(0, 99), rescale=st.booleans())
def test_k_of_t_steps_are_drawn_and_the_loss_is_over_all(
    T: int, data: st.DataObject, seed: int, rescale: bool
) -> None:
    K = data.draw(st.integers(1, T))
    one, two = (segments.network(segments.NEURONS["soft, detached"]) for _ in range(2))
    x, loss = segments.frames(T), LOSSES["cross-entropy"]
    draws = torch.Generator().manual_seed(seed)
    steps = torch.randperm(T, generator=torch.Generator().manual_seed(seed))[:K].tolist()
    how = {"grad_mode": "sltt", "backprop_steps": K, "rescale": rescale, "generator": draws}
    step, found = trained(one, x, loss, **how)
    expected = each_step(two, x, loss, steps)
    factor = T / K if rescale else 1
    assert distance(found, {name: g * factor for name, g in gradients(two).items()}) < 1e-9
    torch.testing.assert_close(step.loss, expected)
    torch.testing.assert_close(dict(one.named_buffers()), dict(two.named_buffers()))  # of all T steps


def test_steps_are_drawn_anew_and_all_alike() -> None:
    """Without a generator, torch's global one says which: over many draws, each step is as likely."""
    from rbp.gradients.online.drawing import choice

    torch.manual_seed(0)
    chosen, counts = choice(2, False, None), torch.zeros(5)
    for _ in range(1000):
        drawn = list(chosen.steps(5))
        assert len(drawn) == 2
        counts[drawn] += 1
    assert (counts - 400).abs().max() < 60  # four standard deviations of 15.5


@pytest.mark.parametrize("mode", ONLINE)
def test_under_autocast_steps_without_a_graph_take_no_gradient_from_those_with_one(mode: str) -> None:
    """torch keeps weights that it has cast; one cast without a graph would have no gradient."""
    for seed in range(4):
        net = segments.network(segments.NEURONS["soft"]).float()
        draws = torch.Generator().manual_seed(seed)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            step, found = trained(
                net,
                segments.frames(4).float(),
                LOSSES["margin"],
                grad_mode=mode,
                backprop_steps=1,
                generator=draws,
            )
        assert step.y.dtype == step.loss.dtype == torch.float32
        assert {name for name, _ in net.named_parameters()} == found.keys()
        assert found["0.weight"].abs().sum() > 0


# --- memory, and what is left -------------------------------------------------------------------------------


def saved_at_once(net: nn.Module, x: Tensor, **how: Any) -> int:
    """The most bytes that autograd holds at once."""
    held = {"now": 0, "most": 0}

    class Holder:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor, self.size = tensor.detach(), tensor.numel() * tensor.element_size()
            held["now"] += self.size
            held["most"] = max(held.values())

        def __del__(self) -> None:
            held["now"] -= self.size

    with torch.autograd.graph.saved_tensors_hooks(Holder, lambda holder: holder.tensor):
        rbp.backward(net, x, lambda y: y.square().sum(), **how)
    return held["most"]


@pytest.mark.parametrize("mode", ONLINE)
@pytest.mark.parametrize("make", [lambda: segments.network(segments.NEURONS["hard"]), wrapped])
def test_memory_is_that_of_one_step_at_any_T(mode: str, make: Callable[[], nn.Module]) -> None:
    of_two, of_many = (saved_at_once(make(), segments.frames(T), grad_mode=mode) for T in (2, 64))
    assert of_two == of_many > 0
    grown = [saved_at_once(make(), segments.frames(T), grad_mode="bptt", step_mode="s") for T in (2, 8)]
    assert grown[1] > 3 * grown[0]


class Fails(nn.Module):
    """A last layer that raises at its n-th call."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.fc, self.left = nn.Linear(24, 5), at

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            raise KeyError("on purpose")
        return self.fc(x)


@pytest.mark.parametrize("mode", ["bptt", "rate", *ONLINE])
@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_left_as_it_was(mode: str, fails: bool) -> None:
    net, x = small(Fails(2 if mode in ONLINE else 1) if fails else None), torch.rand(3, 4, 2, 8, 8)
    net[2].step_mode = "m"  # type: ignore[assignment]
    net[1].eval()
    before = snapshot(net)
    if fails:
        with pytest.raises(KeyError, match="on purpose"):
            rbp.backward(net, x, lambda y: y.square().mean(), grad_mode=mode, step_mode="s", layout="step")
    else:
        rbp.backward(net, x, lambda y: y.square().mean(), grad_mode=mode, step_mode="s", layout="step")
    after = snapshot(net)
    assert after == before


@pytest.mark.parametrize("mode", ONLINE)
def test_weights_computed_from_others_are_computed_once(mode: str) -> None:
    """Spectral norm makes a power iteration at every read: as in BPTT, one a call, whatever T."""
    nets = []
    for T in (1, 4):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(2, 4, 3), neuron.LIFNode(v_threshold=0.3), nn.Flatten(), nn.Linear(64, 3)
        )
        nn.utils.parametrizations.spectral_norm(net[0])
        nn.utils.parametrizations.weight_norm(net[3])
        _, found = trained(net, torch.rand(T, 3, 2, 6, 6), LOSSES["cross-entropy"], grad_mode=mode)
        assert all(g.abs().sum() > 0 for g in found.values()) and len(found) == 5
        nets.append(statistics(net))
    assert nets[0] == nets[1]


class Remembers(nn.Module):
    """Adds to its input a learnt share of its last output: a state of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.share, self.last = nn.Parameter(torch.tensor(0.5)), torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        self.last = x + self.share * self.last
        return self.last


@pytest.mark.parametrize("mode", ONLINE)
def test_states_of_the_users_own_are_cut_too(mode: str) -> None:
    torch.manual_seed(0)
    remembers = Remembers()
    net = nn.Sequential(nn.Linear(4, 6), remembers, neuron.LIFNode(v_threshold=0.2), nn.Linear(6, 3)).double()
    x = torch.rand(3, 3, 4).double()
    _, found = trained(net, x, LOSSES["cross-entropy"], grad_mode=mode, layout="step")
    assert not remembers.last.requires_grad and type(remembers.last) is Tensor
    assert all(g.abs().sum() > 0 for g in found.values())


# --- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"grad_mode": "stbp"}, "grad_mode='stbp': one of 'bptt', 'rate', 'sltt', 'ottt'"),
        ({"grad_mode": "bptt", "over": "time"}, "over='time': 'mean' .* or 'steps'"),
        ({"grad_mode": "sltt", "step_mode": "m"}, "step_mode='m' with grad_mode='sltt': .* say 's'"),
        ({"grad_mode": "ottt", "over": "mean"}, "over='mean' with grad_mode='ottt': .* say 'steps'"),
        ({"grad_mode": "sltt", "segments": 2}, "segments=2 with grad_mode='sltt': .* leave segments out"),
        ({"grad_mode": "ottt", "coupled": False}, "coupled=False with grad_mode='ottt'"),
        (
            {"grad_mode": "rate", "backprop_steps": 2},
            "backprop_steps=2 with grad_mode='rate': .* leave it out",
        ),
        ({"grad_mode": "bptt", "rescale": True}, "rescale=True with grad_mode='bptt'"),
        ({"grad_mode": "sltt", "backprop_steps": 0}, "backprop_steps=0: a whole number from 1 to T"),
        ({"grad_mode": "sltt", "backprop_steps": 4}, "backprop_steps=4: a whole number from 1 to T=3"),
        ({"grad_mode": "sltt", "backprop_steps": True}, "backprop_steps=True: a whole number"),
        ({"grad_mode": "sltt", "rescale": True}, "rescale=True without backprop_steps"),
        ({"grad_mode": "sltt", "step_mode": "x"}, "step_mode='x'"),
        ({"grad_mode": "sltt", "layout": "static"}, "use grad_mode='rate' or 'bptt' with step_mode='m'"),
        ({"grad_mode": "sltt", "T": 5}, "T=5, but x_seq has 3 steps"),
    ],
)
def test_a_wrong_argument_is_named_and_nothing_is_done(how: dict[str, Any], told: str) -> None:
    net = small()
    with pytest.raises(InputError, match=told):
        rbp.backward(net, torch.rand(3, 4, 2, 8, 8), lambda y: y.sum(), **how)
    assert not gradients(net) and not statistics(net)["1.num_batches_tracked"]


@pytest.mark.parametrize("mode", ["bptt", "rate", *ONLINE])
@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (lambda y: y.sum(1), r"loss returned of shape \(4,\): a scalar tensor is needed"),
        (lambda y: y.sum().item(), "loss returned 'float': a scalar"),
        (lambda y: y.detach().sum(), "without a gradient"),
        (lambda y: None, "loss returned 'NoneType'"),
    ],
)
def test_a_loss_that_is_no_scalar_is_refused(mode: str, loss: Any, told: str) -> None:
    net = small()
    with pytest.raises(InputError, match=told):
        rbp.backward(net, torch.rand(3, 4, 2, 8, 8), loss, grad_mode=mode)
    assert not gradients(net)


@pytest.mark.parametrize("mode", ONLINE)
def test_a_network_that_takes_no_single_steps_is_told_what_goes_instead(mode: str) -> None:
    class Mean(nn.Module):
        def forward(self, y_seq: Tensor) -> Tensor:
            return y_seq.mean(0)

    net = nn.Sequential(layer.Linear(4, 6), neuron.GatedLIFNode(T=3), layer.Linear(6, 3))
    for unfit in (net, nn.Sequential(layer.Linear(4, 6), neuron.LIFNode(), layer.Linear(6, 3), Mean())):
        with pytest.raises(
            InputError, match=f"grad_mode='{mode}' goes step by step, .* use grad_mode='rate'"
        ):
            rbp.backward(unfit, torch.rand(3, 2, 4), lambda y: y.sum(), grad_mode=mode, layout="step")


def test_ranks_that_would_each_draw_their_own_steps_are_refused() -> None:
    wrapped_net = DistributedDataParallel.__new__(DistributedDataParallel)  # without a process group
    nn.Module.__init__(wrapped_net)
    wrapped_net.module = small()
    with pytest.raises(InputError, match=r"backprop_steps=2 .* the same steps; pass a generator"):
        rbp.backward(
            wrapped_net, torch.rand(3, 4, 2, 8, 8), lambda y: y.sum(), grad_mode="sltt", backprop_steps=2
        )


def test_without_gradients_there_is_no_backward() -> None:
    with torch.no_grad(), pytest.raises(InputError, match=r"within torch\.no_grad"):
        rbp.backward(small(), torch.rand(3, 4, 2, 8, 8), lambda y: y.sum(), grad_mode="sltt")


def test_forward_refers_the_online_modes_to_backward() -> None:
    with pytest.raises(InputError, match=r"grad_mode='ottt': .* use rbp\.backward"):
        rbp.forward(small(), torch.rand(3, 4, 2, 8, 8), grad_mode="ottt")
