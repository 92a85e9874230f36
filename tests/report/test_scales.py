"""Scales of figures: where values lie, and ticks that are round and within the range."""

import math
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from rbp.report.figures.scales import Categories, Linear, Log, fit, number, texts

POSITIVE = some.floats(1e-12, 1e12)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (90.4, 91.5, [90.5, 91.0, 91.5]),
        (-3, 7, [-2, 0, 2, 4, 6]),
        (-0.02, -0.01, [-0.02, -0.018, -0.016, -0.014, -0.012, -0.01]),
        (0, 12_345, [0, 5000, 10_000]),
    ],
)
def test_linear_ticks_are_round_numbers_within_the_range(low: float, high: float, ticks: list[float]) -> None:
    assert Linear(low, high).ticks() == pytest.approx(ticks)


@given(some.floats(-1e9, 1e9), some.floats(1e-3, 1e9))
def test_any_linear_scale_has_a_few_ticks_in_equal_steps(low: float, span: float) -> None:
    scale = Linear(low, low + span)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 6
    assert all(-1e-6 <= scale.place(tick) <= 1 + 1e-6 for tick in ticks)
    steps = [b - a for a, b in pairwise(ticks)]
    assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-3)


def test_ticks_of_whole_numbers_are_whole() -> None:
    assert fit([1, 2, 3], whole=True).ticks() == [1, 2, 3]
    assert fit([1], whole=True).ticks() == [1]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.9, 110, [1, 2, 5, 10, 20, 50, 100]),
        (0.01, 2000, [0.01, 0.1, 1, 10, 100, 1000]),
        (30, 45, [30, 35, 40, 45]),  # no two of 1, 2 and 5 times a power of ten: linear ones
    ],
)
def test_logarithmic_ticks_are_round_numbers_within_the_range(
    low: float, high: float, ticks: list[float]
) -> None:
    assert Log(low, high).ticks() == pytest.approx(ticks)


@given(POSITIVE, some.floats(1.01, 1e15))
def test_any_logarithmic_scale_has_ticks_within_it(low: float, ratio: float) -> None:
    scale = Log(low, low * ratio)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 13 and ticks == sorted(ticks)
    assert all(-1e-6 <= scale.place(tick) <= 1 + 1e-6 for tick in ticks)


@example([5e-324], None)
@example([-5e-324, 0.0], False)
@given(some.lists(some.floats(-1e250, 1e250), min_size=1), some.sampled_from([None, True, False]))
def test_every_value_lies_within_its_scale(values: list[float], log: bool | None) -> None:
    scale = fit(values, log, zero=True)
    assert all(0 <= scale.place(value) <= 1 for value in values if not 0 < abs(value) < 1e-250)
    assert scale.ticks() == sorted(scale.ticks())
    assert math.isfinite(scale.low) and math.isfinite(scale.high) and scale.low < scale.high


def test_equal_distances_are_equal_ratios_on_a_logarithmic_scale() -> None:
    scale = Log(1, 16)
    assert [scale.place(T) for T in (1, 2, 4, 8, 16)] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert scale.place(0) == scale.place(-1) == 0


@pytest.mark.parametrize(
    ("values", "log", "kind"),
    [
        ([1, 31], None, Log),
        ([1, 29], None, Linear),
        ([0, 1, 1000], None, Linear),  # zero has no place on a logarithmic axis
        ([-1, 1000], True, Linear),
        ([4], True, Log),
        ([1, 1000], False, Linear),
    ],
)
def test_the_ratio_of_positive_values_decides_on_a_logarithmic_scale(
    values: list[float], log: bool | None, kind: type
) -> None:
    assert isinstance(fit(values, log), kind)


def test_a_single_value_lies_in_the_middle() -> None:
    for value in (5.0, -5.0, 0.0, 1e-240, 1e240):
        assert fit([value]).place(value) == pytest.approx(0.5)
    assert fit([8.0], log=True).place(8.0) == pytest.approx(0.5)


def test_a_scale_from_zero_begins_there() -> None:
    assert fit([3, 5], zero=True).low == 0
    assert fit([0, 0], zero=True).place(0) == 0
    assert fit([-1, 5], zero=True).low < -1


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_refused(odd: float) -> None:
    with pytest.raises(ValueError, match="no finite number"):
        fit([1.0, odd])


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        fit([])


def test_names_have_equal_parts() -> None:
    scale = Categories(("a", "b"))
    assert [scale.place("a"), scale.place("b")] == [0.25, 0.75]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (91.234567, "91.235"),
        (-0.25, "−0.25"),
        (12_500, "12,500"),
        (123_456.7, "123,460"),
        (1e9, "1e+09"),
        (0.00001, "1e-05"),
        (4, "4"),
    ],
)
def test_numbers_as_text(value: float, text: str) -> None:
    assert number(value) == text


def test_ticks_have_equally_many_decimals() -> None:
    assert texts([90.5, 91.0, 91.5]) == ["90.5", "91.0", "91.5"]
    assert texts([0, 5000, 10_000]) == ["0", "5,000", "10,000"]
    assert texts([1, 10, 100]) == ["1", "10", "100"]
    assert texts([-1, 0, 1]) == ["−1", "0", "1"]
    assert texts([1e8, 1e8 + 2, 1e8 + 4]) == ["100,000,000", "100,000,002", "100,000,004"]
    assert texts([0, 1e-5, 2e-5]) == ["0", "1e-05", "2e-05"]
