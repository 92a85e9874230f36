"""Mixup against a slow reference with mixed targets, and what it draws."""

import statistics

import pytest
import torch

from rbp.train.ranks import Ranks
from rbp.train.step.loss import cross_entropy
from rbp.train.step.mixup import Target, draw
from rbp.train.step.share import share_of

GENERATOR = torch.Generator()
SHAPES = {"images": (7, 1, 4, 4), "frames": (7, 3, 2, 4, 4)}


def batch(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(shape, generator=GENERATOR.manual_seed(0), dtype=torch.float64)
    return x, torch.arange(len(x)) % 5


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("number", range(4))
def test_images_and_targets_are_mixed_in_pairs_by_one_lambda(shape: tuple[int, ...], number: int) -> None:
    x, y = batch(shape)
    mixed, target = share_of(len(x), Ranks(), alpha=1.0, seed=3, epoch=2, batch=number).take(x, y)
    weight, partners = draw(1.0, len(x), 3, 2, number)
    outputs = torch.randn(len(x), 5, generator=GENERATOR.manual_seed(1), dtype=torch.float64)
    log_p, expected = outputs.log_softmax(1), 0.0
    for i, j in enumerate(partners.tolist()):
        torch.testing.assert_close(mixed[i], weight * x[i] + (1 - weight) * x[j], rtol=1e-12, atol=1e-12)
        wanted = torch.zeros(5, dtype=torch.float64)
        wanted[y[i]] += weight
        wanted[y[j]] += 1 - weight
        expected -= (wanted * log_p[i]).sum().item() / len(x)
    assert target.loss(cross_entropy, outputs).item() == pytest.approx(expected, rel=1e-12)
    heavier = y if weight >= 0.5 else y[partners]
    assert target.correct(outputs) == (outputs.argmax(1) == heavier).sum()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_ranks_mix_what_one_process_mixes(shape: tuple[int, ...]) -> None:
    x, y = batch(shape)
    drawn = {"alpha": 0.3, "seed": 0, "epoch": 0, "batch": 5}
    whole, target = share_of(len(x), Ranks(), **drawn).take(x, y)  # type: ignore[arg-type]
    shares = []
    for rank in range(2):
        share = share_of(len(x), Ranks(rank, 2), **drawn)  # type: ignore[arg-type]
        shares.append(share.take(x[share.needed], y[share.needed]))  # as of image files, which it alone reads
    assert torch.equal(torch.cat([mixed for mixed, _ in shares]), whole)
    for key in ("labels", "mixed_in"):
        assert torch.equal(torch.cat([getattr(own, key) for _, own in shares]), getattr(target, key))
    assert {own.weight for _, own in shares} == {target.weight}


def test_alpha_0_mixes_nothing() -> None:
    x, y = batch(SHAPES["images"])
    same, target = share_of(len(x), Ranks(), alpha=0.0, seed=0, epoch=0, batch=0).take(x, y)
    assert same is x and target.labels is y and target.mixed_in is None


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_lambda_has_the_mean_and_variance_of_the_beta_distribution(alpha: float) -> None:
    drawn = [draw(alpha, 1, seed=0, epoch=0, batch=n)[0] for n in range(3000)]
    assert all(0 <= weight <= 1 for weight in drawn)
    assert statistics.mean(drawn) == pytest.approx(0.5, abs=0.02)
    assert statistics.variance(drawn) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)


def test_every_batch_has_a_lambda_and_pairs_of_its_own() -> None:
    places = [(seed, epoch, batch) for seed in range(3) for epoch in range(3) for batch in range(3)]
    drawn = [draw(1.0, 50, *place) for place in places]
    assert len({weight for weight, _ in drawn}) == len({tuple(p.tolist()) for _, p in drawn}) == len(places)
    assert all(sorted(partners.tolist()) == list(range(50)) for _, partners in drawn)
    again = draw(1.0, 50, *places[4])
    assert again[0] == drawn[4][0] and torch.equal(again[1], drawn[4][1])


def test_parts_have_the_labels_of_their_images() -> None:
    parts = Target(torch.arange(7), torch.arange(7, 14), 0.25).split(3)
    assert [part.labels.tolist() for part in parts] == [[0, 1, 2], [3, 4], [5, 6]]
    assert [part.mixed_in.tolist() for part in parts if part.mixed_in is not None] == [
        [7, 8, 9],
        [10, 11],
        [12, 13],
    ]
    assert {part.weight for part in parts} == {0.25}
    assert all(part.mixed_in is None for part in Target(torch.arange(7)).split(2))
