"""What became of a run: `rbp.load` returns its trained network, `rbp eval` scores its weights."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

import rbp
from rbp.cli import main
from rbp.cli.changed_config import changed
from rbp.data import eval_batches
from rbp.data import load as load_data
from rbp.errors import CheckpointError, ConfigError, Preempted, UserError
from rbp.files import read_lines
from rbp.runs.checkpoints import choose_checkpoint
from rbp.runs.config import read_frozen
from rbp.runs.folder import RunFolder
from rbp.train import evaluate, train
from rbp.train.resume.checkpoint import load_checkpoint
from tests.support.configs import as_dict, make
from tests.support.training import SHORT, Scheduled, damage, short

FIRST_VERSION = Path(__file__).parent / "fixtures" / "v0.1" / "runs"
OLD = sorted(file.parents[1].relative_to(FIRST_VERSION) for file in FIRST_VERSION.glob("*/*/*/last.pt"))
KEPT = ("dataset.val_split=0.2", "trainer.keep=all", "sweep.name=two", "trainer.log_every=3")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three epochs with all of its checkpoints; not to be changed."""
    torch.set_num_threads(1)
    cfg, run = short(tmp_path_factory.mktemp("trained"), *KEPT)
    train(cfg, run.path)
    return run.path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it elsewhere."""
    return shutil.copytree(trained, tmp_path / "two" / trained.name)


def weights_of(run: Path, name: str) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(run / "checkpoints" / f"{name}.pt")["network"])


def same(net: nn.Module, weights: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, weights[key]) for key, value in net.state_dict().items())


# --- rbp.load -----------------------------------------------------------------------------------------------


def test_the_network_is_as_accurate_as_the_run_was(trained: Path) -> None:
    before = torch.get_rng_state()
    net, cfg = rbp.load(trained)
    assert torch.equal(torch.get_rng_state(), before) and not net.training
    batches = list(eval_batches(load_data(cfg.dataset).test, cfg.dataset, batch_size=32))[:3]
    with torch.no_grad():
        right = [
            rbp.forward(net, x, T=cfg.T, step_mode=cfg.step_mode).argmax(1).eq(y).sum() for x, y in batches
        ]
    result = json.loads((trained / "result.json").read_text())
    assert sum(map(int, right)) / 96 == result["test_acc"]
    with pytest.raises(Exception, match="read-only"):
        cfg.T = 3


@pytest.mark.parametrize("weights", ["best", "last"])
def test_it_is_the_checkpoint_that_was_asked_for_wherever_the_folder_lies(run: Path, weights: str) -> None:
    net, cfg = rbp.load(str(run), weights=weights)
    assert same(net, weights_of(run, weights)) and cfg.dataset.val_split == 0.2
    moved = run.rename(run.parent / "another name")
    assert same(rbp.load(moved, weights)[0], weights_of(moved, weights))


@pytest.mark.parametrize(
    ("there", "headline", "weights", "file"),
    [
        ("last best previous", "last", None, "last"),
        ("last best previous", "best", None, "best"),
        ("best", "last", None, "best"),  # as trainer.keep=best leaves
        ("last", "best", None, "last"),
        ("last best", "best", "last", "last"),
        ("last", "last", "best", "the run kept only last"),
        ("last", "last", "worst", "must be best, last or None"),
        ("", "last", None, "this run has no checkpoint"),
    ],
)
def test_which_checkpoint_it_is(
    tmp_path: Path, there: str, headline: str, weights: str | None, file: str
) -> None:
    for name in there.split():
        (tmp_path / f"{name}.pt").touch()
    if " " in file:
        with pytest.raises(UserError, match=file):
            choose_checkpoint(tmp_path, {"headline": headline, "keep": None}, weights)
    else:
        found = choose_checkpoint(tmp_path, {"headline": headline}, weights)
        assert found == tmp_path / f"{file}.pt"


@pytest.mark.parametrize("name", OLD, ids=str)
def test_a_run_of_version_0_1_loads(name: Path) -> None:
    net, cfg = rbp.load(FIRST_VERSION / name)
    assert same(net, weights_of(FIRST_VERSION / name, "last")) and cfg.grad_mode.segments == 1


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("nowhere", "no such folder; name a run's folder"),
        ("two", "is not the folder of a run: it holds 1 runs, name one, such as .*digits-digits_cnn-"),
        ("two/RUN/checkpoints/last.pt", "is a file; name the run's folder, such as .*digits_cnn-T2-m"),
        ("two/RUN/checkpoints", "is not the folder of a run: name one"),
    ],
)
def test_what_is_no_run_says_what_to_name(run: Path, tmp_path: Path, path: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        rbp.load(tmp_path / path.replace("RUN", run.name))


def test_a_run_that_lacks_something_says_what_to_do(run: Path) -> None:
    damage(run / "checkpoints" / "last.pt")
    with pytest.raises(CheckpointError, match=r"damaged.*take weights best, which are there too"):
        rbp.load(run)
    (run / "checkpoints" / "best.pt").unlink()
    with pytest.raises(CheckpointError, match="copy it again, or train anew"):
        rbp.load(run)
    with pytest.raises(CheckpointError, match="the run kept only last"):
        rbp.load(run, weights="best")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(CheckpointError, match=r"this run has no checkpoint: .*; start it again"):
        rbp.load(run)
    (run / "config.yaml").unlink()
    with pytest.raises(ConfigError, match=r"config.yaml: is missing: .* copy the run's whole folder"):
        rbp.load(run)


def test_a_network_that_is_no_longer_the_one_that_was_trained_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rbp.models.digits.digits_cnn", lambda neuron, c, k: nn.Linear(c, k))
    with pytest.raises(CheckpointError, match=r"weight is missing; .* check out the code that trained it"):
        rbp.load(run)
    monkeypatch.setattr("rbp.models.digits.digits_cnn", None)
    with pytest.raises(ConfigError, match=r"its network cannot be built: .*PYTHONPATH"):
        rbp.load(run)


def test_other_code_that_fits_is_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rbp.provenance.code._hash", lambda targets: "0123456789ab")
    with pytest.warns(UserWarning, match="computed by code .*, now 0123456789ab"):
        rbp.load(run)


def test_a_device_that_is_not_there_is_named(run: Path) -> None:
    with pytest.raises(ConfigError, match="device=nowhere: the network cannot go there"):
        rbp.load(run, device="nowhere")
    assert next(rbp.load(run, device=torch.device("meta"))[0].parameters()).is_meta


# --- rbp eval -----------------------------------------------------------------------------------------------


def scored(capsys: pytest.CaptureFixture[str], *line: str | Path, code: int = 0) -> list[dict[str, Any]]:
    """What `rbp eval --json` prints, by run."""
    capsys.readouterr()
    assert main(["eval", *map(str, line), "--json"]) == code
    return list(json.loads(capsys.readouterr().out)["runs"])


def files(folder: Path) -> dict[Path, tuple[int, int]]:
    return {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in folder.rglob("*")}


@pytest.mark.parametrize("weights", ["best", "last"])
def test_unchanged_it_finds_what_training_found_and_writes_nothing(
    run: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(run.parents[1])
    (found,) = scored(capsys, run, "--weights", weights)
    lines = {line["epoch"]: line for line in read_lines(run / "metrics.jsonl")}
    result = json.loads((run / "result.json").read_text())
    assert found["epochs"] == (result["best_epoch"] if weights == "best" else 3)
    in_training = lines[found["epochs"]]
    for key in ("test_acc", "test_loss", "val_acc", "firing_rate"):
        assert found[key] == in_training[key], key
    assert found["acc_in_training"] == found["test_acc"] and found["notes"] == []
    assert found["weights"] == weights and found["changed"] == {} and found["made_with"] == run.name
    assert files(run.parents[1]) == before


def test_with_another_T_it_is_what_launch_py_evaluates(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = scored(
        capsys,
        run,
        "T=5",
        "--weights",
        "last",
        "step_mode=s",
        "neuron.v_threshold=0.5",
        "trainer.limit_batches=1",
    )
    line = [*SHORT, *KEPT, "T=5", "step_mode=s", "neuron.v_threshold=0.5", "trainer.limit_batches=1"]
    checkpoint = run / "checkpoints" / "last.pt"
    expected = evaluate(make(*line, "eval_only=true", f"checkpoint={checkpoint}"), run)
    assert {key: found[key] for key in expected} == expected
    changes = {"T": [2, 5], "step_mode": ["m", "s"], "neuron.v_threshold": [1.0, 0.5]}
    assert found["changed"] == changes | {"trainer.limit_batches": [3, 1]}


def test_the_table_says_what_was_changed_and_how_accurate_it_was_in_training(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(run), "T=3"]) == 0
    heading, line, note = capsys.readouterr().out.splitlines()
    assert re.split("  +", heading) == [
        "run",
        "weights",
        "test acc",
        "in training",
        "val acc",
        "loss",
        "firing",
        "acc over t",
        "additions",
        "MACs",
        "uJ",
        "uJ as ANN",
    ]
    in_training = read_lines(run / "metrics.jsonl")[-1]["test_acc"]
    assert line.startswith(f"{run.name}  last, epoch 3  ") and f"{100 * in_training:.2f}%" in line
    assert note == "changed: T=3 (was 2)"


def test_a_sweep_is_one_table_with_the_reasons_of_those_that_have_no_scores(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(run, run.parent / "other")
    shutil.rmtree(other / "checkpoints")
    one, two = sorted(scored(capsys, run.parent, code=1), key=lambda found: "error" in found)
    assert one["test_acc"] == one["acc_in_training"] and "has no checkpoint" in two["error"]
    assert main(["eval", str(run), str(other)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 3 and told[2].startswith("NOT EVALUATED other: ")
    assert main(["eval", str(other)]) == 2
    assert "this run has no checkpoint" in capsys.readouterr().err


def test_scores_that_differ_from_those_of_training_are_doubted(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line | {"test_acc": 0.999} for line in read_lines(run / "metrics.jsonl")]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (found,) = scored(capsys, run)
    assert found["acc_in_training"] == 0.999 and "not the accuracy that training found" in found["notes"][0]
    assert scored(capsys, run, "T=3")[0]["notes"] == []  # another T may have another accuracy


def test_a_checkpoint_in_mid_epoch_is_named_as_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg, folder = short(tmp_path)
    with pytest.raises(Preempted):
        train(cfg, folder.path, Scheduled(9))
    (found,) = scored(capsys, folder.path)
    assert found["part"]["batches"] in (1, 2) and found["acc_in_training"] is None
    assert main(["eval", str(folder.path)]) == 0
    assert f"last, epoch 1 + {found['part']['batches']} batches" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("T=0", "T=0: must be a whole number, 1 or more"),
        ("T=abc", "T=abc: must be a whole number, 1 or more"),
        ("T=1,2", "T=1,2: one value at a time"),
        ("T=[", "T=[: cannot be read"),
        ("step_mode=x", "step_mode=x: must be one of m, s"),
        ("dataset=digits_dvs", "dataset=digits_dvs: a run keeps its dataset; "),
        ("grad_mode=bptt", "grad_mode=bptt: a run keeps its grad_mode"),
        ("optimizer.lr=1", "optimizer.lr=1: decides nothing in an evaluation"),
        ("seed=1", "seed=1: decides nothing"),
        ("trainer.epochs=3", "trainer.epochs=3: decides nothing"),
        ("dataset.val_split=0.5", "dataset.val_split=0.5: decides nothing"),
        ("neuron.alpha=2", "neuron.alpha=2: decides nothing"),
        ("checkpoint=x.pt", "checkpoint=x.pt: --weights"),
        ("dataset.roott=x", "dataset.roott: no such key; did you mean dataset.root?"),
        ("arch.width=3", "arch.width: no such key"),
        ("+arch.width=3", "keys of a run can be changed, not added"),
        ("trainer.device=gpu", "trainer.device=gpu: must be auto, cpu, cuda"),
        ("neuron.tau=0.5", "neuron.tau=0.5: must be a finite number above 1"),
        ("neuron.v_reset=2", "neuron.v_reset=2: must be null or below neuron.v_threshold"),
        ("dataset.mean=[0.1,0.2]", "dataset.mean=[0.1, 0.2]: must have one number per channel"),
        ("dataset.channels=3", "mean"),
    ],
)
def test_a_wrong_override_is_told_as_elsewhere(
    trained: Path, override: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(trained), override]) == 2
    assert told in capsys.readouterr().err


def test_keys_that_stand_for_T_follow_it() -> None:
    values = as_dict(make("dataset=digits_dvs", "arch=dvs_cnn", "grad_mode.segments=T"))
    found, changes = changed(values, ["T=4"])
    assert changes == {"T": (8, 4), "dataset.T": (8, 4)} and found["grad_mode"]["segments"] == 1
    assert values["T"] == 8 and changed(values, []) == (values, {})
    with pytest.raises(ConfigError, match=r"dataset.T=5: must be the run's T=4"):
        changed(values, ["T=4", "dataset.T=5"])


def test_a_run_of_an_online_mode_can_be_scored_at_another_T_and_step_mode() -> None:
    values = as_dict(make("grad_mode=sltt", "grad_mode.backprop_steps=3", "grad_mode.rescale=true"))
    for override, changes in (
        ("T=2", {"T": (4, 2)}),
        ("T=3", {"T": (4, 3)}),
        ("step_mode=m", {"step_mode": ("s", "m")}),
    ):
        assert changed(values, [override])[1] == changes


def test_a_config_of_version_0_1_can_be_changed() -> None:
    values = read_frozen(FIRST_VERSION / OLD[0])
    found, changes = changed(values, ["T=2"])
    assert changes == {"T": (4, 2)} and found == values | {"T": 2}


def test_no_run_is_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for line, told in (
        (["T=4"], "T=4: name a run's folder too"),
        ([str(tmp_path / "empty")], "there are no runs in it"),
        ([str(tmp_path / "nowhere")], "no such folder"),
    ):
        assert main(["eval", *line]) == 2 and told in capsys.readouterr().err
    config = RunFolder(run).config
    config.write_text(yaml.safe_dump({"T": 4}))
    assert main(["eval", str(run)]) == 2 and "not the config of a run" in capsys.readouterr().err
