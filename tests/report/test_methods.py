"""Methods beside BPTT: each number of segments of time is one, compared with BPTT and drawn over segments."""

import shutil
from pathlib import Path

import pytest
import yaml

from rbp.errors import UserError
from rbp.report import write_report
from rbp.report.comparison.axes import choose_axes
from rbp.report.comparison.groups import deduplicate
from rbp.report.figures.figure import Figure
from rbp.report.figures.series import accuracy_over_x
from rbp.report.figures.sets import figure_sets
from rbp.report.figures.style import name
from rbp.report.read import read_runs
from tests.support.reports import compared, facet, facets, shown_runs, table
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
    assert len(over) == 12 and len({figure.stem for figure in figures}) == len(figures)
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


STEPS = "grad_mode.backprop_steps"


def write_sltt(folder: Path, accuracy: float, steps: int | None, seed: int = 0, **changes: object) -> None:
    """A run of another gradient mode, with a key of its own that this version does not know."""
    of = write_run(folder, accuracy, seed=seed, grad_mode="rate", optimizer__lr=0.1 + (steps or 0), **changes)  # type: ignore[arg-type]
    values = yaml.safe_load((of / "config.yaml").read_text())
    values["grad_mode"] |= {"name": "sltt", "backprop_steps": steps}
    values["optimizer"]["lr"] = 0.1
    (of / "config.yaml").write_text(yaml.safe_dump(values))


def test_any_key_of_a_gradient_mode_keeps_runs_apart_and_is_shown(tmp_path: Path) -> None:
    write_run(tmp_path, 0.9, grad_mode="bptt")
    for steps, accuracy in ((1, 0.5), (2, 0.75)):
        write_sltt(tmp_path, accuracy, steps)
    found = table(tmp_path)
    assert {row[:2] for row in found.rows} == {
        ("bptt", "90.00 (n=1)"),
        ("sltt backprop_steps=1", "50.00 (n=1)"),
        ("sltt backprop_steps=2", "75.00 (n=1)"),
    }
    rows = {row.group.x: row for row in compared(tmp_path, x=STEPS) if row.group.value == "sltt"}
    assert {x: row.difference and round(row.difference.mean, 4) for x, row in rows.items()} == {
        1: -0.4,
        2: -0.15,
    }
    assert {
        row.group.value: row.accuracy and row.accuracy.mean for row in compared(tmp_path, compare=STEPS)
    } == {
        "1": 0.5,
        "2": 0.75,
        "–": 0.9,
    }
    (made,) = figure_sets(facets(tmp_path))
    over = {figure.name: figure for figure in made.figures}
    assert lines_of(over[f"accuracy-{STEPS}"])["sltt"] == pytest.approx({1: 50, 2: 75})


def test_chunks_of_the_same_run_are_compared_though_they_decide_its_cost_alone(tmp_path: Path) -> None:
    """The same cells in three sweeps, with one, two and all four time steps in memory."""
    for sweep, chunk, seconds in (("all", None, 0.1), ("two", 2, 0.2), ("one", 1, 0.4)):
        for seed in (0, 1):
            for mode in ("bptt", "rate"):
                write_run(tmp_path / sweep, grad_mode=mode, seed=seed, seconds=seconds, trainer__chunk=chunk)
    found = {row.group.value: row for row in compared(tmp_path)}
    assert list(found) == ["bptt", "rate", "rate chunk=1", "rate chunk=2"]  # BPTT, which has no chunks, once
    assert [row.seconds.ratio for row in found.values()] == [None, *map(pytest.approx, (1, 4, 2))]
    assert all(len(row.group.runs) == 2 for row in found.values())
    (made,) = figure_sets(facets(tmp_path))
    over = {figure.name: figure for figure in made.figures}
    assert lines_of(over["time-trainer.chunk"])["rate"] == pytest.approx({1: 400, 2: 200, 4: 100})
    only = [tmp_path / sweep for sweep in ("all", "two")]
    for sweep_folder in only:
        for run in sweep_folder.glob("*-bptt-*"):
            shutil.rmtree(run)
    other, base = compared(*only, compare="trainer.chunk", base="4")
    assert (base.group.value, other.group.value, other.seconds.ratio) == ("4", "2", pytest.approx(2))
    assert other.notes == () and other.difference is not None


def test_one_chunk_size_is_nothing_to_compare(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path, seed=seed, trainer__chunk=2)
    with pytest.raises(UserError, match=r"--compare trainer\.chunk: does not differ between these runs"):
        choose_axes(shown_runs(tmp_path), compare="trainer.chunk")


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("grad_mode", "bptt", "BPTT"),
        ("grad_mode", "rate", "Rate-BP"),
        ("grad_mode", "rate segments=4", "Rate-BP segments=4"),
        ("grad_mode", "sltt", "SLTT"),
        ("grad_mode", "sltt backprop_steps=2", "SLTT-2"),
        ("grad_mode", "sltt backprop_steps=2 rescale=true", "SLTT-2 rescale=true"),
        ("grad_mode", "ottt", "OTTT"),
        ("neuron", "rate", "neuron=rate"),
    ],
)
def test_names(key: str, value: str, shown: str) -> None:
    assert name(key, value) == shown


def test_a_chunk_of_all_time_steps_is_the_run_without_chunks_and_counts_once(tmp_path: Path) -> None:
    for sweep, chunk, seconds in (("a", None, 0.1), ("b", 4, 0.3), ("c", 2, 0.2)):
        for seed in (0, 1):
            write_run(tmp_path / sweep, T=4, seed=seed, trainer__chunk=chunk, seconds=seconds)
    runs, told = deduplicate(read_runs([tmp_path])[0])
    assert len(runs) == 4 and len(told) == 1 and "2 runs of" in told[0]
    found = {row.group.value: row for row in compared(tmp_path)}
    assert found.keys() == {"rate", "rate chunk=2"}
    whole = found["rate"].seconds.mean
    assert whole is not None and (whole.mean, whole.n) == (0.1, 2)
