"""Currents kept as formulas, and what is kept for the backward pass in fewer bytes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import rbp
from rbp.models.resnet import resnet18
from rbp.rate.memory import currents as module
from rbp.rate.memory.currents import Currents, Term
from rbp.rate.memory.packing import as_kept, pack, pack_counts, unpack
from rbp.train.telemetry.costs import count_kept_bytes
from tests.support.networks import lif


def formula(shape: tuple[int, ...], constant: bool = False) -> tuple[Currents, torch.Tensor]:
    """Three terms, and their sum written out by hand in float64."""
    steps, *step = shape
    sequences = [torch.randn(1 if constant else steps, *step).expand(shape) for _ in range(3)]
    scales, shifts = torch.rand(2, step[1]) + 0.5, torch.randn(2, step[1])
    wide = (-1, *(1,) * (len(step) - 2))
    by_hand = sequences[2].double()
    for x, a, b in zip(sequences[:2], scales.double(), shifts.double(), strict=True):
        by_hand = by_hand + x * a.view(wide) + b.view(wide)
    terms = [Term(x, a, b) for x, a, b in zip(sequences[:2], scales, shifts, strict=True)]
    return Currents([terms[0]]) + Currents([terms[1], Term(sequences[2])]), by_hand


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("shape", [(3, 2, 5), (3, 2, 5, 7), (2, 3, 4, 6, 5)])
@pytest.mark.parametrize("block", [1, 20, 1 << 16])
def test_a_formula_is_the_sum_of_its_terms_whole_and_block_by_block(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], constant: bool, block: int
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(module, "BLOCK", block)
    formula_, by_hand = formula(shape, constant)
    torch.testing.assert_close(formula_.written_out(), by_hand.float(), rtol=1e-5, atol=1e-5)
    assert (formula_.written_out().stride(0) == 0) == constant
    for t in range(shape[0]):
        parts = [at_step(t).flatten() for _, at_step in formula_.blocks()]
        assert (len(parts) > 1) == ((shape[1:] != (2, 5) and block == 20) or block == 1)
        torch.testing.assert_close(torch.cat(parts), by_hand[t].float().flatten(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("neuron", ["soft", "hard", "learnt"])
def test_gradients_do_not_depend_on_the_size_of_a_block(
    monkeypatch: pytest.MonkeyPatch, step_mode: str, neuron: str
) -> None:
    from spikingjelly.activation_based.neuron import LIFNode, ParametricLIFNode

    kinds = {"soft": lif, "hard": lambda: LIFNode(1.5), "learnt": lambda: ParametricLIFNode(v_threshold=0.5)}
    gradients = []
    for block in (1, 1 << 16):
        monkeypatch.setattr(module, "BLOCK", block)
        torch.manual_seed(0)
        resnet = resnet18(kinds[neuron], 2, 5)
        assert isinstance(resnet, nn.Sequential)
        net = resnet[:4].append(nn.Flatten()).double()
        x = torch.randn(3, 2, 2, 4, 4, dtype=torch.float64)
        rbp.forward(net, x, step_mode=step_mode).square().sum().backward()
        gradients.append([p.grad for p in net.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_an_eligibility_is_kept_in_three_bytes_to_one_part_in_65536() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * torch.logspace(-20, 20, 1000)
    x[:3] = torch.tensor([0.0, -0.0, 1.0])
    kept = pack(x)
    assert sum(part.numel() * part.element_size() for part in kept) == 3 * x.numel()
    again = unpack(*kept)
    assert ((again - x).abs() <= x.abs() / 65536).all() and again[2] == 1.0
    relative = (again[2:] - x[2:]) / x[2:]
    assert relative.abs().mean() > 1e-6 > relative.mean().abs()  # rounded, not cut off
    exact = torch.randn(7, dtype=torch.float64)
    assert unpack(*pack(exact)) is exact


@pytest.mark.parametrize("steps", [1, 3, 64, 255])
def test_a_rate_is_kept_in_a_byte_exactly(steps: int) -> None:
    spikes = torch.arange(steps + 1).float()
    counts = pack_counts(spikes, steps)
    assert counts is not None and counts.element_size() == 1
    for dtype in (torch.float32, torch.bfloat16):
        kept, share = as_kept(counts, dtype, steps)
        assert torch.equal(kept.double(), spikes.double()) and share == 1.0 / steps
    assert pack_counts(spikes, 256) is None


@pytest.mark.parametrize("steps", [1, 2, 64])
def test_no_more_is_kept_for_the_backward_pass_than_with_relus_at_any_T(steps: int) -> None:
    x = torch.randn(2, 3, 8, 8)

    def kept(make: Callable[[], nn.Module], forward: Callable[[nn.Module], Tensor]) -> int:
        net = resnet18(make, 3, 10)
        sizes: list[int] = []
        with count_kept_bytes(net, sizes):
            forward(net).sum().backward()
        return sum(sizes)

    with_relu = kept(nn.ReLU, lambda net: net(x))
    assert kept(lif, lambda net: rbp.forward(net, x.expand(steps, *x.shape))) <= with_relu
