"""Numbers worked out by hand, or by scipy's own test."""

import pytest
from scipy import stats

from rbp.report.comparison.statistics import paired, paired_ratio, summary
from rbp.report.texts.table import difference


def test_mean_and_sample_deviation() -> None:
    found = summary([1.0, 2.0, 6.0])
    assert found is not None and found.n == 3
    assert found.mean == 3.0 and found.std == pytest.approx(7**0.5)  # (4 + 1 + 9) / 2
    assert summary([]) is None
    one = summary([0.5])
    assert one is not None and one.std is None


def test_the_interval_of_a_paired_difference_is_that_of_students_t() -> None:
    """Differences 0.1, 0.2, 0.6 on seeds 0 to 2: mean 0.3, s = 0.26458; t(0.975, 2) = 4.30265 in tables."""
    bptt, rate = {0: 0.5, 1: 0.6, 2: 0.3, 3: 0.9}, {0: 0.6, 1: 0.8, 2: 0.9, 4: 0.1}
    found = paired(bptt, rate)
    assert found is not None and found.n == 3 and found.mean == pytest.approx(0.3)
    assert found.low == pytest.approx(0.3 - 4.30265 * 0.264575 / 3**0.5, rel=1e-5)
    test = stats.ttest_rel([0.6, 0.8, 0.9], [0.5, 0.6, 0.3]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((test.low, test.high))
    assert not found.beyond_spread


def test_pairing_finds_what_the_spread_between_seeds_hides() -> None:
    found = paired({0: 0.80, 1: 0.90, 2: 0.70}, {0: 0.81, 1: 0.911, 2: 0.709})
    assert found is not None and found.beyond_spread and found.low is not None and found.low > 0


def test_equal_differences_are_no_evidence() -> None:
    """One image of 360 more on both seeds: Student's t would be sure of it."""
    found = paired({0: 350 / 360, 1: 352 / 360}, {0: 351 / 360, 1: 353 / 360})
    assert found is not None and found.mean == pytest.approx(1 / 360)
    assert (found.low, found.high, found.beyond_spread) == (None, None, False)
    assert difference(found) == "+0.28 [no spread]"


def test_one_pair_has_no_interval_and_none_no_difference() -> None:
    found = paired({0: 0.5}, {0: 0.75, 1: 0.9})
    assert found is not None and (found.mean, found.low, found.high, found.n) == (0.25, None, None, 1)
    assert not found.beyond_spread
    assert paired({0: 0.5}, {1: 0.5}) is None


def test_a_ratio_is_the_geometric_mean_of_those_of_the_pairs() -> None:
    assert paired_ratio({0: 1.0, 1: 1.0}, {0: 0.5, 1: 2.0}) == pytest.approx(1.0)
    assert paired_ratio({0: 4.0, 1: 3.0}, {0: 1.0}) == pytest.approx(0.25)
    assert paired_ratio({0: 1.0}, {1: 1.0}) is None
