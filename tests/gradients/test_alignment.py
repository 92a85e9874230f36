"""How far a mode's gradients are from BPTT's: what is measured, on what, and what it leaves as it was."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from rbp.alignment import ALL
from rbp.gradients.alignment import FEWEST, Alignment, measure
from rbp.gradients.alignment.compare import compare
from rbp.rate import InputError
from rbp.rate.neurons import compiled
from tests.support.networks import lif, small, snapshot, statistics
from tests.support.segments import NEURONS, network

RATE: dict[str, dict[str, Any]] = {"rate": {"grad_mode": "rate"}}
ONLINE: dict[str, dict[str, Any]] = {name: {"grad_mode": name} for name in ("sltt", "ottt")}
Batches = list[tuple[Tensor, Callable[[Tensor], Tensor]]]


def batches(T: int, *shape: int, n: int = FEWEST, dtype: torch.dtype = torch.float64) -> Batches:
    """Moving inputs [T, 4, ...] with labels, each batch different."""
    draw = torch.Generator().manual_seed(0)
    found: Batches = []
    for _ in range(n):
        x = torch.randn(T, 4, *shape, generator=draw, dtype=dtype) * 2
        found.append((x, partial(F.cross_entropy, target=torch.randint(0, 3, (4,), generator=draw))))
    return found


def segments(*counts: int) -> dict[str, dict[str, Any]]:
    return {f"k={k}": {"grad_mode": "rate", "segments": k} for k in counts}


# --- an independent reference -------------------------------------------------------------------------------


def two_layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), lif(), nn.Linear(16, 3)).double()


def by_hand(net: nn.Sequential, x_seq: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[dict, dict]:
    """The gradients of BPTT and of Rate-BP: one loop over the steps, and the paper's equations.

    Along a shift of a neuron's input that is the same at all steps, its firing rate changes by the
    eligibility E. Rate-BP sends the gradient of the rate through the last layer and E, and knows the input
    by its mean.
    """
    functional.reset_net(net)
    first, spiking, last = net
    weight: Tensor = last.weight  # type: ignore[assignment]
    shift = torch.zeros(x_seq.shape[1], 16, dtype=x_seq.dtype, requires_grad=True)
    spikes = torch.stack([spiking(first(x) + shift) for x in x_seq])
    functional.reset_net(net)
    y = torch.stack([last(s) for s in spikes]).mean(0)
    exact = dict(zip(dict(net.named_parameters()), autograd(loss(y), list(net.parameters())), strict=True))
    rate = spikes.mean(0)
    (eligibility,) = autograd(rate.sum(), [shift])
    g = torch.autograd.grad(loss(out := y.detach().requires_grad_()), out)[0]
    hidden = (g @ weight) * eligibility
    by_rate = {"0.weight": hidden.T @ x_seq.mean(0), "0.bias": hidden.sum(0)}
    return exact, {k: v.detach() for k, v in (by_rate | {"2.weight": g.T @ rate, "2.bias": g.sum(0)}).items()}


def autograd(value: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, inputs, retain_graph=True)


def cosine(a: dict[str, Tensor], b: dict[str, Tensor], *names: str) -> float:
    return float(F.cosine_similarity(together(a, names), together(b, names), dim=0))


def together(gradients: dict[str, Tensor], names: tuple[str, ...]) -> Tensor:
    return torch.cat([gradients[name].flatten() for name in names])


def test_cosines_norms_and_the_noise_floor_are_those_of_a_plain_loop_and_the_papers_equations() -> None:
    net, given = two_layers(), batches(5, 6)
    found = measure(net, given, RATE)
    both = [by_hand(net, x, loss) for x, loss in given]
    layers: dict[str, tuple[str, ...]] = {"0": ("0.weight", "0.bias"), "2": ("2.weight", "2.bias")}
    layers[ALL] = (*layers["0"], *layers["2"])
    assert found.batches == 8 and found.left_out == [] and list(found.cosine["rate"]) == [ALL, "0", "2"]
    for layer, names in layers.items():
        cosines = [cosine(rate, exact, *names) for exact, rate in both]
        norms = [float(together(r, names).norm() / together(e, names).norm()) for e, r in both]
        floor = [cosine(a, b, *names) for (a, _), (b, _) in itertools.pairwise(both)]
        wanted = (cosines, norms, floor)
        parts = (found.cosine["rate"][layer], found.norm["rate"][layer], found.noise_floor[layer])
        for values, part in zip(wanted, parts, strict=True):
            assert (part.mean, part.std) == pytest.approx((fmean(values), stdev(values)), abs=1e-9), layer
            assert part.n == len(values)
    assert (found.cosine["rate"]["0"].mean or 0) < 0.99  # so that there is something to measure
    assert found.cosine["rate"]["2"].mean == pytest.approx(1.0)  # behind it comes nothing but a mean


# --- ends that are known ------------------------------------------------------------------------------------


def all_means(found: Alignment) -> Iterator[float | None]:
    for name in found.cosine:
        for part in (found.cosine[name], found.norm[name]):
            yield from (value.mean for value in part.values())


@pytest.mark.parametrize("name", ["soft, detached", "hard", "PLIF"])
def test_at_one_step_every_mode_has_bptts_gradient(name: str) -> None:
    """Dropout's masks are the same, or it would not."""
    net = network(NEURONS[name], nn.Dropout(0.5))
    found = measure(net, batches(1, 2, 6, 6), RATE | ONLINE, over="steps")
    assert list(found.cosine) == ["rate", "sltt", "ottt"]
    assert [*all_means(found)] == pytest.approx([1.0] * len([*all_means(found)]))
    assert (found.noise_floor[ALL].mean or 1) < 0.9  # and batches differ


def test_with_as_many_segments_as_steps_the_gradient_is_bptts_and_with_fewer_the_farther() -> None:
    net = network(NEURONS["soft"], nn.Dropout(0.5))
    found = measure(net, batches(4, 2, 6, 6), segments(1, 2, 4))
    means = [found.cosine[name][ALL].mean or 0.0 for name in ("k=1", "k=2", "k=4")]
    assert means == sorted(means) and means[0] < 0.999 and means[2] == pytest.approx(1.0)
    assert all((value.mean, value.n) == (pytest.approx(1.0), 8) for value in found.norm["k=4"].values())


def test_the_online_modes_are_compared_with_bptt_of_the_same_loss_and_step_mode() -> None:
    """Without a leak nothing reaches later steps, so that each step is by itself."""
    forgets = partial(lif, tau=1.0 + 1e-12, v_reset=0.0)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), forgets(), nn.Linear(16, 3)).double()
    found = measure(net, batches(3, 6), ONLINE, over="steps", step_mode="s")
    assert found.cosine["sltt"][ALL].mean == pytest.approx(1.0)
    assert found.norm["sltt"][ALL].mean == pytest.approx(1.0)


# --- what is left out ---------------------------------------------------------------------------------------


def test_gradients_that_are_0_in_truth_are_left_out_in_float32_too() -> None:
    """Biases before batch normalisation: what is computed there is rounding."""
    torch.manual_seed(0)
    net = small(nn.Linear(24, 3))
    net[8].bias.requires_grad_(False)
    found = measure(net, batches(3, 2, 8, 8, dtype=torch.float32), RATE)
    assert found.left_out == ["0.bias", "4.bias", "8.bias"]
    assert list(found.noise_floor) == [ALL, "0", "1", "4", "5", "8"]


@pytest.mark.parametrize("silent", [0, 3, 7])
def test_a_layer_without_a_gradient_on_some_batches_counts_on_the_others(silent: int) -> None:
    """Images of zeros fire nothing, so that no weight has a gradient, whatever batch they are."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16, bias=False), lif(), nn.Linear(16, 3)).double()
    given = batches(3, 6)
    given[silent] = (torch.zeros_like(given[silent][0]), given[silent][1])
    found = measure(net, given, RATE)
    assert found.left_out == [] and list(found.cosine["rate"]) == list(found.noise_floor) == [ALL, "0", "2"]
    assert [of.n for of in found.cosine["rate"].values()] == [8, 7, 8]
    pairs = 6 if silent in (0, 7) else 5
    assert [of.n for of in found.noise_floor.values()] == [7, pairs, 7]
    for at in (0, -1):
        given[at] = (torch.zeros_like(given[at][0]), given[at][1])
    none = measure(net, [(torch.zeros_like(x), loss) for x, loss in given], RATE)
    assert none.left_out == ["0.weight", "2.weight"] and list(none.cosine["rate"]) == [ALL, "2"]


def test_a_mode_that_the_network_cannot_do_is_named_with_the_reason() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sort(-1).values

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), lif(), Odd(), nn.Linear(16, 3)).double()
    found = measure(net, batches(2, 6), RATE)
    assert found.cosine == {} and "sort" in found.not_measured["rate"] and found.noise_floor[ALL].n == 7


def test_where_a_gradient_is_0_or_not_finite_there_is_no_cosine() -> None:
    zero, one, infinite = (torch.full((2,), value) for value in (0.0, 1.0, torch.inf))
    assert compare({"a": zero}, {"a": one}, ["a"])[ALL] == (None, 0.0)
    assert compare({}, {"a": one}, ["a"])[ALL] == (None, 0.0)  # no gradient is one of 0
    assert compare({"a": one}, {}, ["a"])[ALL] == compare({}, {}, ["a"])[ALL] == (None, None)
    assert compare({"a": one}, {"a": zero}, ["a"])[ALL] == (None, None)
    assert compare({"a": infinite}, {"a": one}, ["a"])[ALL] == (None, None)
    assert compare({"a": -3 * one}, {"a": one}, ["a"])[ALL] == pytest.approx((-1.0, 3.0))


def test_a_layer_called_all_is_not_taken_for_all_of_them() -> None:
    one, other = (
        {"all.w": torch.ones(1), "b.w": torch.ones(1)},
        {"all.w": torch.ones(1), "b.w": -torch.ones(1)},
    )
    assert compare(one, other, ["all.w", "b.w"]) == {ALL: (0.0, 1.0), "all.": (1.0, 1.0), "b": (-1.0, 1.0)}


def test_fewer_than_eight_batches_are_too_few() -> None:
    with pytest.raises(InputError, match="7 batches are too few"):
        measure(two_layers(), batches(2, 6, n=7), RATE)


def test_a_network_that_knows_float32_alone_is_refused_with_the_reason() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ torch.ones(16, 16, dtype=torch.float32)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), Fixed(), lif(), nn.Linear(16, 3))
    with pytest.raises(InputError, match="float64, which tells"):
        measure(net, batches(2, 6, dtype=torch.float32), RATE)


# --- what is left as it was ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stopped_at", [None, 0, 3, 11])
def test_everything_is_left_as_it_was_also_if_stopped(stopped_at: int | None) -> None:
    net = network(NEURONS["PLIF"], nn.Dropout(0.5))
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    grads = [p.grad for p in net.parameters()]
    buffers = [*net.buffers()]
    before, held = snapshot(net), statistics(net)
    compiled.ran.clear()  # of what other tests ran
    compiled.ran.update(compiled=5)
    torch.manual_seed(7)
    drawn = torch.get_rng_state()
    passes: list[int] = []

    def between() -> None:
        assert statistics(net) == held  # a checkpoint may be saved here
        if len(passes) == stopped_at:
            raise KeyboardInterrupt
        passes.append(1)

    if stopped_at is None:
        measure(net, batches(2, 2, 6, 6), RATE, between=between)
        assert len(passes) == 16
    else:
        with pytest.raises(KeyboardInterrupt):
            measure(net, batches(2, 2, 6, 6), RATE, between=between)
    assert snapshot(net) == before and statistics(net) == held and compiled.ran == {"compiled": 5}
    assert all(a is b for a, b in zip(buffers, net.buffers(), strict=True))
    assert all(
        p.grad is g and bool((g == 1).all())
        for p, g in zip(net.parameters(), grads, strict=True)
        if g is not None
    )
    assert torch.equal(torch.get_rng_state(), drawn)
    compiled.ran.clear()


def test_twice_the_same_bits_whatever_was_drawn_before() -> None:
    net = network(NEURONS["soft"], nn.Dropout(0.5))
    first = measure(net, batches(2, 2, 6, 6), RATE)
    torch.rand(3)
    assert measure(net, batches(2, 2, 6, 6), RATE) == first
    assert measure(net, batches(2, 2, 6, 6), RATE, seed=1) != first  # other masks
