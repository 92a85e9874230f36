"""The command line: bad input ends in one readable message and writes nothing; --help and --cfg job show."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rbp.config.composition.places import ROOT
from rbp.sweep.launch import main
from tests.support.processes import launch

pytestmark = pytest.mark.usefixtures("here")

BAD = {
    "T=0": ["T=0", "a whole number, 1 or more"],
    "T=-1": ["T=-1", "a whole number, 1 or more"],
    "T=abc": ["T=abc", "a whole number, 1 or more"],
    "T=null": ["T=null", "a whole number, 1 or more"],
    "T=": ["T=:", "a whole number, 1 or more"],
    "T=[2,4]": ["T=[2,4]", "-m T=2,4"],
    "T=2,4": ["T=2,4", "add -m"],
    "grad_mode=foo": ["grad_mode=foo", "bptt, ottt, rate, sltt"],
    "grad_mode=1": ["grad_mode=1", "bptt, ottt, rate, sltt"],
    "arch=resnet81": ["arch=resnet81", "resnet18"],
    "dataset=cifar": ["dataset=cifar", "cifar10, cifar10_dvs, cifar100, digits"],
    "optimizer.lr=abc": ["optimizer.lr=abc", "number above 0"],
    "optimizer.lr=-1": ["optimizer.lr=-1", "number above 0"],
    "lr=abc": ["lr: no such key", "optimizer.lr"],
    "trainer.epochs=0": ["trainer.epochs=0", "1 or more"],
    "trainer.epochs=abc": ["trainer.epochs=abc", "whole number"],
    "trainer.epochs=null": ["trainer.epochs=null", "must not be null"],
    "trainer.epoch=3": ["trainer.epoch: no such key", "trainer.epochs"],
    "trainer.batchsize=3": ["trainer.batchsize: no such key", "trainer.batch_size"],
    "optimzer.lr=1": ["optimzer.lr: no such key", "optimizer.lr"],
    "dtaset=cifar10": ["dtaset: no such key", "dataset"],
    "arch.foo=1": ["arch.foo: no such key", "arch has name"],
    "neuron=if neuron.tau=2": ["neuron.tau: no such key", "neuron has name"],
    "arch=vgg11": ["arch=vgg11 with dataset=digits", "16 x 16"],
    "dataset.augment=3": ["dataset.augment=3", "group of keys"],
    "eval_only": ["eval_only: cannot be read", "key=value"],
    "optimizer.lr=${nowhere}": ["optimizer.lr", "nowhere"],
    "~seed": ["~seed", "cannot be left out"],
    "+seeed=1": ["seeed: no such key", "seed"],
    "hydra.mode=MULTIRUN": ["hydra.mode=MULTIRUN", "-m"],
    "sweeps=quikstart": ["sweeps=quikstart", "sweeps=quickstart"],
    "sweeps=a sweeps=b": ["sweeps=a,b", "one sweep"],
    "-m --cfg job": ["--cfg", "-m"],
    "-m seed=interval(0,1)": ["seed=interval(0,1)", "single values"],
    "-m seed=glob(*)": ["seed=glob(*)", "list the values"],
    "-m arch=glob(x*)": ["arch=glob(x*)", "resnet18"],
    "--resolve": ["--resolve", "--cfg job"],
    "--run T=2": ["--run", "without -m"],
    "-r": ["--run", "without -m"],
    "--cfg job --package arch": ["--package", "--cfg job"],
    "--experimental-rerun x.pickle": ["--experimental-rerun", "same command"],
    "--config-path elsewhere": ["--config-path", "--config-dir"],
    "--cfg jobs": ["--cfg", "job", "--help"],
    "--nonsense": ["--nonsense", "--help"],
    "--config-name nowhere": ["--config-name nowhere", "--config-dir"],
    "--config-dir nowhere": ["--config-dir nowhere", "no such folder"],
    "hydra.launcher.processes=2": ["hydra.launcher.processes", "hydra/launcher=local"],
    "=1": ["=1", "key=value"],
    "+T=5": ["+T=5", "write T=5"],
    "++T=4": ["++T=4", "write T=4"],
    "runs_dir=": ["runs_dir=:", "path of a folder"],
    "checkpoint= eval_only=true": ["checkpoint=:", "null or the path"],
    "hydra/job_logging=default": ["hydra/job_logging=default", "hydra.searchpath"],
    "hydra.output_subdir=.hydra": ["hydra.output_subdir=.hydra", "hydra.searchpath"],
    "dataset.augment.flip=maybe": ["dataset.augment.flip=maybe", "true or false"],
    "dataset.mean=0.5": ["dataset.mean=0.5", "must be a list"],
    "tracker=none tracker.mode=online": ["tracker.mode=online", "tracker=none"],
    "tracker=tensorboard tracker.mode=online": ["tracker.mode=online", "tracker=tensorboard"],
    "tracker.mode=now": ["tracker.mode=now", "offline, online, disabled"],
    "+tracker.api_key=x": ["tracker.api_key", "no such key"],
    "+neuron.foo=1": ["neuron=lif", "foo"],
    "neuron._target_=rbp.models.neurons.plif": ["neuron=lif", "rbp.models.neurons.plif", "init_tau"],
    "arch._target_=os.path.join": ["os.path.join", "cannot be called"],
    "arch._target_=functools.wraps": ["arch._target_=functools.wraps", "torch module"],
    "arch._target_=os": ["arch._target_=os", "name of a function"],
    "dataset._target_=os.getcwd": ["dataset._target_=os.getcwd", "(root, download)"],
    "dataset._target_=builtins.max dataset.root=x": ["dataset._target_=builtins.max", "(root, download)"],
    "arch.name=../../x": ["arch.name=../../x", "letters, digits"],
    "dataset.name=a/b": ["dataset.name=a/b", "letters, digits"],
    "arch.name=null": ["arch.name=null", "letters, digits"],
    "neuron.name=": ["neuron.name=:", "letters, digits"],
    "trainer.threads=100000": ["trainer.threads=100000", "1 to 1024"],
    "dataset.augment.cutout=9": ["dataset.augment.cutout=9", "at most dataset.size=8"],
    "dataset.augment.crop=9": ["dataset.augment.crop=9", "at most dataset.size=8"],
    f"trainer.eval_batch_size={10**23}": ["trainer.eval_batch_size=1000", "below 2^63"],
    f"trainer.limit_batches={10**23}": ["trainer.limit_batches=1000", "below 2^63"],
    f"seed={'9' * 400}": ["seed=999", "below 2^63"],
    f"seed={'9' * 5000}": ["4300 digits"],
    f"optimizer.lr=1{'0' * 70}": ["optimizer.lr=1000", "below 2^63"],
    "optimizer.lr=1e70": ["optimizer.lr=1e+70", "at most 1e+38"],
    f"sweep.name={'x' * 300}": ["xxx", "at most 128"],
    f"runs_dir={'x/' * 2050}": ["runs_dir=x/x", "at most 4000"],
}


@pytest.mark.parametrize("line", BAD, ids=lambda line: line[:60])
def test_bad_input_ends_in_one_message_and_writes_nothing(
    line: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ") and len(told.err.splitlines()) == 1
    assert all(part in told.err for part in BAD[line]), told.err
    assert "HYDRA" not in told.err and "hydra.cc" not in told.err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("line", ["T=0", "trainer.epochs=abc lr=3", "-m T=0,4 arch=vgg11,resnet18"])
def test_bad_input_as_a_process_has_an_exit_code_and_no_stack_trace(line: str, here: Path) -> None:
    done = launch(*line.split(), cwd=here)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    assert done.stdout == "" and list(here.iterdir()) == []


def test_a_runs_dir_that_is_a_link_to_nowhere_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "runs").symlink_to(here / "nowhere")
    assert main([]) == 2
    assert "runs_dir=runs" in capsys.readouterr().err and not (here / "nowhere").exists()


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        pytest.param("trainer=debug trainer.device=cpu trainer.threads=1", marks=pytest.mark.slow),
    ],
)
def test_a_reader_that_has_seen_enough_is_no_failure(line: str, here: Path) -> None:
    """As with `| head -1`, for a reader that leaves at once."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, str(ROOT / "launch.py"), *line.split()]
    done = subprocess.run(command, cwd=here, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
    assert line == "--help" or list(here.rglob("result.json"))


def test_cfg_job_shows_the_composed_config(here: Path) -> None:
    done = launch("--cfg", "job", "T=6", "arch=vgg11", "dataset=cifar10", cwd=here)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("T: 6\n") and "name: vgg11" in done.stdout
    assert list(here.iterdir()) == []


def test_cfg_job_of_a_sweep_shows_what_its_cells_share(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["sweeps=quickstart", "--cfg", "job"]) == 0
    shown = capfd.readouterr().out
    assert "name: quickstart" in shown and "T: 4" in shown


def test_help_lists_the_groups_their_options_and_the_sweeps(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capfd.readouterr().out
    for part in (
        "1 | 2 | 3 | 4",
        "bptt | ottt | rate | sltt",
        "resnet18 | resnet19",
        "quickstart",
        "sigmoid, atan",
        "-m T=2,4",
    ):
        assert part in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_help_and_errors_do_not_load_torch(here: Path) -> None:
    code = f"""import sys; sys.path.insert(0, {str(ROOT)!r}); from rbp.sweep.launch import main
main(['--help']); main(['T=0']); sys.exit('torch' in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def own_options(tmp_path: Path) -> Path:
    """A folder of one's own with an option of a group and a primary config."""
    folder = tmp_path / "own" / "conf"
    (folder / "neuron").mkdir(parents=True)
    slow = "defaults: [lif, _self_]\nname: slow\ntau: 4.0\n"
    (folder / "neuron" / "slow.yaml").write_text(slow)
    (folder / "mine.yaml").write_text("defaults: [config, _self_]\nseed: 9\n")
    return folder


@pytest.mark.parametrize("flag", ["--config-dir", "-cd"])
def test_a_folder_of_ones_own_holds_for_runs_and_grids(
    own_options: Path, here: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    own = [flag, str(own_options), "neuron=slow"]
    assert main([*own, "--cfg", "job"]) == 0 and "tau: 4.0" in capsys.readouterr().out
    assert main([*own, "--dry-run"]) == 0 and "1 to run; nothing was started" in capsys.readouterr().out
    assert main([*own, "-m", "T=2,4", "--dry-run"]) == 0 and "2 to run" in capsys.readouterr().out
    assert main(["--config-dir", str(own_options), "-m", "neuron=lif,slow", "--dry-run"]) == 0
    assert "neuron=slow" in capsys.readouterr().out
    assert main(["neuron=slow", "--dry-run"]) == 2 and "no such option of neuron" in capsys.readouterr().err


def test_a_primary_config_of_ones_own_holds_for_runs_and_grids(
    own_options: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["--config-dir", str(own_options), "--config-name", "mine"]
    for more in (["--cfg", "job"], ["--dry-run"], ["-m", "T=2,4", "--dry-run"]):
        assert main([*own, *more]) == 0
        out = capsys.readouterr().out
        assert "seed: 9" in out or "-s9-" in out, out


@pytest.mark.parametrize("flag", ["-m", "--multirun", "--multi", ""])
def test_dry_run_holds_with_any_other_flag(flag: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--dry-run", flag, "T=2"], [flag, "T=2", "--dry-run"], ["T=2", "--dry-run", flag]):
        assert main([word for word in argv if word]) == 0
        assert "1 to run; nothing was started" in capsys.readouterr().out
    assert list(here.iterdir()) == []


def test_what_only_shows_or_is_refused_by_the_schema_loads_no_torch(here: Path) -> None:
    code = f"""import sys; sys.path.insert(0, {str(ROOT)!r}); from rbp.sweep.launch import main
for argv in (["--help"], ["--cfg", "job"], ["trainer.epochs=0"]):
    main(argv)
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
