"""What is compared with what, what is pooled, and what is left blank with a reason."""

import json
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rbp.errors import UserError
from rbp.report import write_report
from rbp.report.compare import compare, deduplicate
from rbp.report.facts import gather
from rbp.report.figures.curves import over_epochs
from rbp.report.figures.series import families, seconds_over_T
from rbp.report.read import read_runs
from rbp.report.table import Line, table
from rbp.report.texts import cells, figures
from tests.support.run_folders import write_run


def lines(*paths: Path) -> list[Line]:
    return table(compare(deduplicate(read_runs(list(paths))[0])[0]))


def pair(folder: Path, seeds: int = 1, **changes: object) -> None:
    for seed in range(seeds):
        for mode in ("bptt", "rate"):
            write_run(folder, grad_mode=mode, seed=seed, **changes)  # type: ignore[arg-type]


def test_figures_of_a_comparison_worked_out_by_hand(tmp_path: Path) -> None:
    for seed, (bptt, rate) in enumerate([(0.90, 0.92), (0.92, 0.92), (0.94, 0.95)]):
        write_run(tmp_path, bptt, grad_mode="bptt", seed=seed, seconds=0.2, memory=8 * 2**20)
        write_run(tmp_path, rate, grad_mode="rate", seed=seed, seconds=0.1, memory=2 * 2**20)
    (line,) = lines(tmp_path)
    # Differences 2, 0, 1 points: mean 1, s = 1, t(0.975, 2) = 4.3027, half 2.4842.
    assert figures(line)[:3] == ["92.00 ± 2.00 (n=3)", "93.00 ± 1.73 (n=3)", "+1.00 [−1.48, +3.48]"]
    assert figures(line)[3:] == ["200", "100", "0.50", "8.00", "2.00", "0.25"]
    assert line.notes == ()


def test_step_modes_and_T_are_never_pooled(tmp_path: Path) -> None:
    for T in (2, 4):
        for step_mode in ("m", "s"):
            pair(tmp_path, T=T, step_mode=step_mode)
    found = [(line.comparison.step_mode, line.comparison.T) for line in lines(tmp_path)]
    assert found == [("m", 2), ("m", 4), ("s", 2), ("s", 4)]


def test_event_data_are_one_family_over_T(tmp_path: Path) -> None:
    for T in (4, 8):
        pair(tmp_path, T=T, dataset__T=T, dataset__frames="counts")
    assert {line.comparison.family for line in lines(tmp_path)} == {("digits", "digits_cnn", "m", "")}


def test_runs_that_differ_in_another_key_are_apart_and_named_by_it(tmp_path: Path) -> None:
    pair(tmp_path, optimizer__lr=0.1)
    pair(tmp_path, optimizer__lr=0.05)
    write_run(tmp_path, grad_mode="rate", neuron__name="plif", neuron__tau=2.0)
    found = lines(tmp_path)
    assert [cells(line, found)[4] for line in found] == [
        "neuron=lif neuron.tau=1.25 optimizer.lr=0.05",
        "neuron=lif neuron.tau=1.25 optimizer.lr=0.1",
        "neuron=plif neuron.tau=2.0 optimizer.lr=0.1",
    ]
    assert [len(line.comparison.runs) for line in found] == [2, 2, 1]
    assert found[2].difference is None and found[2].notes == ("bptt: no run",)


def test_where_and_how_it_ran_makes_no_other_setting(tmp_path: Path) -> None:
    write_run(tmp_path, grad_mode="bptt", trainer__device="cuda", tracker__name="wandb")
    write_run(tmp_path, grad_mode="rate", trainer__threads=1, optimizer__lr=0.1)
    write_run(tmp_path, grad_mode="rate", seed=1, dataset__root="elsewhere")
    (line,) = lines(tmp_path)
    assert len(line.comparison.runs) == 3 and line.comparison.differs == ""


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        ({"device": "NVIDIA H100"}, "device AMD EPYC, 2 cores / NVIDIA H100"),
        ({"precision": "bf16"}, "precision fp32 / bf16"),
        ({"ranks": 2}, "ranks 1 / 2"),
        ({"threads": 1}, "threads 2 / 1"),
    ],
)
def test_costs_of_unlike_machines_have_no_ratio_but_a_reason(
    tmp_path: Path, machine: dict[str, object], reason: str
) -> None:
    write_run(tmp_path, grad_mode="bptt", seconds=0.2)
    write_run(tmp_path, grad_mode="rate", seconds=0.1, machine=machine)
    (line,) = lines(tmp_path)
    assert figures(line)[3:6] == ["200", "100", "–"] and figures(line)[8] == "–"
    assert line.notes == (f"step time: not comparable: {reason}",)
    assert figures(line)[2] != "–"  # accuracies compare all the same


def test_kernels_are_rates_alone_named_and_never_pooled(tmp_path: Path) -> None:
    """What a GPU gives by default: rate compiled, and BPTT, which has no such kernels."""
    gpu = {"device": "NVIDIA H100"}
    for seed in (0, 1, 2):
        write_run(tmp_path, grad_mode="bptt", seed=seed, seconds=0.2, machine=gpu | {"kernels": None})
    for seed, kernels in enumerate(("compiled", "compiled", "plain")):
        write_run(
            tmp_path, grad_mode="rate", seed=seed, seconds=0.1 + seed, machine=gpu | {"kernels": kernels}
        )
    (line,) = lines(tmp_path)
    assert figures(line)[3:5] == ["200", "600"]  # 0.1 and 1.1 s
    assert line.seconds.by_mode["rate"].n == 2 and line.seconds.ratio == pytest.approx((0.5 * 5.5) ** 0.5)
    assert line.notes[0].startswith("step time: 5 of 6 runs: those on NVIDIA H100")
    assert line.notes[0].endswith("compiled kernels")
    (family,) = families([line.comparison]).values()
    drawn = {(s.label, s.variant): list(s.y) for s in seconds_over_T(family).series if s.look == "points"}
    assert drawn == {
        ("BPTT", 0): [200, 200, 200],
        ("Rate-BP, compiled kernels", 0): pytest.approx([100, 1100]),
        ("Rate-BP", 1): pytest.approx([2100]),
    }


def test_chunks_decide_costs_and_are_never_pooled(tmp_path: Path) -> None:
    for seed, chunk in enumerate((None, None, 1)):
        write_run(tmp_path, grad_mode="bptt", seed=seed, seconds=0.1)
        write_run(tmp_path, grad_mode="rate", seed=seed, seconds=0.9 if chunk else 0.2, trainer__chunk=chunk)
    (line,) = lines(tmp_path)
    assert figures(line)[3:6] == ["100", "200", "2.00"]
    assert line.notes[0].startswith("step time: 5 of 6 runs: those on AMD EPYC")
    assert line.notes[0].endswith(", plain")


def test_results_of_different_code_side_by_side_are_noted(tmp_path: Path) -> None:
    write_run(tmp_path, grad_mode="bptt")
    file = write_run(tmp_path, grad_mode="rate") / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"code": {"version": "0.2", "hash": "ffff"}}))
    write_report([tmp_path])
    note = "computed by different versions of the code: bptt 0123456789ab; rate ffff"
    assert all(note in (tmp_path / name).read_text() for name in ("table.md", "table.tex", "report.html"))


def test_costs_are_those_of_the_machine_that_most_pairs_share(tmp_path: Path) -> None:
    gpu = {"device": "NVIDIA H100"}
    for seed in (0, 1):
        write_run(tmp_path, grad_mode="bptt", seed=seed, seconds=0.4)
        write_run(tmp_path, grad_mode="rate", seed=seed, seconds=0.1)
    write_run(tmp_path, grad_mode="bptt", seed=2, seconds=0.004, machine=gpu)
    write_run(tmp_path, grad_mode="rate", seed=2, seconds=0.002, machine=gpu)
    (line,) = lines(tmp_path)
    assert figures(line)[3:6] == ["400", "100", "0.25"]
    assert "4 of 6 runs" in line.notes[0] and "AMD EPYC" in line.notes[0]


def test_what_was_not_measured_is_blank(tmp_path: Path) -> None:
    write_run(tmp_path, grad_mode="bptt", seconds=None)
    write_run(tmp_path, grad_mode="rate", seconds=0.1)
    (line,) = lines(tmp_path)
    assert figures(line)[3:6] == ["–", "100", "–"] and line.notes == ("step time: nothing measured of bptt",)


def test_unfinished_cells_are_told_with_their_reason(tmp_path: Path) -> None:
    write_run(tmp_path, grad_mode="bptt", seed=0)
    write_run(tmp_path, grad_mode="bptt", seed=1)
    write_run(tmp_path, grad_mode="rate", seed=0, accuracy=None, state="running")
    write_run(tmp_path, grad_mode="rate", seed=1)
    write_run(
        tmp_path, grad_mode="rate", seed=2, accuracy=None, state="failed", error="out of memory:\ntry less"
    )
    write_run(tmp_path, grad_mode="rate", seed=3, accuracy=None, state="running", age=3600)
    write_run(tmp_path, grad_mode="rate", seed=4, accuracy=None, state="queued", curve=())
    (line,) = lines(tmp_path)
    assert figures(line)[1] == "90.00 (n=1)"
    rate, pairs = line.notes
    assert rate.startswith(
        "rate: 1 running (epoch 2), 1 failed (out of memory: try less), 1 lost (no sign of"
    )
    assert rate.endswith("1 queued") and pairs == "difference over 1 common seed"


def test_a_cell_of_two_sweeps_counts_once_and_its_result_counts(tmp_path: Path) -> None:
    write_run(tmp_path / "a", accuracy=None, state="failed", grad_mode="rate")
    write_run(tmp_path / "b", 0.8, grad_mode="rate")
    write_run(tmp_path / "b", 0.8, grad_mode="bptt")
    runs, doubles = deduplicate(read_runs([tmp_path / "a", tmp_path / "b"])[0])
    assert len(runs) == 2 and len(doubles) == 1
    assert (
        doubles[0]
        == f"1 runs of {tmp_path / 'a'} are in {tmp_path / 'b'} as well: those in {tmp_path / 'b'} are shown."
    )
    (line,) = lines(tmp_path / "a", tmp_path / "b", tmp_path)  # a folder named twice is read once
    assert figures(line)[:2] == ["80.00 (n=1)", "80.00 (n=1)"]


def test_of_two_sweeps_of_the_same_runs_one_is_shown_whole_and_the_other_told(tmp_path: Path) -> None:
    """The same cells on two machines, where results differ by rounding."""
    a, b = tmp_path / "a", tmp_path / "b"
    write_run(a, 0.9, grad_mode="bptt")
    write_run(a, None, "running", grad_mode="rate")
    write_run(b, 0.8, grad_mode="bptt", machine={"device": "NVIDIA H100"})
    write_run(b, 0.7, grad_mode="rate", machine={"device": "NVIDIA H100"})
    (line,) = lines(tmp_path)
    assert figures(line)[:2] == ["80.00 (n=1)", "70.00 (n=1)"] and line.seconds.ratio == 1.0
    page = write_report([tmp_path]).read_text()
    name = line.comparison.of("bptt")[0].name
    assert f"2 runs of {a} are in {b} as well: those in {b} are shown" in page
    assert f"though 1 differ in their results, such as {name}" in page
    assert "<h3>a</h3>" in page and "<h3>b</h3>" in page


def test_two_half_done_sweeps_are_told_each(tmp_path: Path) -> None:
    for sweep, done in (("a", "bptt"), ("b", "rate")):
        for mode in ("bptt", "rate"):
            write_run(tmp_path / sweep, 0.9 if mode == done else None, "queued", grad_mode=mode)
    _, doubles = deduplicate(read_runs([tmp_path])[0])
    assert [text.partition(" are in ")[0] for text in doubles] == [f"1 runs of {tmp_path / s}" for s in "ab"]


def test_the_wall_time_of_a_requeued_run_begins_with_its_first_process(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", grad_mode="rate")
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps(status | {"started": status["heartbeat"] - 10}))
    first = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status["heartbeat"] - 7200))
    (folder / "log.txt").write_text(f"{first} starts with epoch 1 of 3\n")
    queued = write_run(tmp_path / "b", None, "queued", grad_mode="rate", seed=1, curve=())
    (queued / "status.json").write_text(json.dumps(status | {"state": "queued", "started": None}))
    runs, _ = read_runs([tmp_path])
    sweeps = gather(runs, runs, [], []).sweeps
    assert sweeps["a"].seconds == pytest.approx(7200, abs=1) and sweeps["b"].seconds is None


def test_a_lost_config_is_made_up_for_by_the_result_but_never_pooled(tmp_path: Path) -> None:
    pair(tmp_path)
    (write_run(tmp_path, grad_mode="rate", seed=1) / "config.yaml").write_text("T: [")
    found = lines(tmp_path)
    assert [len(line.comparison.runs) for line in found] == [2, 1]
    assert [line.comparison.differs for line in found] == ["", "config.yaml=missing"]


def test_a_folder_that_says_nothing_is_named_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    pair(tmp_path)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "status.json").write_text("{")
    runs, problems = read_runs([tmp_path])
    assert len(runs) == 2 and len(problems) == 1 and "odd: neither config.yaml nor" in problems[0]


@pytest.mark.parametrize("odd", ["machine", "code", "metrics.jsonl", "sweep", "trainer"])
def test_one_odd_file_takes_nothing_from_the_others(tmp_path: Path, odd: str) -> None:
    pair(tmp_path)
    folder = write_run(tmp_path, grad_mode="rate", seed=1)
    if odd == "metrics.jsonl":
        (folder / odd).unlink()
        (folder / odd).mkdir()
    elif odd in ("machine", "code"):
        values = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps(values | {odd: "x"}))
    else:
        values = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
        (folder / "config.yaml").write_text(OmegaConf.to_yaml({**values, odd: ["x"]}))  # type: ignore[dict-item]
    page = write_report([tmp_path]).read_text()
    if odd in ("sweep", "trainer"):  # then the result alone says what it is
        assert [line.comparison.differs for line in lines(tmp_path)] == ["", "config.yaml=missing"]
    else:
        assert "Not readable: " in page and odd in page and len(read_runs([tmp_path])[0]) == 2


def test_curves_of_long_runs_have_the_same_epochs_whatever_line_is_lost(tmp_path: Path) -> None:
    for seed in (0, 1):
        curve = tuple(n / 400 for n in range(1, 300))
        folder = write_run(tmp_path, 0.9, grad_mode="rate", seed=seed, trainer__epochs=300, curve=curve)
    written = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(written[:3] + written[4:]))  # without epoch 4
    (comparison,) = compare(read_runs([tmp_path])[0])
    (mean,) = [series for series in over_epochs(comparison).series if series.look == "mean"]
    assert list(mean.x) == [1, *range(3, 301, 3)]
    assert mean.y[1:3] == pytest.approx([100 * 3 / 400, 100 * 6 / 400])


def test_links_to_runs_are_followed_once(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "real", grad_mode="bptt")
    links = tmp_path / "links"
    links.mkdir()
    (links / folder.name).symlink_to(folder)
    (links / "back").symlink_to(tmp_path)
    assert [run.folder for run in read_runs([links])[0]] == [folder.resolve()]


def test_no_runs_are_an_error_that_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no runs"):
        read_runs([tmp_path])
    with pytest.raises(UserError, match="nowhere: no such folder"):
        read_runs([tmp_path / "nowhere"])
