"""What the figures show of runs: means and deviations, losses, time, layers, and what is not pooled."""

import json
import re
from pathlib import Path

import pytest

from rbp.report.figures.curves import losses, over_epochs, over_time
from rbp.report.figures.figure import Figure, Series
from rbp.report.figures.series import accuracy_over_x, firing_rates, seconds_over_x
from rbp.report.figures.sets import figure_sets
from rbp.report.figures.style import styles
from rbp.report.figures.svg import draw_svg
from rbp.report.read import read_runs
from rbp.runs.metrics import step_line
from tests.support.reports import facet, facets
from tests.support.run_folders import MACHINE, write_run


def means(figure: Figure) -> dict[str, Series]:
    return {series.label: series for series in figure.series if series.look == "mean"}


def test_bands_are_one_standard_deviation_over_seeds(tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.90, 0.92, 0.97)):
        write_run(tmp_path, accuracy, grad_mode="rate", seed=seed, curve=(0.1, 0.2 + seed / 10))
    (mean,) = means(over_epochs(facet(tmp_path))).values()
    assert list(mean.x) == [1, 2, 3] and mean.y == pytest.approx([10, 30, 93])
    assert mean.high == pytest.approx([10, 40, 93 + 13**0.5])  # deviations 10 and sqrt((9 + 1 + 16) / 2)


def test_every_loss_that_a_run_records_has_a_line(tmp_path: Path) -> None:
    for mode, more in (("bptt", {"test_loss": 0.75}), ("rate", {"test_loss": 0.5, "val_loss": 0.25})):
        write_run(tmp_path, grad_mode=mode, each=more)
    found = means(losses(facet(tmp_path)))
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
    figure = over_time(facet(tmp_path))
    assert [list(series.x) for series in figure.series if series.look == "run"] == [[1, 2], [3, 6]]
    (mean,) = means(figure).values()
    assert mean.label == "Rate-BP (n=2)" and list(mean.x) == [2, 4] and mean.y == pytest.approx([50, 85])


def test_time_on_another_machine_is_not_pooled(tmp_path: Path) -> None:
    for device in ("A", "B"):
        write_run(tmp_path / device, seed=ord(device), machine={"device": device}, each={"seconds": 1.0})
    assert set(means(over_time(facet(tmp_path)))) == {"Rate-BP, A (n=1)", "Rate-BP, B (n=1)"}


def test_a_run_that_went_on_elsewhere_has_no_time(tmp_path: Path) -> None:
    for seed, device in enumerate((MACHINE["device"], "another")):
        file = write_run(tmp_path, seed=seed, each={"seconds": 1.0}) / "result.json"
        before = {"machines_before": [MACHINE | {"device": device}]}
        file.write_text(json.dumps(json.loads(file.read_text()) | before))
    assert set(means(over_time(facet(tmp_path)))) == {"Rate-BP (n=1)"}


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


def test_lines_of_steps_are_no_epochs(tmp_path: Path) -> None:
    """Also where the last line of an unfinished long run is a step's, and its last epoch no round one."""
    curve = tuple(n / 1000 for n in range(1, 500))
    file = write_run(tmp_path, None, "running", curve=curve, trainer__epochs=1000, each={"seconds": 0.5})
    (without,) = read_runs([tmp_path])[0]
    lines = []
    for line in (file / "metrics.jsonl").read_text().splitlines():
        epoch = json.loads(line)["epoch"]
        lines += [json.dumps(step_line(epoch - 1, batch, 10, 0.1, 0.2)) for batch in (5, 10)] + [line]
    lines.append(json.dumps(step_line(499, 5, 10, 0.1, None)))
    (file / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (run,) = read_runs([tmp_path])[0]
    assert (run.curve, run.losses, run.elapsed) == (without.curve, without.losses, without.elapsed)
    assert run.epoch == 499 == max(run.curve) and run.elapsed[499] == 249.5
    assert run.firing_rates == without.firing_rates


def test_without_times_or_layers_there_is_no_empty_figure(tmp_path: Path) -> None:
    write_run(tmp_path, None, "running", curve=())
    (made,) = figure_sets(facets(tmp_path))
    assert made.figures == []


def test_every_figure_of_a_sweep_says_what_it_is_of(tmp_path: Path) -> None:
    for T in (2, 4):
        for mode in ("bptt", "rate"):
            write_run(tmp_path / "my sweep", T=T, grad_mode=mode, each={"seconds": 1.0})
    (made,) = figure_sets(facets(tmp_path))
    names = ["epochs", "accuracy-time", "loss", "firing"]
    assert [f.name for f in made.over_x] == ["accuracy-T", "time-T", "memory-T", "cost"]
    assert {x: [f.name for f in figures] for x, figures in made.of_x.items()} == {"2": names, "4": names}
    assert {f.subtitle for f in made.over_x} == {"my sweep: digits, digits_cnn, step_mode=m"}
    for x in ("2", "4"):
        assert {f.subtitle for f in made.of_x[x]} == {f"my sweep: digits, digits_cnn, step_mode=m, T={x}"}


def test_the_largest_facet_comes_first(tmp_path: Path) -> None:
    for seed in range(2):
        for mode in ("bptt", "rate"):
            write_run(tmp_path, arch__name="b", seed=seed, grad_mode=mode)
    write_run(tmp_path, arch__name="a")
    labels = [made.label for made in figure_sets(facets(tmp_path))]
    assert labels == ["digits, step_mode=m, T=4, arch=b", "digits, step_mode=m, T=4, arch=a"]


def test_a_legend_says_what_tells_machines_apart_in_lines_that_fit(tmp_path: Path) -> None:
    long = "A GPU with a name that is longer than a figure is wide, for which its makers have reasons"
    for device in ("AMD EPYC", long):
        for T in (2, 4):
            write_run(tmp_path / device[:3], T=T, seed=len(device), machine={"device": device})
    figure = seconds_over_x(facet(tmp_path, compare="grad_mode"))
    assert {series.label for series in figure.series} == {"Rate-BP, AMD EPYC", f"Rate-BP, {long}"}
    text = draw_svg(figure)
    assert "Rate-BP, AMD EPYC</text>" in text and f"{long}</text>" not in text
    assert "have reasons</text>" in text


def test_firing_rates_have_short_names_and_no_bar_below_zero(tmp_path: Path) -> None:
    for seed, rate in enumerate((0.0, 0.1)):
        file = write_run(tmp_path, 0.9, grad_mode="rate", seed=seed) / "result.json"
        rates = {"layer1.0.neuron": rate, "layer2.neuron": 0.2}
        file.write_text(json.dumps(json.loads(file.read_text()) | {"firing_rates": rates}))
    (bars,) = firing_rates(facet(tmp_path)).series
    assert list(bars.x) == ["layer1.0", "layer2"] and bars.y == pytest.approx([0.05, 0.2])
    assert bars.low == pytest.approx([0.0, 0.2])  # the deviation is 0.0707
    assert bars.high == pytest.approx([0.1207107, 0.2])
    assert bars.labels[0].startswith("layer1.0.neuron")


def test_epochs_of_short_runs_are_whole_and_equal_curves_both_seen(tmp_path: Path) -> None:
    for mode in ("bptt", "rate"):
        write_run(tmp_path, 0.9, grad_mode=mode)
    text = draw_svg(over_epochs(facet(tmp_path)))
    assert all(f">{epoch}</text>" in text for epoch in (1, 2, 3)) and ">1.5</text>" not in text
    # Rate-BP lies dashed over BPTT, so that this shows between the dashes.
    assert text.rindex('class="m1"') < text.rindex('class="m2"')
    assert "dasharray" in text[text.rindex('class="m2"') :]


def test_three_learning_rates_stand_on_one_axis_with_a_look_each(tmp_path: Path) -> None:
    for n, lr in enumerate((0.001, 0.05, 0.1)):
        for seed in (0, 1):
            write_run(tmp_path, 0.8 + 0.05 * n, grad_mode="rate", seed=seed, optimizer__lr=lr)
    (made,) = figure_sets(facets(tmp_path))
    figures = {figure.name: figure for figure in made.figures}
    assert made.x_key is None and set(figures) == {
        *(
            "accuracy-optimizer.lr",
            "time-optimizer.lr",
            "memory-optimizer.lr",
            "cost",
            "epochs",
            "loss",
            "firing",
        )
    }
    found = means(figures["accuracy-optimizer.lr"])
    points = {label: (list(series.x), list(series.y)) for label, series in found.items()}
    assert points == {
        f"optimizer.lr={lr}": ([lr], pytest.approx([80 + 5 * n])) for n, lr in enumerate((0.001, 0.05, 0.1))
    }
    assert set(means(figures["epochs"])) == {f"optimizer.lr={lr} (n=2)" for lr in (0.001, 0.05, 0.1)}
    for figure in figures.values():
        assert figure.modes == ("0.001", "0.05", "0.1") and "optimizer.lr" in draw_svg(figure)


def test_a_value_looks_alike_in_all_figures_even_where_others_are_missing(tmp_path: Path) -> None:
    for T, neurons in ((2, ("if", "lif", "lif_hard")), (4, ("lif_hard",))):
        for neuron in neurons:
            write_run(tmp_path, T=T, neuron__name=neuron)
    (made,) = figure_sets(facets(tmp_path))
    for figure in made.figures:
        look = styles([*figure.modes])
        assert list(look) == ["if", "lif", "lif_hard"]
        assert f'class="{look["lif_hard"].css}"' in draw_svg(figure)
    (bars,) = [figure for figure in made.of_x["4"] if figure.name == "firing"]
    assert 'fill-opacity="0.0"' in draw_svg(bars)  # as the third value, though it stands alone


def test_what_has_no_place_on_the_axis_is_a_level_across_it(tmp_path: Path) -> None:
    write_run(tmp_path, 0.5, neuron__name="if")
    for tau, accuracy in ((1.5, 0.6), (2.5, 0.7)):
        write_run(tmp_path, accuracy, neuron__name="lif", neuron__slope=tau)
    made = facet(tmp_path, compare="neuron", x="neuron.slope")
    found = {
        series.mode: dict(zip(series.x, series.y, strict=True))
        for series in means(accuracy_over_x(made)).values()
    }
    assert found["if"] == pytest.approx({1.5: 50, 2.5: 50}) and found["lif"] == pytest.approx(
        {1.5: 60, 2.5: 70}
    )


def test_a_learning_rate_of_its_own_stands_beside_a_methods_name(tmp_path: Path) -> None:
    for mode, lr in (("bptt", 0.1), ("rate", 0.05)):
        for T in (2, 4):
            write_run(tmp_path, grad_mode=mode, T=T, optimizer__lr=lr)
    labels = {"BPTT, optimizer.lr=0.1", "Rate-BP, optimizer.lr=0.05"}
    assert set(means(accuracy_over_x(facet(tmp_path)))) == labels
    assert set(means(over_epochs(facet(tmp_path), 2))) == {f"{label} (n=1)" for label in labels}


def test_no_two_figures_share_a_file(tmp_path: Path) -> None:
    """Two runs without a config that say the same, and names that differ by a sign or a comma."""
    for arch in ("a|b", "a-b", "a, b", "a b"):
        for lr in (0.1, 1e-05):
            write_run(tmp_path, arch__name=arch, optimizer__lr=lr)
    for seed in (5, 6):
        (write_run(tmp_path, seed=seed) / "config.yaml").unlink()
    made = figure_sets(facets(tmp_path, compare="optimizer.lr"))
    figures = [figure for found in made for figure in found.figures]
    assert len({figure.stem for figure in figures}) == len(figures) > 30
    assert all(re.fullmatch(r"[\w.=-]{1,140}", figure.stem) for figure in figures)


def test_the_band_of_a_cost_ends_at_zero(tmp_path: Path) -> None:
    """One run on a busy machine: a deviation larger than the mean."""
    for seed, seconds in enumerate((0.1, 0.1, 2.0)):
        for T in (2, 4):
            write_run(tmp_path, T=T, seed=seed, seconds=seconds)
    (line,) = means(seconds_over_x(facet(tmp_path, compare="grad_mode"))).values()
    assert list(line.low) == [0, 0] and min(line.high) > 733
