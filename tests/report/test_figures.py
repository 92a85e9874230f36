"""What the figures show of runs: means and deviations, losses, time, layers, and what is not pooled."""

import json
from pathlib import Path

import pytest

from rbp.report.compare import Comparison, compare
from rbp.report.figures.curves import losses, over_epochs, over_time
from rbp.report.figures.figure import Figure, Series
from rbp.report.figures.series import firing_rates, seconds_over_T
from rbp.report.figures.sets import figure_sets
from rbp.report.figures.svg import draw_svg
from rbp.report.read import read_runs
from tests.support.run_folders import MACHINE, write_run


def one(folder: Path) -> Comparison:
    (comparison,) = compare(read_runs([folder])[0])
    return comparison


def means(figure: Figure) -> dict[str, Series]:
    return {series.label: series for series in figure.series if series.look == "mean"}


def test_bands_are_one_standard_deviation_over_seeds(tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.90, 0.92, 0.97)):
        write_run(tmp_path, accuracy, grad_mode="rate", seed=seed, curve=(0.1, 0.2 + seed / 10))
    (mean,) = means(over_epochs(one(tmp_path))).values()
    assert list(mean.x) == [1, 2, 3] and mean.y == pytest.approx([10, 30, 93])
    assert mean.high == pytest.approx([10, 40, 93 + 13**0.5])  # deviations 10 and sqrt((9 + 1 + 16) / 2)


def test_every_loss_that_a_run_records_has_a_line(tmp_path: Path) -> None:
    for mode, more in (("bptt", {"test_loss": 0.75}), ("rate", {"test_loss": 0.5, "val_loss": 0.25})):
        write_run(tmp_path, grad_mode=mode, each=more)
    found = means(losses(one(tmp_path)))
    assert {label: list(series.y) for label, series in found.items()} == {
        "BPTT, train (n=1)": pytest.approx([1, 1 / 2, 1 / 3]),  # as written: one over the epoch
        "BPTT, test (n=1)": [0.75] * 3,
        "Rate-BP, train (n=1)": pytest.approx([1, 1 / 2, 1 / 3]),
        "Rate-BP, val (n=1)": [0.25] * 3,
        "Rate-BP, test (n=1)": [0.5] * 3,
    }
    assert len({(series.mode, series.variant) for series in found.values()}) == 5


def test_a_mean_over_time_stands_at_the_mean_time_of_its_epoch(tmp_path: Path) -> None:
    for seed, (accuracy, seconds) in enumerate(((0.9, 1.0), (0.8, 3.0))):
        write_run(tmp_path, accuracy, grad_mode="rate", seed=seed, curve=(0.5,), each={"seconds": seconds})
    figure = over_time(one(tmp_path))
    assert [list(series.x) for series in figure.series if series.look == "run"] == [[1, 2], [3, 6]]
    (mean,) = means(figure).values()
    assert mean.label == "Rate-BP (n=2)" and list(mean.x) == [2, 4] and mean.y == pytest.approx([50, 85])


def test_time_on_another_machine_is_not_pooled(tmp_path: Path) -> None:
    for device in ("A", "B"):
        write_run(tmp_path / device, seed=ord(device), machine={"device": device}, each={"seconds": 1.0})
    assert set(means(over_time(one(tmp_path)))) == {"Rate-BP, A (n=1)", "Rate-BP, B (n=1)"}


def test_a_run_that_went_on_elsewhere_has_no_time(tmp_path: Path) -> None:
    for seed, device in enumerate((MACHINE["device"], "another")):
        file = write_run(tmp_path, seed=seed, each={"seconds": 1.0}) / "result.json"
        before = {"machines_before": [MACHINE | {"device": device}]}
        file.write_text(json.dumps(json.loads(file.read_text()) | before))
    assert set(means(over_time(one(tmp_path)))) == {"Rate-BP (n=1)"}


def test_time_ends_where_an_epochs_is_unknown(tmp_path: Path) -> None:
    file = write_run(tmp_path, each={"seconds": 1.5}) / "metrics.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], "damaged", lines[2]]) + "\n")
    (run,) = read_runs([tmp_path])[0]
    assert run.elapsed == {1: 1.5} and set(run.curve) == {1, 3}


def test_time_of_a_long_run_counts_epochs_that_no_curve_shows(tmp_path: Path) -> None:
    curve = tuple(0.5 for _ in range(999))
    write_run(tmp_path, curve=curve, trainer__epochs=1000, each={"seconds": 0.25})
    (run,) = read_runs([tmp_path])[0]
    assert len(run.curve) < 110 and run.elapsed[1000] == 250


def test_without_times_or_layers_there_is_no_empty_figure(tmp_path: Path) -> None:
    write_run(tmp_path, None, "running", curve=())
    (made,) = figure_sets([one(tmp_path)])
    assert made.figures == []


def test_every_figure_of_a_sweep_says_what_it_is_of(tmp_path: Path) -> None:
    for T in (2, 4):
        for mode in ("bptt", "rate"):
            write_run(tmp_path / "my sweep", T=T, grad_mode=mode, each={"seconds": 1.0})
    (made,) = figure_sets(compare(read_runs([tmp_path])[0]))
    names = ["epochs", "accuracy-time", "loss", "firing"]
    assert [f.name for f in made.over_T] == ["accuracy-T", "time-T", "memory-T", "cost"]
    assert {T: [f.name for f in figures] for T, figures in made.of_T.items()} == {2: names, 4: names}
    assert {f.subtitle for f in made.over_T} == {"my sweep: digits, digits_cnn, step mode m"}
    for T in (2, 4):
        assert {f.subtitle for f in made.of_T[T]} == {f"my sweep: digits, digits_cnn, step mode m, T={T}"}


def test_the_largest_family_comes_first(tmp_path: Path) -> None:
    write_run(tmp_path, arch__name="a")
    for seed in range(2):
        write_run(tmp_path, arch__name="b", seed=seed)
    labels = [made.label for made in figure_sets(compare(read_runs([tmp_path])[0]))]
    assert labels == ["digits, b, step mode m", "digits, a, step mode m"]


def test_a_legend_says_what_tells_machines_apart_in_lines_that_fit(tmp_path: Path) -> None:
    long = "A GPU with a name that is longer than a figure is wide, for which its makers have reasons"
    for device in ("AMD EPYC", long):
        write_run(tmp_path / device[:3], grad_mode="rate", seed=len(device), machine={"device": device})
    figure = seconds_over_T([one(tmp_path)])
    assert {series.label for series in figure.series} == {"Rate-BP, AMD EPYC", f"Rate-BP, {long}"}
    text = draw_svg(figure)
    assert "Rate-BP, AMD EPYC</text>" in text and f"{long}</text>" not in text
    assert "have reasons</text>" in text


def test_firing_rates_have_short_names_and_no_bar_below_zero(tmp_path: Path) -> None:
    for seed, rate in enumerate((0.0, 0.1)):
        file = write_run(tmp_path, 0.9, grad_mode="rate", seed=seed) / "result.json"
        rates = {"layer1.0.neuron": rate, "layer2.neuron": 0.2}
        file.write_text(json.dumps(json.loads(file.read_text()) | {"firing_rates": rates}))
    (bars,) = firing_rates(one(tmp_path)).series
    assert list(bars.x) == ["layer1.0", "layer2"] and bars.y == pytest.approx([0.05, 0.2])
    assert bars.low == pytest.approx([0.0, 0.2])  # the deviation is 0.0707
    assert bars.high == pytest.approx([0.1207107, 0.2])
    assert bars.labels[0].startswith("layer1.0.neuron")


def test_epochs_of_short_runs_are_whole_and_equal_curves_both_seen(tmp_path: Path) -> None:
    for mode in ("bptt", "rate"):
        write_run(tmp_path, 0.9, grad_mode=mode)
    text = draw_svg(over_epochs(one(tmp_path)))
    assert all(f">{epoch}</text>" in text for epoch in (1, 2, 3)) and ">1.5</text>" not in text
    # Rate-BP lies dashed over BPTT, so that this shows between the dashes.
    assert text.rindex('class="m1"') < text.rindex('class="m2"')
    assert "dasharray" in text[text.rindex('class="m2"') :]
