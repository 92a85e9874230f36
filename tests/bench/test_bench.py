"""The benchmark compares like with like, and writes what it measured."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import rbp
from rbp.bench.contestants import BPTT, MEMOPT, NAMES, RATE, RELU, contestant
from rbp.bench.measure import Timing, ratio
from rbp.bench.run import rows
from rbp.cli import main
from rbp.models import build
from tests.support.configs import make

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


def test_rate_is_the_engine_and_relu_a_network_without_neurons() -> None:
    net = build(make())
    F.cross_entropy(rbp.forward(net, X.expand(3, *X.shape)), Y).backward()
    for ours, theirs in zip(net.parameters(), gradients(RATE), strict=True):
        assert ours.grad is not None and torch.equal(ours.grad, theirs)
    relu, _ = contestant(RELU, make(), X)
    assert [type(m).__name__ for m in relu].count("ReLU") == 3
    assert all(torch.equal(a, b) for a, b in zip(relu.parameters(), net.parameters(), strict=True))


def test_the_floor_is_t_forwards_and_one_backward_of_the_relu_network() -> None:
    def timing(seconds: float) -> Timing:
        return Timing(wall=[seconds, seconds * 2], cpu=[seconds, seconds], kept_bytes=8)

    table = rows(4, {RELU: timing(1.0), BPTT: timing(4.0), RATE: timing(2.0)})
    by_name = {row["contestant"]: row for row in table}
    assert by_name[RATE]["times_floor"] == 1.0 and by_name[RATE]["times_bptt"] == 0.5
    assert by_name[BPTT]["times_floor"] == 2.0 and by_name[RELU]["times_relu"] == 1.0


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
        (["--kernels", "fast"], "--kernels fast"),
        (["--device", "gpu"], "trainer.device=gpu"),
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
