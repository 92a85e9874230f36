"""Declare every key of hydra.launcher (where the cells of a grid run) and hydra.sweeper (which cells run).

The defaults are defined here; conf/hydra/ repeats them because Hydra accepts only keys that appear in a file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from rbp.config.allowed import LINES, LIST, YES_NO, above, at_least, or_null
from rbp.config.key import key
from rbp.config.key import keys as keys_of
from rbp.config.text import short
from rbp.errors import ConfigError

Settings = TypeVar("Settings")


@dataclass
class SweeperSettings:
    """How a grid is made, and what of it a start runs."""

    pairs: list[Any] = key(
        "keys that change together: [{arch: [resnet18, vgg11], trainer.batch_size: [128, 64]}]",
        LIST,
        default=[],
    )
    exclude: list[Any] = key("cells to leave out: [{grad_mode: bptt, T: [12, 16]}]", LIST, default=[])
    dry_run: bool = key("list the cells and their states; run nothing", YES_NO, default=False)
    retry: bool = key("run what failed once more", YES_NO, default=False)
    rerun_stale: bool = key("compute results of other code than this again", YES_NO, default=False)
    wait: bool = key("stay until all jobs have ended", YES_NO, default=True)


@dataclass
class LocalSettings:
    """Processes side by side on this machine."""

    processes: int | None = key(
        "at a time; null: one per GPU, without a GPU one per two cores", or_null(at_least(1)), default=None
    )
    threads: int | None = key(
        "of each process, on the CPU; null: the cores shared out", or_null(at_least(1)), default=None
    )


@dataclass
class SlurmSettings:
    """What one asks of Slurm for each job; null: the cluster's default."""

    partition: str | None = key("to submit to", default=None)
    account: str | None = key("to charge", default=None)
    qos: str | None = key("quality of service", default=None)
    constraint: str | None = key("of the nodes, such as a100", default=None)
    time: int = key(
        "minutes, or as 4:00:00; a job that reaches it saves, is queued again and goes on",
        at_least(1),
        default=240,
    )
    gpus: int = key("per node", at_least(0), default=1)
    cpus: int = key("per task", at_least(1), default=4)
    memory: float | None = key("GB per node", or_null(above(0)), default=None)
    nodes: int = key("of a job", at_least(1), default=1)
    tasks: int = key(
        "per node; a cell with more than one in all trains with DistributedDataParallel",
        at_least(1),
        default=1,
    )
    parallel: int = key("jobs at a time", at_least(1), default=64)
    cells_per_job: int = key("one after another", at_least(1), default=1)
    signal_delay: int = key(
        "seconds before the time limit at which a job is told to save", at_least(1), default=120
    )
    max_timeouts: int = key("time limits after which a job is not queued again", at_least(0), default=100)
    setup: list[str] = key(
        "lines of shell before the job: [module load cuda, export NCCL_DEBUG=WARN]", LINES, default=[]
    )
    sbatch: dict[str, Any] = key(
        "any other option of sbatch: {mail-user: me@there.org, exclude: node7}", default={}
    )
    python: str | None = key("how a node starts Python, such as a container's command", default=None)

    @property
    def ranks(self) -> int:
        """The total number of tasks of a job, over all nodes."""
        return self.nodes * self.tasks


# Settings of a grid as a whole that the command line takes without the prefix hydra.sweeper, as in
# wait=false.
GRID_FLAGS = tuple(name for name, declared in keys_of(SweeperSettings).items() if declared.type is bool)

LAUNCHERS: dict[str, type] = {"local": LocalSettings, "slurm": SlurmSettings}


def full_name(kind: type, name: str) -> str:
    """Return the name of a launcher's or the sweeper's setting as typed on the command line."""
    if kind is SweeperSettings:
        return name if name in GRID_FLAGS else f"hydra.sweeper.{name}"
    return f"hydra.launcher.{name}"


def read_settings(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Return checked settings, with defaults for the keys that `values` leaves out.

    Args:
        kind: The dataclass that declares the settings.
        values: Settings by name.

    Raises:
        ConfigError: Some settings are wrong; the message lists each key, its value and what is allowed.
    """
    declared, problems = keys_of(kind), []
    settings = OmegaConf.structured(kind)
    for name, value in values.items():
        if name not in declared:
            problems.append(f"{full_name(kind, name)}: no such key; there are {', '.join(declared)}")
            continue
        try:
            if value == MISSING:
                raise ValidationError
            settings[name] = value
        except OmegaConfBaseException:
            problems.append(f"{full_name(kind, name)}={short(value)}: must be {declared[name].words}")
            continue
        taken, allowed = OmegaConf.to_container(settings)[name], declared[name].allowed  # type: ignore[call-overload, index]
        if allowed is not None and not allowed.holds(taken):
            problems.append(f"{full_name(kind, name)}={short(value)}: must be {allowed.words}")
    if problems:
        raise ConfigError("\n".join(problems))
    found: Settings = OmegaConf.to_object(settings)  # type: ignore[assignment]
    return found
