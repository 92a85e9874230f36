"""The command rbp, as scripts call it: rbp.cli.main(argv) -> int."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import rbp
from rbp.cli import main
from rbp.config.versions import FORMAT
from rbp.files import load_yaml


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("--version", 0, f"rbp {rbp.__version__}"),
        ("--help", 0, "one run or a grid of them"),
        ("status --help", 0, "runs/SWEEP"),
        ("", 2, "COMMAND"),
        ("train --bogus", 2, "--bogus"),
        ("tarin T=4", 2, "invalid choice: 'tarin'"),
        ("status", 2, "PATH"),
        ("status nowhere --bogus", 2, "unrecognized arguments: --bogus"),
        ("eval", 2, "RUN"),
        ("eval nowhere T=4", 2, "nowhere: no such folder"),
        ("eval nowhere --bogus T=4", 2, "unrecognized arguments: --bogus"),
        ("eval nowhere --weights first", 2, "invalid choice: 'first'"),
        ("init", 2, "DIR"),
        ("status nowhere", 2, "nowhere"),
        ("train T=0", 2, "T=0: must be a whole number"),
        ("train --help", 0, "Groups (group=option)"),
        ("train --cfg job T=7", 0, "T: 7"),
        ("train --version", 0, f"rbp {rbp.__version__}"),
        ("train arch.min_size=abc", 2, "arch.min_size=abc: must be null (any) or a whole number, 1 or more"),
        ("train arch.channels=true", 2, "arch.channels=true: must be null (any)"),
        ("train arch._target_=..", 2, "arch._target_=..: must be the name of a function"),
        ("train dataset._target_=abc", 2, "dataset._target_=abc: must be the name of a function"),
        ("train hydra.launcher._target_=os.getcwd", 2, "hydra.launcher._target_=os.getcwd: is chosen by"),
        ("train hydra.launcher.processes=2", 2, "add hydra/launcher=local or slurm"),
        ("train hydra.launcher.sbatch=[1]", 2, "hydra.launcher.sbatch=[1]: must be keys with values"),
    ],
)
def test_every_end_is_an_exit_code(
    line: str,
    code: int,
    told: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(line.split()) == code
    shown = capsys.readouterr()
    assert told in (shown.err if code else shown.out)
    assert list(here.iterdir()) == []


def test_arguments_may_be_any_sequence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("train", "--version")) == 0 and capsys.readouterr().out == f"rbp {rbp.__version__}\n"


def test_train_is_launch_py_and_every_file_bears_its_format(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "train trainer=debug tracker=none T=7 arch=dvs_cnn trainer.threads=1"
    assert main(line.split()) == 0
    (run,) = (here / "runs" / "single").iterdir()
    assert run.name.startswith("digits-dvs_cnn-T7-m-rate-s0-")
    assert next(iter(load_yaml((run / "config.yaml").read_text()).items())) == ("format", FORMAT)
    result = json.loads((run / "result.json").read_text())
    assert json.loads((run / "status.json").read_text())["format"] == result["format"] == FORMAT
    assert result["code"]["targets"][0] == "rbp.data.static.digits.digits" and "torch" in result["packages"]
    assert result["config"]["grad_mode"] == "rate"
    capsys.readouterr()
    assert main(line.split()) == 0 and "is done already" in capsys.readouterr().out


def test_old_objects_are_not_looked_through_for_garbage_at_start_and_exit() -> None:
    """Imports are not; young objects are, as often as ever; at exit, after all else, nothing is."""
    asked = (
        "import atexit, gc\n"
        "before, old = gc.get_threshold(), lambda: gc.get_stats()[2]['collections']\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 100_000))\n"
        "from rbp.cli import main\n"
        "main(['status', 'nowhere'])\n"
        "n = old()\n"
        "import torch._dynamo\n"
        "print(old() - n, gc.get_threshold()[:2] == before[:2], gc.isenabled())"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
    assert done.stdout == "0 True True\nTrue\n" and "nowhere" in done.stderr, done
