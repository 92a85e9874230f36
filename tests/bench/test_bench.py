"""The benchmark compares like with like, and writes what it measured."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from omegaconf import DictConfig

import rbp
from rbp.bench.contestants import (
    ALL,
    BPTT,
    MEMOPT,
    NAMES,
    RATE,
    RATE_COMPILED,
    RATE_GRAPH,
    RELU,
    RELU_COMPILED,
    contestant,
    who,
)
from rbp.bench.figure import colour, draw
from rbp.bench.limits import Speed, Work
from rbp.bench.measure import Bench, Timing, _tolerant, measure, ratio
from rbp.bench.run import rows
from rbp.cli import main
from rbp.errors import ConfigError
from rbp.models import build
from rbp.report.figures.style import KNOWN
from tests.support.configs import make

pytestmark = pytest.mark.slow

X = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 3])


def gradients(name: str, *overrides: str) -> list[torch.Tensor]:
    cfg = make("T=3", "trainer.device=cpu", *overrides)
    net, forward = contestant(name, cfg, X)
    F.cross_entropy(forward(X, 3), Y).backward()
    return [p.grad for p in net.parameters()]  # type: ignore[misc]


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("arch", ["digits_cnn", pytest.param("resnet18", marks=pytest.mark.slow)])
def test_bptt_with_and_without_memopt_and_rbps_own_give_the_same_gradients(arch: str, step_mode: str) -> None:
    options = (f"arch={arch}", f"step_mode={step_mode}")
    net = build(make(*options))
    y = rbp.forward(net, X.expand(3, *X.shape), step_mode=step_mode, grad_mode="bptt")
    F.cross_entropy(y, Y).backward()
    for name in (BPTT, MEMOPT):
        for ours, theirs in zip(net.parameters(), gradients(name, *options), strict=True):
            assert ours.grad is not None
            torch.testing.assert_close(theirs, ours.grad, rtol=1e-3, atol=1e-5)


SEQUENCES = ("arch=sj_maxformer", "arch.embed_dims=16", "arch.depths=[1,1,1]")


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("layout", ["TB", "null"])
def test_networks_that_take_sequences_are_run_as_they_are_written(layout: str, step_mode: str) -> None:
    options = (*SEQUENCES, f"arch.layout={layout}", f"step_mode={step_mode}")
    net = build(make(*options))
    y = rbp.forward(net, X.expand(3, *X.shape), step_mode=step_mode, grad_mode="bptt", layout="TB")
    F.cross_entropy(y, Y).backward()
    for name in (BPTT, MEMOPT):
        for ours, theirs in zip(net.parameters(), gradients(name, *options), strict=True):
            assert ours.grad is not None
            torch.testing.assert_close(theirs, ours.grad, rtol=1e-3, atol=1e-5)
    assert all(g.isfinite().all() for g in gradients(RATE, *options))


def test_the_relu_network_of_sequences_sees_the_image_once() -> None:
    net, forward = contestant(RELU, make("T=3", *SEQUENCES), X)
    seen: list[tuple[int, ...]] = []
    first = next(m for m in net.modules() if isinstance(m, torch.nn.Conv2d))
    first.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[:-3]))
    assert forward(X, 3).shape == (4, 10) and seen == [(1, 4)]


def test_a_network_that_repeats_the_image_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"arch\.layout=static: .*step, TB, BT"):
        contestant(BPTT, make("T=3", *SEQUENCES, "arch.layout=static"), X)


def test_rate_is_the_engine_and_relu_a_network_without_neurons() -> None:
    net = build(make())
    F.cross_entropy(rbp.forward(net, X.expand(3, *X.shape)), Y).backward()
    for ours, theirs in zip(net.parameters(), gradients(RATE), strict=True):
        assert ours.grad is not None and torch.equal(ours.grad, theirs)
    relu, _ = contestant(RELU, make(), X)
    assert [type(m).__name__ for m in relu.children()].count("ReLU") == 3
    assert all(torch.equal(a, b) for a, b in zip(relu.parameters(), net.parameters(), strict=True))


def test_the_floor_is_t_forwards_and_one_backward_of_the_relu_network() -> None:
    def timing(seconds: float) -> Timing:
        return Timing(wall=[seconds, seconds * 2], cpu=[seconds, seconds], kept_bytes=8)

    table = rows(4, {RELU: timing(1.0), BPTT: timing(4.0), RATE: timing(2.0)})
    by_name = {row["contestant"]: row for row in table}
    assert by_name[RATE]["times_floor"] == 1.0 and by_name[RATE]["times_bptt"] == 0.5
    assert by_name[BPTT]["times_floor"] == 2.0 and by_name[RELU]["times_relu"] == 1.0


def test_limits_are_work_over_speed_and_what_is_not_there_is_null() -> None:
    timing = Timing(wall=[1.0], cpu=[1.0], work=Work(operations=500, moved_bytes=300))
    unknown = Timing(wall=[1.0], cpu=[1.0])
    one, other = rows(2, {RATE: timing, RATE_GRAPH: unknown}, Speed(operations=1000.0, moved_bytes=100.0))
    assert one["operations_seconds"] == 0.5 and one["bytes_seconds"] == 3.0
    assert one["operations"] == 500 and one["moved_bytes"] == 300
    assert [one[key] for key in ("times_relu", "times_floor", "times_floor_cpu", "times_bptt")] == [None] * 4
    assert [other[key] for key in ("operations", "operations_seconds", "kernel_launches")] == [None] * 3


def test_who_takes_part() -> None:
    assert who(compile=False, kernels="auto") == who(compile=False, kernels="compiled") == NAMES
    assert who(compile=True, kernels="auto") == ALL and {RATE_COMPILED, RATE_GRAPH} < set(ALL)
    assert who(compile=True, kernels="plain") == (RELU, RELU_COMPILED, BPTT, MEMOPT, RATE)


def test_one_that_cannot_run_is_left_out_with_a_line_and_one_of_the_four_for_memory_alone() -> None:
    def fail(error: Exception) -> None:
        raise error

    bench = Bench(ALL, 4, torch.device("cpu"), 1, {})
    assert _tolerant(bench, BPTT, lambda: fail(torch.OutOfMemoryError("CUDA out of memory"))) is None
    assert _tolerant(bench, RELU_COMPILED, lambda: fail(RuntimeError("no compiler\nat all"))) is None
    assert bench.notes == [
        f"{BPTT}: left out, as it does not fit into memory",
        f"{RELU_COMPILED}: left out: no compiler",
    ]
    with pytest.raises(RuntimeError, match="no compiler"):
        _tolerant(bench, BPTT, lambda: fail(RuntimeError("no compiler")))


def test_a_counter_that_fails_costs_its_columns_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise NotImplementedError("no rule for sj_lif::forward")

    monkeypatch.setattr("rbp.bench.measure.count", fail)
    bench = Bench((RELU, BPTT), 4, torch.device("cpu"), 1, {})
    found = measure(make("T=2", "trainer.device=cpu"), bench)
    assert [timing.work for timing in found.values()] == [None, None]
    assert bench.notes[0] == f"operations and bytes of {RELU}: not measured: no rule for sj_lif::forward"


def test_a_ratio_is_taken_round_by_round() -> None:
    assert ratio([1.0, 20.0, 3.0], [1.0, 10.0, 1.0]) == 2.0  # of the medians it would be 3


def test_the_command_writes_its_table_as_json_and_as_a_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [
        "bench",
        "--arch",
        "digits_cnn",
        "--dataset",
        "digits",
        "--T",
        "1,3",
        "--batch",
        "4",
        "--rounds",
        "1",
    ]
    assert main([*line, "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "digits_cnn-B4-m-fp32-cpu.json").read_text())
    assert [(row["T"], row["contestant"]) for row in record["rows"]] == [
        (t, n) for t in (1, 3) for n in NAMES
    ]
    kept = {(row["T"], row["contestant"]): row["kept_bytes"] for row in record["rows"]}
    assert kept[3, BPTT] > 2.5 * kept[1, BPTT] and kept[3, RATE] == kept[1, RATE]
    assert kept[3, RELU] == kept[1, RELU]
    figure = (tmp_path / "digits_cnn-B4-m-fp32-cpu.svg").read_text()
    assert figure.startswith("<?xml") and "digits_cnn, batch 4" in figure.replace("<!-- ", "")
    assert "3  rate" in capsys.readouterr().out
    assert record["complete"] and record["notes"] == []
    machine = record["machine"]
    assert machine["clock"] is None and machine["spikingjelly_neurons"] == "torch"
    for row in record["rows"]:
        assert row["layout"] == "contiguous" and row["kernel_launches"] is None and row["peak_bytes"] is None
        assert row["bytes_seconds"] == pytest.approx(row["moved_bytes"] / machine["bytes_per_second"])
        assert row["operations_seconds"] > 0


SEGMENTS = ["--T", "2,4", "--segments", "1,2,4"]


def test_segments_of_time_are_contestants_with_floors_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, *SEGMENTS, "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "dvs_cnn-B4-m-fp32-cpu-segments1,2,4.json").read_text())
    rows_of = {(row["T"], row["segments"]): row for row in record["rows"] if row["contestant"][:4] == "rate"}
    assert set(rows_of) == {(2, 1), (2, 2), (4, 1), (4, 2), (4, 4)}
    assert "rate, 4 segments: left out: segments=4: a whole number from 1 to T=2" in capsys.readouterr().out
    for (T, k), row in rows_of.items():
        assert row["times_floor"] == pytest.approx(row["times_relu"] * 3 / (T + 2 * k))
    kept = [rows_of[4, k]["kept_bytes"] for k in (1, 2, 4)]
    assert kept == sorted(kept)


@pytest.mark.parametrize(
    "wrong", [["--segments", "0"], ["--segments", "a"], ["--segments", "2", "--chunk", "2"]]
)
def test_segments_that_cannot_be(
    wrong: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, *wrong, "--out", str(tmp_path)]) == 2
    assert "--segments" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_every_gradient_mode_takes_part_and_online_ones_keep_one_step(tmp_path: Path) -> None:
    modes = ["--grad-mode", "bptt,rate,sltt,ottt", "--T", "2,6", "--out", str(tmp_path)]
    assert main([*SMALL, *modes]) == 0
    stem = "dvs_cnn-B4-m-fp32-cpu-bptt,rate,sltt,ottt"
    record = json.loads((tmp_path / f"{stem}.json").read_text())
    assert record["grad_modes"] == ["bptt", "rate", "sltt", "ottt"]
    kept = {(row["contestant"], row["T"]): row["kept_bytes"] for row in record["rows"]}
    assert {name for name, _ in kept} == {RELU, BPTT, MEMOPT, RATE, "sltt", "ottt"}
    for mode in ("sltt", "ottt"):
        assert kept[mode, 2] == kept[mode, 6] > 0
    assert kept[BPTT, 6] > 2 * kept[BPTT, 2]
    for row in record["rows"]:
        if row["contestant"] in ("sltt", "ottt"):
            assert row["times_floor"] == pytest.approx(row["times_relu"] / row["T"])
    drawn = (tmp_path / f"{stem}.svg").read_text()
    assert "sltt" in drawn and "ottt" in drawn


def test_only_the_modes_that_are_asked_for_take_part() -> None:
    assert who(True, "auto", (1, 2), ["sltt"]) == (RELU, RELU_COMPILED, "sltt")
    assert who(False, "auto", (1, 2), ["bptt"]) == (RELU, BPTT, MEMOPT)
    assert who(False, "auto", (1, 2), ["ottt", "rate"]) == (RELU, RATE, "rate, 2 segments", "ottt")


SMALL = ["bench", "--arch", "dvs_cnn", "--dataset", "digits", "--batch", "4", "--rounds", "1"]


def test_what_was_done_when_time_is_up_is_in_valid_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Asked: before the table, before each of 4 contestants at T=1, after it, before 2 of them at T=2.
    asked = iter([False] * 8)
    monkeypatch.setattr(Bench, "late", lambda self: next(asked, True))
    assert (
        main([*SMALL, "--T", "1,2,3", "--step-mode", "m,s", "--seconds", "60", "--out", str(tmp_path)]) == 0
    )
    record = json.loads((tmp_path / "dvs_cnn-B4-m-fp32-cpu.json").read_text())
    assert [(row["T"], row["contestant"]) for row in record["rows"]] == [
        *((1, name) for name in NAMES),
        *((2, name) for name in (RELU, BPTT)),
    ]
    assert not record["complete"] and (tmp_path / "dvs_cnn-B4-m-fp32-cpu.svg").exists()
    assert not (tmp_path / "dvs_cnn-B4-s-fp32-cpu.json").exists()
    assert "Stopped after --seconds 60" in capsys.readouterr().out


def test_each_t_is_written_before_the_next_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_at_2(cfg: DictConfig, bench: Bench) -> dict[str, Timing]:
        if cfg.T == 2:
            raise KeyboardInterrupt
        return measure(cfg, bench)

    monkeypatch.setattr("rbp.bench.run.measure", fail_at_2)
    assert main([*SMALL, "--T", "1,2", "--out", str(tmp_path)]) == 130
    record = json.loads((tmp_path / "dvs_cnn-B4-m-fp32-cpu.json").read_text())
    assert [row["T"] for row in record["rows"]] == [1] * 4 and not record["complete"]


def test_seconds_that_are_up_at_once_measure_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, "--seconds", "1e-9", "--out", str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == [] and "Stopped after --seconds 1e-09" in capsys.readouterr().out


def test_profile_writes_the_ten_longest_of_each_contestant(tmp_path: Path) -> None:
    assert main([*SMALL, "--T", "2", "--profile", "--out", str(tmp_path)]) == 0
    profiles = json.loads((tmp_path / "dvs_cnn-B4-m-fp32-cpu-profile.json").read_text())
    assert [(each["T"], each["contestant"]) for each in profiles] == [(2, name) for name in NAMES]
    assert all(len(each["longest"]) == 10 for each in profiles)
    assert {"name", "calls", "ms"} <= profiles[0]["longest"][0].keys()
    text = (tmp_path / "dvs_cnn-B4-m-fp32-cpu-profile.txt").read_text()
    assert "T=2, bptt + memopt" in text and "aten::convolution_backward" in text


def test_the_figure_has_the_reports_colours() -> None:
    of_report = {RATE: "rate", "rate, 4 segments": "rate segments=4", "sltt": "sltt", "ottt": "ottt"}
    assert {name: colour(name) for name in of_report} == {
        name: KNOWN[mode].colour for name, mode in of_report.items()
    }
    assert colour("somebody new") is None and len({colour(name) for name in (*ALL, "sltt", "ottt")}) == 9


def test_the_figure_draws_whoever_is_there(tmp_path: Path) -> None:
    names = (*ALL, "somebody new")
    found = {name: Timing(wall=[1.0], cpu=[1.0], kept_bytes=2**20) for name in names}
    for table, file in ((found, "all.svg"), ({RATE: found[RATE]}, "alone.svg"), ({}, "none.svg")):
        record = {"rows": rows(2, table), "arch": "a", "batch": 2, "step_mode": "m"}
        draw(record | {"machine": {"precision": "fp32", "device": "d"}}, tmp_path / file)
    assert all(f"<!-- {name} -->" in (tmp_path / "all.svg").read_text() for name in names)
    assert f"<!-- {RATE} -->" in (tmp_path / "alone.svg").read_text()


@pytest.mark.slow
def test_a_table_for_each_batch_size_step_mode_and_precision(tmp_path: Path) -> None:
    line = ["bench", "--arch", "digits_cnn", "--dataset", "digits", "--T", "2", "--rounds", "1"]
    each = ["--batch", "2,4", "--step-mode", "m,s", "--precision", "fp32,bf16", "--chunk", "1"]
    assert main([*line, *each, "--out", str(tmp_path)]) == 0
    found = {}
    for file in tmp_path.glob("*.json"):
        record = json.loads(file.read_text())
        found[record["batch"], record["step_mode"], record["machine"]["precision"]] = record["chunk"]
        assert file.with_suffix(".svg").exists()
    assert found == {(b, s, p): 1 for b in (2, 4) for s in "ms" for p in ("fp32", "bf16")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--T", "0"], "--T 0: must be whole numbers"),
        (["--T", "two"], "--T two: must be whole numbers"),
        (["--arch", "resnet81"], "arch=resnet81: no such option"),
        (["--arch", "vgg11", "--dataset", "digits"], "at least 16 x 16"),
        (["--batch", "1"], "--batch 1"),
        (["--batch", "16,x"], "--batch 16,x"),
        (["--precision", "fp32,fp8"], "--precision fp32,fp8"),
        (["--step-mode", "x"], "--step-mode x"),
        (["--grad-mode", "bptt,stbp"], "--grad-mode bptt,stbp: one or more of bptt, rate, sltt, ottt"),
        (["--kernels", "fast"], "--kernels fast"),
        (["--device", "gpu"], "trainer.device=gpu"),
        (["--rounds", "0"], "--rounds 0: at least 1"),
        (["--chunk", "-1"], "--chunk -1: at least 1"),
        (["--seconds", "0"], "--seconds 0: more than 0"),
        (["--seconds", "nan"], "--seconds nan: more than 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["bench", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_place_or_device_that_is_not_there_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "file").write_text("")
    assert main(["bench", "--out", str(tmp_path / "file")]) == 2
    assert f"--out {tmp_path / 'file'}: not a folder" in capsys.readouterr().err
    assert main(["bench", "--device", "cuda", "--out", str(tmp_path / "out")]) == 2
    assert "--device cuda: there is no usable GPU here" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert main(["bench", "--device", "cuda:2", "--out", str(tmp_path / "out")]) == 2
    assert "--device cuda:2: this machine has cuda:0 to cuda:1" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_everybody_takes_part_and_every_column_is_there(tmp_path: Path) -> None:
    assert main([*SMALL, "--T", "2", "--device", "cuda", "--profile", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "dvs_cnn-B4-m-fp32-cuda.json").read_text())
    assert [row["contestant"] for row in record["rows"]] == list(ALL), record["notes"]
    for row in record["rows"]:
        assert row["kernel_launches"] > 0 and row["peak_bytes"] > 0 and row["operations_seconds"] > 0
    assert record["machine"]["spikingjelly_neurons"] in ("triton", "cuda"), record["notes"]
