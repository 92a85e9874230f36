"""Methods beside BPTT: each number of segments of time is one, compared with BPTT and drawn over segments."""

from pathlib import Path

import pytest

from rbp.report import write_report
from rbp.report.figures.figure import Figure
from rbp.report.figures.series import accuracy_over_x
from rbp.report.figures.sets import figure_sets
from rbp.report.figures.style import name
from tests.support.reports import compared, facet, facets, table
from tests.support.run_folders import write_run

DIAL = [(1, True, 0.70), (2, True, 0.80), (4, True, 0.90), (4, False, 0.60)]
OVER = "grad_mode.segments"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """BPTT and four settings of the dial, two seeds each; every method has a learning rate of its own."""
    for seed in (0, 1):
        write_run(tmp_path, 0.94, grad_mode="bptt", seed=seed, seconds=0.3, optimizer__lr=0.1)
        for n, (k, coupled, accuracy) in enumerate(DIAL):
            write_run(
                tmp_path,
                accuracy + 0.02 * seed,
                grad_mode="rate",
                seed=seed,
                seconds=0.1 * (1 + n),
                grad_mode__segments=k,
                grad_mode__coupled=coupled,
                optimizer__lr=0.01 * (n + 1),
            )
    return tmp_path


def test_each_is_named_in_full_and_compared_with_bptt(sweep: Path) -> None:
    found = table(sweep)
    assert found.keys == ("optimizer.lr", "grad_mode")
    assert {row[:2] for row in found.rows} == {
        ("0.1", "bptt"),
        ("0.01", "rate"),
        ("0.02", "rate segments=2"),
        ("0.03", "rate segments=4"),
        ("0.04", "rate segments=4 coupled=false"),
    }
    assert found.rows[0][1] == "bptt"
    rows = {row.group.value: row for row in compared(sweep)}
    assert rows["bptt"].difference is None
    for k, coupled, accuracy in DIAL:
        value = f"rate{f' segments={k}' if k > 1 else ''}{'' if coupled else ' coupled=false'}"
        difference = rows[value].difference
        assert difference is not None and difference.mean == pytest.approx(accuracy + 0.01 - 0.94)


def lines_of(figure: Figure) -> dict[str, dict[int, float]]:
    return {s.mode: dict(zip(s.x, s.y, strict=True)) for s in figure.series if s.look == "mean"}


def test_the_figures_over_segments_have_a_line_for_each_coupling_and_bptts_level(sweep: Path) -> None:
    (made,) = figure_sets(facets(sweep))
    figures = {figure.name: figure for figure in made.figures}
    means = lines_of(figures[f"accuracy-{OVER}"])
    assert means["bptt"] == pytest.approx({1: 94, 2: 94, 4: 94})
    assert means["rate"] == pytest.approx({1: 71, 2: 81, 4: 91})
    assert means["rate coupled=false"] == pytest.approx({4: 61})
    times = lines_of(figures[f"time-{OVER}"])
    assert times["rate"] == pytest.approx({1: 100, 2: 200, 4: 300})
    assert times["bptt"] == pytest.approx({1: 300, 2: 300, 4: 300})


def test_asked_for_segments_every_number_of_them_is_compared_with_bptt(sweep: Path) -> None:
    found = compared(sweep, x=OVER)
    assert (found[0].group.value, found[0].group.x) == ("bptt", None)
    rate = {row.group.x: row for row in found if row.group.value == "rate"}
    assert set(rate) == {1, 2, 4}
    for k, coupled, accuracy in DIAL:
        difference = rate[k].difference
        if coupled:
            assert difference is not None and difference.mean == pytest.approx(accuracy + 0.01 - 0.94)
    assert table(sweep, x=OVER).rows[0][0] == "–"  # BPTT has no segments
    means = lines_of(accuracy_over_x(facet(sweep, x=OVER)))
    assert means["bptt"] == pytest.approx({1: 94, 2: 94, 4: 94})


def test_figures_over_segments_of_two_neurons_are_two_files(tmp_path: Path) -> None:
    for neuron in ("lif", "if"):
        for T in (2, 4):
            for mode, k in (("bptt", 1), ("rate", 1), ("rate", 2)):
                write_run(tmp_path, T=T, neuron__name=neuron, grad_mode=mode, grad_mode__segments=k)
    figures = [figure for made in figure_sets(facets(tmp_path)) for figure in made.figures]
    over = [figure for figure in figures if figure.name.endswith(OVER)]
    assert len(over) == 8 and len({figure.stem for figure in figures}) == len(figures)
    assert {figure.of for figure in over} == {
        f"digits, digits_cnn, step_mode=m, neuron={neuron}, T={T}" for neuron in ("lif", "if") for T in (2, 4)
    }


def test_the_report_draws_them(sweep: Path) -> None:
    page = write_report([sweep], svg=True).read_text()
    assert f'id="figure-accuracy-{OVER}"' in page and "rate segments=2" in page
    assert (sweep / "figures" / f"accuracy-{OVER}-digits-digits_cnn-step_mode=m-T=4.svg").exists()


def test_a_sweep_without_segments_is_as_before(tmp_path: Path) -> None:
    for mode in ("bptt", "rate"):
        write_run(tmp_path, grad_mode=mode)
    assert table(tmp_path).keys == ("grad_mode",)
    assert OVER not in write_report([tmp_path]).read_text().partition("What was run")[0]


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("grad_mode", "bptt", "BPTT"),
        ("grad_mode", "rate", "Rate-BP"),
        ("grad_mode", "rate segments=4", "Rate-BP segments=4"),
        ("grad_mode", "sltt", "sltt"),
        ("neuron", "rate", "neuron=rate"),
    ],
)
def test_names(key: str, value: str, shown: str) -> None:
    assert name(key, value) == shown
