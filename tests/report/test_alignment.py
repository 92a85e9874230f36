"""Alignment with BPTT in a report: figures and CSV have the numbers of alignment.jsonl."""

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from rbp.report import write_report
from rbp.report.figures.alignment import (
    cosine_by_layer,
    cosine_over_epochs,
    cosine_over_x,
    distance_over_epochs,
    norm_over_epochs,
)
from rbp.report.figures.figure import Axis, Figure, Series
from rbp.report.figures.sets import figure_sets
from rbp.report.figures.style import KNOWN
from rbp.report.figures.svg import draw_svg
from rbp.runs.alignment import is_bptt, mean_of, read_alignment, rows
from tests.support.reports import facet, facets
from tests.support.run_folders import write_run

LAYERS = ("all", "conv", "fc", "")


def figure(mean: float | None, std: float = 0.01) -> dict[str, Any]:
    return {"mean": mean, "std": std, "n": 8}


def line(epoch: int, T: int, cosine: float) -> dict[str, Any]:
    """Cosines of Rate-BP by layer 0.01 apart, with two segments 0.1 more, with T segments 1."""
    of = {layer: cosine - n / 100 for n, layer in enumerate(LAYERS)}
    rate = {layer: {"cosine": figure(c), "norm": figure(2 * c)} for layer, c in of.items()}
    two = {layer: {"cosine": figure(c + 0.1), "norm": figure(1.0)} for layer, c in of.items()}
    exact = {layer: {"cosine": figure(1.0), "norm": figure(1.0)} for layer in LAYERS}
    modes = {"rate": rate, "rate segments=2": two, f"rate segments={T}": exact}
    floor = {layer: figure(0.3 if layer else None) for layer in LAYERS}
    about = {"batches": 8, "batch_size": 64, "left_out": [], "not_measured": {}}
    return {"epoch": epoch, "T": T, **about, "modes": modes, "noise_floor": floor}


def trained(folder: Path) -> None:
    """Two T, two methods, two seeds: cosines fall by 0.1 an epoch, differ by 0.02 a seed, 0.05 a method."""
    for T in (4, 8):
        for n, mode in enumerate(("bptt", "rate")):
            for seed in (0, 1):
                run = write_run(folder, T=T, grad_mode=mode, seed=seed)
                found = [line(epoch, T, 0.8 - epoch / 10 - 0.05 * n - 0.02 * seed) for epoch in (0, 1, 2)]
                (run / "alignment.jsonl").write_text("".join(json.dumps(of) + "\n" for of in found))


def found(made: Figure) -> dict[str, Series]:
    return {series.label: series for series in made.series}


def test_cosines_and_norms_over_epochs_are_means_over_seeds_along_each_methods_training(
    tmp_path: Path,
) -> None:
    trained(tmp_path)
    made = cosine_over_epochs(facet(tmp_path), 8)
    of = found(made)
    names = ("noise floor", "Rate-BP", "Rate-BP segments=2")  # eight segments are BPTT
    assert list(of) == [f"{name}, along {along} (n=2)" for along in ("BPTT", "Rate-BP") for name in names]
    along = of["Rate-BP, along Rate-BP (n=2)"]
    assert (list(along.x), along.mode, along.variant) == ([0, 1, 2], "rate", 1)
    assert along.y == pytest.approx([0.74, 0.64, 0.54])
    assert along.high == pytest.approx([y + 0.02 / 2**0.5 for y in along.y])
    assert of["noise floor, along BPTT (n=2)"].y == pytest.approx([0.3] * 3)
    distances = found(distance_over_epochs(facet(tmp_path), 8))
    assert distances["Rate-BP, along Rate-BP (n=2)"].y == pytest.approx([0.26, 0.36, 0.46])
    norms = found(norm_over_epochs(facet(tmp_path), 8))
    assert len(norms) == 4 and norms["Rate-BP, along BPTT (n=2)"].y == pytest.approx([1.58, 1.38, 1.18])
    assert "0 in truth are left out" in made.about and "T=8" in made.of
    assert KNOWN["rate"].colour in draw_svg(made)


def write(run: Path, *lines_of: dict[str, Any]) -> None:
    (run / "alignment.jsonl").write_text("".join(json.dumps(of) + "\n" for of in lines_of))


@pytest.mark.parametrize(("exact", "least"), [(1.0, 1e-6), (1 - 2e-5, 2e-5), (1 + 2e-5, 2e-5)])
def test_no_distance_is_drawn_that_bptt_itself_shows_as_k_equals_T(
    tmp_path: Path, exact: float, least: float
) -> None:
    lines_of = [line(epoch, 4, 1 - factor * least) for epoch, factor in enumerate((0.9, 1.1, 0.5, 0.0))]
    for of in lines_of:
        of["modes"]["rate segments=4"]["all"]["cosine"] = figure(exact)
    write(write_run(tmp_path, T=4, grad_mode="rate"), *lines_of)
    made = distance_over_epochs(facet(tmp_path))
    drawn = found(made)["Rate-BP, along Rate-BP (n=1)"]
    assert list(drawn.x) == [1] and drawn.y == pytest.approx([1.1 * least])
    assert found(made)["noise floor, along Rate-BP (n=1)"].y == pytest.approx([0.7] * 4)
    draw_svg(made)


def test_at_one_step_rate_mode_is_bptt_and_is_not_drawn(tmp_path: Path) -> None:
    write(write_run(tmp_path, T=1, grad_mode="rate"), of := line(0, 1, 0.99))
    assert is_bptt("rate", of) and not is_bptt("rate", line(0, 2, 0.99))
    assert not any("Rate-BP, along" in label for label in found(cosine_over_epochs(facet(tmp_path))))


def test_seeds_that_measured_at_different_epochs_are_compared_at_those_in_common(tmp_path: Path) -> None:
    """One stopped early, one was resumed with `trainer.align_every` set later, one never measured."""
    for seed, epochs in enumerate(((0, 1, 2), (1, 2, 4, 6), ())):
        run = write_run(tmp_path, T=4, grad_mode="rate", seed=seed)
        write(run, *[line(epoch, 4, 0.8 - epoch / 10 - 0.02 * seed) for epoch in epochs])
    of = found(cosine_by_layer(facet(tmp_path)))
    assert of["Rate-BP, along Rate-BP, epoch 2 (n=2)"].y == pytest.approx([0.58, 0.57, 0.56])
    write_run(tmp_path, T=4, grad_mode="bptt")
    write_run(tmp_path, T=8, grad_mode="rate")
    over = cosine_over_x(facet(tmp_path))
    assert found(over)["Rate-BP, along Rate-BP"].y == pytest.approx([0.59])
    assert found(over)["Rate-BP, along Rate-BP"].labels == ["epoch 2, n=2"] and "measured: 2." in over.about
    write_report([tmp_path], tmp_path / "out")
    _, _, row, *_ = (tmp_path / "out" / "alignment.md").read_text().splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[-9:-4] == ["rate", "1, 2", "2", "0.6900 ± 0.0141", "0.5900 ± 0.0141"]


def test_a_layer_that_only_some_seeds_measured_keeps_its_place_and_its_number(tmp_path: Path) -> None:
    for seed, left_out in enumerate(("conv", None, "fc")):
        of = line(0, 4, 0.8)
        for layers_of in (*of["modes"].values(), of["noise_floor"]):
            layers_of.pop(left_out, None)
        write(write_run(tmp_path, T=4, grad_mode="rate", seed=seed), of)
    made = found(cosine_by_layer(facet(tmp_path)))["Rate-BP, along Rate-BP, epoch 0 (n=2 to 3)"]
    assert (list(made.x), made.labels) == (["conv", "fc", "(network)"], ["n=2", "n=2", "n=3"])


def test_cosines_by_layer_are_those_of_the_last_epoch_in_the_order_of_the_network(tmp_path: Path) -> None:
    trained(tmp_path)
    of = found(cosine_by_layer(facet(tmp_path), 4))
    along = of["Rate-BP, along BPTT, epoch 2 (n=2)"]
    assert list(along.x) == ["conv", "fc", "(network)"] and along.y == pytest.approx([0.58, 0.57, 0.56])
    assert list(of["noise floor, along BPTT, epoch 2 (n=2)"].x) == [
        "conv",
        "fc",
    ]  # of the third there is none
    ElementTree.fromstring(draw_svg(cosine_by_layer(facet(tmp_path), 4)))


def test_cosines_over_T_are_those_of_the_last_epoch(tmp_path: Path) -> None:
    trained(tmp_path)
    made = cosine_over_x(facet(tmp_path))
    of = found(made)
    assert made.name == "alignment-T" and list(of["Rate-BP, along BPTT"].x) == [4, 8]
    assert of["Rate-BP, along BPTT"].y == pytest.approx([0.59, 0.59])
    assert "Rate-BP segments=4, along BPTT" not in of and "Rate-BP segments=8, along BPTT" not in of


def test_a_report_draws_them_and_has_every_number_in_a_csv(tmp_path: Path) -> None:
    trained(tmp_path)
    write_run(tmp_path, T=8, grad_mode="rate", seed=2)  # which measured nothing
    (made,) = figure_sets(facets(tmp_path))
    assert "alignment-T" in [one.name for one in made.over_x]
    for figures in made.of_x.values():
        assert {f"alignment{of}" for of in ("", "-distance", "-norm", "-layers")} <= {
            one.name for one in figures
        }
    write_report([tmp_path], tmp_path / "out")
    with (tmp_path / "out" / "alignment.csv").open() as stream:
        numbers = list(csv.DictReader(stream))
    assert len(numbers) == 8 * 3 * (3 + 1) * 4  # runs, epochs, modes with the floor, layers
    (row,) = [
        row
        for row in numbers
        if (row["T"], row["grad_mode"], row["seed"], row["epoch"]) == ("8", "rate", "1", "2")
        and (row["mode"], row["layer"]) == ("rate segments=2", "fc")
    ]
    assert float(row["cosine"]) == pytest.approx(0.8 - 0.2 - 0.05 - 0.02 - 0.02 + 0.1)
    assert (row["cosine_std"], row["norm"], row["n"]) == ("0.01", "1.0", "8")
    floor = [row for row in numbers if row["mode"] == "noise floor"]
    assert {row["norm"] for row in floor} == {""} and {row["cosine"] for row in floor} == {"0.3", ""}


def test_a_table_has_the_first_and_the_last_epochs_means_over_seeds(tmp_path: Path) -> None:
    trained(tmp_path)
    write_report([tmp_path], tmp_path / "out")
    first, _, *rows_of = (tmp_path / "out" / "alignment.md").read_text().splitlines()[:10]
    titles = "T grad_mode gradient of epochs n cosine: first cosine: last norm: first norm: last"
    assert " ".join(first.replace("\\", "").split(" | ")).strip("| ").startswith(titles)
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows_of]
    assert [row[:3] for row in cells] == [
        [T, method, mode] for T in "48" for method in ("bptt", "rate") for mode in ("rate", "rate segments=2")
    ]
    assert {(row[3], row[4]) for row in cells} == {("0, 2", "2")}
    assert cells[7][5:7] == ["0.8400 ± 0.0141", "0.6400 ± 0.0141"]  # 0.83 and 0.85, and 0.2 less
    assert cells[2][7:] == ["1.4800 ± 0.0283", "1.0800 ± 0.0283", "0.3000 ± 0.0000", "0.3000 ± 0.0000"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<h2>Alignment</h2>" in page and 'href="alignment.md"' in page


def test_runs_without_measurements_have_no_such_figure_and_file(tmp_path: Path) -> None:
    for mode in ("bptt", "rate"):
        write_run(tmp_path, grad_mode=mode)
    (made,) = figure_sets(facets(tmp_path))
    assert not any(one.name.startswith("alignment") for one in made.figures)
    write_report([tmp_path])
    assert not (tmp_path / "alignment.csv").exists()


def test_broken_lines_are_no_measurements_and_of_two_of_one_epoch_the_last_counts(tmp_path: Path) -> None:
    file = tmp_path / "alignment.jsonl"
    lines = [json.dumps(of) for of in (line(1, 4, 0.5), line(0, 4, 0.7), line(1, 4, 0.6), {"epoch": 3})]
    file.write_text("\n".join([*lines, lines[0][:80]]))
    read = read_alignment(file)
    assert [(of["epoch"], mean_of(of, "rate")) for of in read] == [(0, 0.7), (1, 0.6)]
    assert mean_of(read[0], "noise floor", "") is None and mean_of(read[0], "sltt") is None
    assert len([*rows(read[0])]) == 16


def test_a_line_over_many_names_tells_its_values_in_their_order() -> None:
    """Columns for the pointer stand where the names do, not in the order of the alphabet."""
    names = [f"layer{n}" for n in (9, 5, 14, 2, 7, 11, 1, 13, 4, 8, 10, 3, 12, 6)]
    series = [Series("rate", "Rate-BP", "mean", names, [n / 20 for n in range(14)])]
    drawn = ElementTree.fromstring(
        draw_svg(Figure("by-name", "By name", Axis("layer"), Axis("cosine"), "", series))
    )
    places = {}
    for path in drawn.iter("{http://www.w3.org/2000/svg}path"):
        told = "".join(path.itertext())
        if told.startswith("layer layer"):
            start, wide = path.attrib["d"].split(" ")[0], path.attrib["d"].split("h")[1].split("v")[0]
            places[told.split("\n")[0].removeprefix("layer ")] = (float(start[1:]), float(wide))
    assert sorted(places, key=lambda name: places[name]) == names
    assert all(wide > 0 for _, wide in places.values())
