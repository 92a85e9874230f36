"""`rbp align`: what it prints and writes of a checkpoint, and what it refuses."""

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from rbp.cli import main
from rbp.errors import Preempted
from rbp.runs.folder import RunFolder
from rbp.train import train
from tests.support.training import EVERYTHING, LOOKS, Scheduled, short


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run that measured itself before and after its training, with all of its checkpoints."""
    torch.set_num_threads(1)
    more = ("trainer.align_every=3", "trainer.keep=all")
    cfg, run = short(tmp_path_factory.mktemp("trained"), *EVERYTHING, *more)
    train(cfg, run.path)
    return run


def measured(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict:
    assert main(["align", *map(str, words), "--json"]) == 0
    found: dict = json.loads(capsys.readouterr().out)
    return found


def files(run: RunFolder) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}


def test_it_finds_what_training_found_at_the_same_weights(
    trained: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(trained)
    found = measured(capsys, trained.path, "--weights", "last")
    last = json.loads(trained.alignment.read_text().splitlines()[-1])
    assert last["epoch"] == 3 and {key: found[key] for key in last} == last
    assert found["checkpoint"].endswith("last.pt") and found["notes"] == []
    assert files(trained) == before


def test_table_csv_and_figure_have_the_same_numbers(
    trained: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measured(capsys, trained.path, "--segments", "1")
    table, figure = tmp_path / "a.csv", tmp_path / "a.svg"
    words = ["--segments", "1", "--csv", str(table), "--figure", str(figure)]
    assert main(["align", str(trained.path), *words]) == 0
    out = capsys.readouterr().out
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert {(row["mode"], row["layer"]) for row in rows} == {
        (mode, layer) for mode in ("rate", "noise floor") for layer in ("all", "0", "1", "2", "6")
    }
    for row in rows:
        whole = found["noise_floor"] if row["mode"] == "noise floor" else found["modes"]["rate"]
        cosine = whole[row["layer"]].get("cosine", whole[row["layer"]])
        assert float(row["cosine"]) == cosine["mean"] and int(row["n"]) == cosine["n"]
        line = next(line for line in out.splitlines() if line.split(" ")[0] == row["layer"])
        assert f"{cosine['mean']:.4f} ± {cosine['std']:.4f}" in line
    assert "T=2, 8 batches of 16 training images" in out
    drawn = "".join(ElementTree.parse(figure).getroot().itertext())
    assert "Rate-BP" in drawn and "noise floor" in drawn and trained.path.name in drawn.replace("\n", "")


def test_at_other_T_it_says_so(trained: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    found = measured(capsys, trained.path, "T=3", "--batches", "9")
    assert list(found["modes"]) == ["rate", "rate segments=2", "rate segments=3"]
    assert (found["T"], found["batches"]) == (3, 9) and found["notes"] == ["changed: T=3 (was 2)"]


def test_weights_saved_in_mid_epoch_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg, run = short(tmp_path, *EVERYTHING)
    with pytest.raises(Preempted):
        train(cfg, run.path, Scheduled(LOOKS + 3))
    assert main(["align", str(run.path), "--segments", "1"]) == 0
    assert "last.pt, epoch 1 + 3 batches" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--segments", "1,3"], "--segments 1,3: must be whole numbers from 1 to T=2"),
        (["--segments", "two"], "--segments two: must be whole numbers from 1 to T=2"),
        (["--batches", "7"], "--batches 7: at least 8"),
        (["--batches", "99"], "--batches 99: gradients are compared on 99 batches of 16 images"),
        (["--csv", "no/such/a.csv"], "--csv no/such/a.csv: there is no folder no/such"),
        (["--csv", "."], "--csv .: is a folder; name a file in it"),
        (["optimizer.lr=1"], "optimizer.lr=1: decides nothing"),
        (["elsewhere"], "name one run's folder"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    trained: RunFolder, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["align", str(trained.path), *words]) == 2
    err = capsys.readouterr().err
    assert "error: " in err and told in " ".join(err.split()) and "Traceback" not in err
