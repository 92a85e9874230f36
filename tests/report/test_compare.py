"""What is compared with what, what is pooled, and what is left blank with a reason."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from rbp.errors import UserError
from rbp.report import write_report
from rbp.report.comparison.axes import choose_axes
from rbp.report.comparison.groups import deduplicate, group_runs
from rbp.report.comparison.rows import rows
from rbp.report.facts import gather
from rbp.report.read import read_runs
from rbp.report.texts.table import Table, figures
from tests.support.reports import compared, shown_runs, table
from tests.support.run_folders import write_run


def keys(of: Table) -> list[tuple[str, ...]]:
    """The first cells of each row: the values of the keys that differ."""
    return [row[: len(of.keys)] for row in of.rows]


def pair(folder: Path, seeds: int = 1, **changes: object) -> None:
    for seed in range(seeds):
        for mode in ("bptt", "rate"):
            write_run(folder, grad_mode=mode, seed=seed, **changes)  # type: ignore[arg-type]


def test_figures_of_a_comparison_worked_out_by_hand(tmp_path: Path) -> None:
    for seed, (bptt, rate) in enumerate([(0.90, 0.92), (0.92, 0.92), (0.94, 0.95)]):
        write_run(tmp_path, bptt, grad_mode="bptt", seed=seed, seconds=0.2, memory=8 * 2**20)
        write_run(tmp_path, rate, grad_mode="rate", seed=seed, seconds=0.1, memory=2 * 2**20)
    base, row = compared(tmp_path)
    assert figures(base)[:6] == ["92.00 ± 2.00 (n=3)", "–", "200", "–", "8.00", "–"]
    # Differences 2, 0, 1 points: mean 1, s = 1, t(0.975, 2) = 4.3027, half 2.4842; t = sqrt(3), p = 0.2254.
    assert figures(row)[:6] == ["93.00 ± 1.73 (n=3)", "+1.00 [−1.48, +3.48]", "100", "0.50", "2.00", "0.25"]
    assert row.difference is not None and row.difference.p == pytest.approx(0.2254, abs=1e-4)
    assert base.notes == row.notes == () and not row.sure


def test_what_differs_is_shown_and_nothing_else(tmp_path: Path) -> None:
    for T in (2, 4):
        for step_mode in ("m", "s"):
            pair(tmp_path, T=T, step_mode=step_mode)
    found = table(tmp_path)
    assert found.keys == ("step_mode", "T", "grad_mode")
    assert keys(found) == [(s, T, mode) for s in "ms" for T in "24" for mode in ("bptt", "rate")]


def test_event_data_differ_in_T_alone_over_T(tmp_path: Path) -> None:
    for T in (4, 8):
        pair(tmp_path, T=T, dataset__T=T, dataset__frames="counts")
    assert table(tmp_path).keys == ("T", "grad_mode")


def test_keys_that_change_together_stand_there_both(tmp_path: Path) -> None:
    for lr, batch in ((0.1, 64), (0.05, 32)):
        pair(tmp_path, optimizer__lr=lr, trainer__batch_size=batch)
    found = table(tmp_path)
    assert set(found.keys) == {"optimizer.lr", "trainer.batch_size", "grad_mode"}
    assert [dict(zip(found.keys, row, strict=False))["trainer.batch_size"] for row in found.rows] == [
        "32", "32", "64", "64"
    ]  # fmt: skip


def test_a_row_without_a_partner_says_why(tmp_path: Path) -> None:
    pair(tmp_path, optimizer__lr=0.1)
    pair(tmp_path, optimizer__lr=0.05)
    write_run(tmp_path, grad_mode="rate", trainer__batch_size=17)
    found = compared(tmp_path)
    assert [row.difference is None for row in found].count(True) == 3  # two bases, and the odd one
    (odd,) = [row for row in found if row.facet.setting.get("trainer.batch_size") == "17"]
    (note,) = odd.notes
    assert note.startswith("no run of grad_mode=bptt that agrees in all else: the nearest has")
    assert "trainer.batch_size=64" in note


@pytest.mark.parametrize(
    ("changes", "asked", "compare", "base", "x"),
    [
        ([{"grad_mode": m, "T": T} for m in ("bptt", "rate") for T in (2, 4)], {}, "grad_mode", "bptt", "T"),
        ([{"grad_mode": m} for m in ("bptt", "rate")], {"base": "rate"}, "grad_mode", "rate", None),
        ([{"neuron__name": n, "neuron__tau": t} for n, t in (("lif", 1.25), ("plif", 2.0))], {},
         "neuron.name", "lif", None),
        ([{"optimizer__lr": lr} for lr in (0.2, 0.05, 0.1)], {}, "optimizer.lr", "0.05", "optimizer.lr"),
        ([{"T": T, "optimizer__lr": lr} for T in (2, 4) for lr in (0.1, 0.2, 0.3)], {},
         "optimizer.lr", "0.1", "T"),
        ([{"T": T, "optimizer__lr": lr} for T in (2, 4) for lr in (0.1, 0.2, 0.3)], {"compare": "T"},
         "T", "2", "optimizer.lr"),
        ([{"T": T, "neuron__name": n} for T in (2, 4) for n in ("lif", "if")], {}, "neuron.name", "if", "T"),
        ([{"T": T} for T in (2, 4)], {}, "T", "2", "T"),
        ([{"trainer__chunk": None}], {}, "grad_mode", "rate", None),
        ([{"grad_mode__segments": k} for k in (1, 2, 4)], {}, "grad_mode", "rate", None),
        ([{"grad_mode__segments": k} for k in (1, 2, 4)], {"compare": "grad_mode.segments"},
         "grad_mode.segments", "1", "grad_mode.segments"),
    ],
)  # fmt: skip
def test_what_is_compared_follows_what_differs(
    tmp_path: Path,
    changes: list[dict[str, object]],
    asked: dict[str, str],
    compare: str,
    base: str,
    x: str | None,
) -> None:
    for change in changes:
        write_run(tmp_path, **({"grad_mode": "rate"} | change))  # type: ignore[arg-type]
    runs = shown_runs(tmp_path)
    axes = choose_axes(runs, **asked)
    assert (axes.compare, axes.base, axes.x) == (compare, base, x)
    found = rows(group_runs(runs, axes))
    assert sum(len(row.group.runs) for row in found) == len(changes)
    assert sum(row.difference is not None for row in found) == len(found) - len(
        [row for row in found if row.group.value == base]
    )


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"compare": "neuron"}, "--compare neuron: does not differ between these runs; grad_mode, T do"),
        ({"x": "seed"}, "--x seed: seeds are pooled; other keys that differ: grad_mode, T"),
        ({"x": "grad_mode"}, "--x grad_mode: must be a key with numbers; T is one"),
        ({"base": "rat"}, "--base rat: no value of grad_mode here; it has bptt, rate"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, asked: dict[str, str], told: str) -> None:
    pair(tmp_path, T=2)
    pair(tmp_path, T=4)
    with pytest.raises(UserError) as refused:
        choose_axes(shown_runs(tmp_path), **asked)
    assert str(refused.value) == told


def test_of_many_differences_holm_says_which_are_sure(tmp_path: Path) -> None:
    """Three values against a base: of p = 0.003, 0.02 and 0.4 the second passes 0.05 / 2."""
    gains = {0.1: (0.0, 0.0, 0.0), 0.2: (0.1, 0.11, 0.09), 0.3: (0.05, 0.06, 0.045), 0.4: (0.01, -0.02, 0.04)}
    for lr, by_seed in gains.items():
        for seed, gain in enumerate(by_seed):
            write_run(tmp_path, 0.5 + 0.01 * seed + gain, grad_mode="rate", optimizer__lr=lr, seed=seed)
    base, *others = compared(tmp_path)
    ps = [row.difference.p for row in others if row.difference is not None and row.difference.p is not None]
    ordered = sorted(ps)
    expected = [
        p for n, p in enumerate(ordered) if all(q <= 0.05 / (3 - m) for m, q in enumerate(ordered[: n + 1]))
    ]
    assert [row.sure for row in others] == [p in expected for p in ps] == [
        True,
        True,
        False,
    ] and not base.sure
    assert "over all 3 differences (Holm)" in table(tmp_path).about


def test_a_learning_rate_tuned_for_each_method_is_shown_and_keeps_none_apart(tmp_path: Path) -> None:
    for T in (2, 4):
        write_run(tmp_path, grad_mode="bptt", T=T, optimizer__lr=0.1)
        write_run(tmp_path, grad_mode="rate", T=T, optimizer__lr=0.05)
    found = table(tmp_path)
    assert found.keys == ("T", "optimizer.lr", "grad_mode")
    assert keys(found) == [(T, *end) for T in "24" for end in (("0.1", "bptt"), ("0.05", "rate"))]
    assert all(row.difference is not None for row in compared(tmp_path) if row.group.value == "rate")


def test_where_and_how_it_ran_makes_no_other_setting(tmp_path: Path) -> None:
    write_run(tmp_path, grad_mode="bptt", trainer__device="cuda", tracker__name="wandb")
    write_run(tmp_path, grad_mode="rate", trainer__threads=1, optimizer__lr=0.1)
    write_run(tmp_path, grad_mode="rate", seed=1, dataset__root="elsewhere")
    bptt, rate = compared(tmp_path)
    assert len(bptt.group.runs) == 1 and len(rate.group.runs) == 2 and rate.facet.label == ""


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
    bptt, rate = compared(tmp_path)
    assert figures(bptt)[2] == "200" and figures(rate)[2:4] == ["100", "–"] and figures(rate)[5] == "–"
    assert rate.notes == (f"step time: not comparable: {reason}",)
    assert figures(rate)[1] != "–"  # accuracies compare all the same


def test_kernels_are_rates_alone_named_and_never_pooled(tmp_path: Path) -> None:
    """What a GPU gives by default: rate compiled, and BPTT, which has no such kernels."""
    gpu = {"device": "NVIDIA H100"}
    for seed in (0, 1, 2):
        write_run(tmp_path, grad_mode="bptt", seed=seed, seconds=0.2, machine=gpu | {"kernels": None})
    for seed, kernels in enumerate(("compiled", "compiled", "plain")):
        write_run(
            tmp_path, grad_mode="rate", seed=seed, seconds=0.1 + seed, machine=gpu | {"kernels": kernels}
        )
    bptt, rate = compared(tmp_path)
    assert figures(bptt)[2] == "200" and figures(rate)[2] == "600"  # 0.1 and 1.1 s
    assert rate.seconds.mean is not None and rate.seconds.mean.n == 2
    assert rate.seconds.ratio == pytest.approx((0.5 * 5.5) ** 0.5)
    assert rate.notes[0].startswith("step time: 2 of 3 runs: those on NVIDIA H100")
    assert rate.notes[0].endswith("compiled kernels")


def test_chunks_decide_costs_and_are_never_pooled(tmp_path: Path) -> None:
    for seed, chunk in enumerate((None, None, 1)):
        write_run(tmp_path, grad_mode="bptt", seed=seed, seconds=0.1)
        write_run(tmp_path, grad_mode="rate", seed=seed, seconds=0.9 if chunk else 0.2, trainer__chunk=chunk)
    bptt, rate = compared(tmp_path)
    assert figures(bptt)[2] == "100" and figures(rate)[2:4] == ["200", "2.00"]
    assert rate.notes[0].startswith("step time: 2 of 3 runs: those on AMD EPYC")
    assert rate.notes[0].endswith(", plain kernels")


def test_results_of_different_code_side_by_side_are_noted(tmp_path: Path) -> None:
    write_run(tmp_path, grad_mode="bptt")
    file = write_run(tmp_path, grad_mode="rate") / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"code": {"version": "0.2", "hash": "ffff"}}))
    write_report([tmp_path])
    note = "computed by different versions of the code: ffff, 0123456789ab"
    assert all(note in (tmp_path / name).read_text() for name in ("table.md", "table.tex", "report.html"))


def test_costs_are_those_of_the_machine_that_most_pairs_share(tmp_path: Path) -> None:
    gpu = {"device": "NVIDIA H100"}
    for seed in (0, 1):
        write_run(tmp_path, grad_mode="bptt", seed=seed, seconds=0.4)
        write_run(tmp_path, grad_mode="rate", seed=seed, seconds=0.1)
    write_run(tmp_path, grad_mode="bptt", seed=2, seconds=0.004, machine=gpu)
    write_run(tmp_path, grad_mode="rate", seed=2, seconds=0.002, machine=gpu)
    bptt, rate = compared(tmp_path)
    assert figures(bptt)[2] == "400" and figures(rate)[2:4] == ["100", "0.25"]
    assert "2 of 3 runs" in rate.notes[0] and "AMD EPYC" in rate.notes[0]


def test_what_was_not_measured_is_blank(tmp_path: Path) -> None:
    write_run(tmp_path, grad_mode="bptt", seconds=None)
    write_run(tmp_path, grad_mode="rate", seconds=0.1)
    bptt, rate = compared(tmp_path)
    assert figures(bptt)[2] == "–" and bptt.notes == ("step time: nothing measured",)
    assert figures(rate)[2:4] == ["100", "–"] and rate.notes == ("step time: nothing measured of the base",)


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
    _, row = compared(tmp_path)
    assert figures(row)[0] == "90.00 (n=1)"
    rate, pairs = row.notes
    assert rate.startswith("1 running (epoch 2), 1 failed (out of memory: try less), 1 lost (no sign of")
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
    found = compared(tmp_path / "a", tmp_path / "b", tmp_path)  # a folder named twice is read once
    assert [figures(row)[0] for row in found] == ["80.00 (n=1)", "80.00 (n=1)"]


def test_of_two_sweeps_of_the_same_runs_one_is_shown_whole_and_the_other_told(tmp_path: Path) -> None:
    """The same cells on two machines, where results differ by rounding."""
    a, b = tmp_path / "a", tmp_path / "b"
    write_run(a, 0.9, grad_mode="bptt")
    write_run(a, None, "running", grad_mode="rate")
    write_run(b, 0.8, grad_mode="bptt", machine={"device": "NVIDIA H100"})
    write_run(b, 0.7, grad_mode="rate", machine={"device": "NVIDIA H100"})
    bptt, rate = compared(tmp_path)
    assert [figures(row)[0] for row in (bptt, rate)] == ["80.00 (n=1)", "70.00 (n=1)"]
    assert rate.seconds.ratio == 1.0
    page = write_report([tmp_path]).read_text()
    name = bptt.group.runs[0].name
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
    found = compared(tmp_path)
    assert [len(row.group.runs) for row in found] == [1, 1, 1]
    assert sorted(row.facet.label for row in found) == ["", "", "config.yaml=missing"]


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
        labels = sorted(row.facet.label for row in compared(tmp_path))
        assert labels == ["", "", "config.yaml=missing"]
    else:
        assert "Not readable: " in page and odd in page and len(read_runs([tmp_path])[0]) == 2


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


@pytest.mark.parametrize("values", [(64, "64"), (None, "null"), (True, "true"), (0.5, "0.5", "x")])
def test_values_that_are_written_alike_are_not_pooled(tmp_path: Path, values: tuple[Any, ...]) -> None:
    for n, value in enumerate(values):
        for seed in (0, 1):
            write_run(tmp_path, 0.5 + 0.1 * n, arch__width=value, seed=seed)
    found = compared(tmp_path)
    assert sorted(row.accuracy.mean for row in found if row.accuracy) == pytest.approx(
        [0.5 + 0.1 * n for n in range(len(values))]
    )
    assert len({row.group.value for row in found}) == len(values)


def test_a_base_that_is_written_in_quotes_may_be_named_without(tmp_path: Path) -> None:
    for value in ("64", "128"):
        write_run(tmp_path, arch__width=value)
    assert [row.group.value for row in compared(tmp_path, base="64")] == ["'64'", "'128'"]


def test_done_runs_without_an_accuracy_are_counted(tmp_path: Path) -> None:
    for seed in (0, 1):
        folder = write_run(tmp_path, 0.9, seed=seed)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"headline_acc": None}))
    (row,) = compared(tmp_path)
    assert row.accuracy is not None and row.accuracy.n == 1
    assert row.notes == ("1 done without an accuracy",)


def test_the_gradient_mode_may_be_asked_for_by_its_name_in_the_config(tmp_path: Path) -> None:
    pair(tmp_path)
    assert choose_axes(shown_runs(tmp_path), "grad_mode.name").compare == "grad_mode"


@pytest.mark.parametrize(("seconds", "shown"), [(0.0999, "99.9"), (0.09996, "100"), (0.00996, "9.96")])
def test_three_digits_leave_no_bare_point(tmp_path: Path, seconds: float, shown: str) -> None:
    write_run(tmp_path, seconds=seconds)
    assert figures(compared(tmp_path)[0])[2] == shown
