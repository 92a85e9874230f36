"""Read run folders, finished or not, into plain values."""

import functools
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from rbp.config.dotted import leaves
from rbp.config.identity import not_in_identity
from rbp.config.key import defaults
from rbp.config.schema import GradMode
from rbp.config.versions import refuse_newer
from rbp.errors import ConfigError
from rbp.files import is_number
from rbp.runs.alignment import read_alignment
from rbp.runs.config import config_to_show
from rbp.runs.energy import acc_over_t, energy_figures, not_counted
from rbp.runs.folder import RunFolder, find_runs
from rbp.runs.metrics import read_epochs, read_gradient_norms
from rbp.runs.result import read_result
from rbp.runs.status import Status, current_status

# Keys with a role of their own: seeds are pooled, gradient modes compared, T and step modes kept apart.
AXES = ("T", "step_mode", "grad_mode", "seed")
MISSING = "config.yaml"  # stands among the settings of a run whose config is not there
MOST_POINTS = 100  # approximate maximum number of points of a curve
LOSSES = ("train_loss", "val_loss", "test_loss")


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        folder: Folder of the run.
        sweep: Name of the sweep's folder.
        status: Recorded status, corrected by the result and the heartbeat (see rbp.runs.status).
        dataset: Name of the data set.
        arch: Name of the architecture.
        T: Number of time steps.
        step_mode: Step mode of the neurons.
        grad_mode: Name of the gradient mode.
        mode_keys: Every key of the gradient mode but its name, such as grad_mode.segments, by dotted name;
            trainer.chunk among them where the same run is there with several sizes of chunks.
        seed: Seed of the run.
        other_settings: All further keys that decide the result, other than data set, architecture and AXES,
            flat.
        result: Content of result.json; None unless the run is done.
        epoch: Last complete epoch.
        epochs: Number of planned epochs; None if unknown.
        numbers: The numbers of each line of metrics.jsonl.
        curve: Test accuracy in [0, 1] by epoch; of a long run, of some epochs.
        losses: Losses by kind (see LOSSES) and epoch, likewise; a kind that is not recorded is left out.
        gradient_norms: Mean norm of the gradients by epoch, over those steps that are recorded.
        alignment: Lines of alignment.jsonl by epoch (see rbp.runs.alignment); none unless it was measured.
        elapsed: Seconds of training up to the end of each epoch, as far as the time of all epochs is known.
        firing_rates: Firing rates by layer, of the last epoch.
        config: Content of config.yaml.
        flat: The same by dotted keys, with lists as text.
    """

    folder: Path
    sweep: str
    status: Status
    dataset: str
    arch: str
    T: int
    step_mode: str
    grad_mode: str
    mode_keys: dict[str, Any]
    seed: int
    other_settings: dict[str, Any]
    result: dict[str, Any] | None
    epoch: int
    epochs: int | None
    numbers: list[dict[str, float]] = field(default_factory=list)
    curve: dict[int, float] = field(default_factory=dict)
    losses: dict[str, dict[int, float]] = field(default_factory=dict)
    gradient_norms: dict[int, float] = field(default_factory=dict)
    alignment: list[dict[str, Any]] = field(default_factory=list)
    elapsed: dict[int, float] = field(default_factory=dict)
    firing_rates: dict[str, float] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    flat: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.folder.name

    @property
    def state(self) -> str:
        """The state of the run, such as "running" (see rbp.runs.status.Status)."""
        return self.status.state

    @property
    def error(self) -> str | None:
        """The reason why the run is not done; None if there is none."""
        return self.status.error

    @property
    def accuracy(self) -> float | None:
        """The headline accuracy in [0, 1]: that of the last epoch unless trainer.headline says otherwise."""
        result = self.result or {}
        value = result.get("headline_acc", result.get("test_acc"))
        return float(value) if is_number(value) else None

    @property
    def published(self) -> float | None:
        """The accuracy in [0, 1] that a paper reports for this cell (sweep.published); None if unknown."""
        sweep = self.config.get("sweep")
        value = sweep.get("published") if isinstance(sweep, dict) else None
        return value / 100 if is_number(value) else None

    @property
    def machine(self) -> dict[str, Any]:
        """The entry `machine` of result.json; empty if there is none."""
        return (self.result or {}).get("machine") or {}

    @property
    def code(self) -> dict[str, Any]:
        """The entry `code` of result.json; empty if there is none."""
        return (self.result or {}).get("code") or {}

    @property
    def acc_over_t(self) -> list[float]:
        """The test accuracy in [0, 1] after t = 1, ..., T steps; empty if it is not known."""
        return acc_over_t(self.result or {})

    @property
    def energy(self) -> dict[str, float]:
        """Operations and energies of an image, as far as they are known (see rbp.runs.energy)."""
        return energy_figures(self.result or {})

    @property
    def not_counted(self) -> list[str]:
        """Modules whose operations are missing from `energy`, or some of them."""
        return not_counted(self.result or {})

    def figure(self, key: str) -> float | None:
        """Return a number from result.json; None if it is missing or no number."""
        value = (self.result or {}).get(key)
        return float(value) if is_number(value) else None


def read_runs(paths: list[Path]) -> tuple[list[Run], list[str]]:
    """Read every run below paths.

    Returns:
        The runs, and a message for each run that could not be read.

    Raises:
        UserError: If a path is no folder, or there are no runs.
    """
    runs, problems = [], []
    for folder in find_runs(paths):
        try:
            runs.append(read_run(folder))
        except ValueError as error:
            problems.append(f"{folder}: {error}")
        except OSError as error:
            problems.append(f"{error.filename or folder}: {error.strerror or error}")
    return runs, problems


def read_run(folder: Path) -> Run:
    """Read the run in a folder.

    Raises:
        ValueError: If neither config.yaml nor result.json says what run it is, or a file has invalid content.
        OSError: If a file cannot be read.
    """
    result, status, config = read_result(folder), current_status(folder), config_to_show(folder)
    flattened = flat(config)
    try:
        refuse_newer((result or {}).get("format", 1), "result.json")
    except ConfigError as newer:
        raise ValueError(newer) from newer
    for key in ("machine", "code"):
        if not isinstance((result or {}).get(key) or {}, dict):
            raise ValueError(f"result.json: {key} is no object")
        made_of = _choices(config) if config else dict((result or {}).get("config", {}))
    epochs = _planned(config, result)
    lines = read_epochs(RunFolder(folder).metrics)
    numbers = [found for line in lines if "epoch" in (found := _numbers(line))]
    drawn = _drawn(numbers, epochs)
    try:
        return Run(
            folder=folder,
            sweep=folder.parent.name,
            status=status,
            other_settings=_others(flattened) if config else {MISSING: "missing"},
            result=result,
            epoch=status.progress["epoch"],
            epochs=epochs,
            numbers=numbers,
            curve=_by_epoch(drawn, "test_acc"),
            losses={key: loss for key in LOSSES if (loss := _by_epoch(drawn, key))},
            gradient_norms=read_gradient_norms(RunFolder(folder).metrics),
            alignment=read_alignment(RunFolder(folder).alignment),
            elapsed=_elapsed(numbers),
            firing_rates=_firing_rates(result, lines),
            config=config,
            flat=flattened,
            dataset=str(made_of["dataset"]),
            arch=str(made_of["arch"]),
            T=int(made_of["T"]),
            step_mode=str(made_of["step_mode"]),
            grad_mode=str(made_of["grad_mode"]),
            mode_keys=_mode_keys(made_of),
            seed=int(made_of["seed"]),
        )
    except (KeyError, TypeError, ValueError) as missing:
        raise ValueError(f"neither config.yaml nor result.json says what run it is ({missing})") from missing


def _choices(config: dict[str, Any]) -> dict[str, Any]:
    named = {group: config[group].get("name") for group in ("dataset", "arch", "grad_mode")}
    plain = {key: config[key] for key in ("T", "step_mode", "seed")}
    of_mode = {f"grad_mode.{key}": value for key, value in config["grad_mode"].items() if key != "name"}
    return named | plain | of_mode


def _mode_keys(made_of: dict[str, Any]) -> dict[str, Any]:
    """Return every key of the gradient mode but its name; those that are not given are at their default."""
    given = {key: value for key, value in made_of.items() if key.startswith("grad_mode.")}
    return usual_mode_keys() | given


@functools.cache
def usual_mode_keys() -> dict[str, Any]:
    """Return the defaults of the keys of the gradient mode, by their dotted names."""
    return {f"grad_mode.{key}": value for key, value in defaults(GradMode).items()}


def _others(config: dict[str, Any]) -> dict[str, Any]:
    """Return every further key of a flat config that decides the result (see rbp.config.identity)."""
    return {key: value for key, value in config.items() if not _is_apart(key)}


@functools.cache
def _is_apart(key: str) -> bool:
    """Whether a key, or a group that it is in, decides no result or has a field of its own."""
    parts = key.split(".")
    return not _apart().isdisjoint(".".join(parts[:n]) for n in range(1, len(parts) + 1))


@functools.cache
def _apart() -> frozenset[str]:
    # dataset.T always equals T.
    return frozenset({*not_in_identity(), *AXES, "dataset.name", "arch.name", "dataset.T"})


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """Return the leaves of nested values by their dotted keys; lists as text."""
    return {key: str(value) if isinstance(value, list) else value for key, value in leaves(values)}


def _planned(config: dict[str, Any], result: dict[str, Any] | None) -> int | None:
    trainer = config.get("trainer")
    planned = trainer.get("epochs") if isinstance(trainer, dict) else (result or {}).get("epochs")
    return planned if isinstance(planned, int) else None


def _numbers(line: dict[str, Any]) -> dict[str, float]:
    # Floats are looked at first: a report asks this of some hundred thousand values.
    return {
        key: value
        for key, value in line.items()
        if (type(value) is float and isfinite(value)) or is_number(value)
    }


def _drawn(lines: list[dict[str, float]], epochs: int | None) -> list[dict[str, float]]:
    """Return the lines that figures show: of a long run some epochs (the same for all seeds) and the last."""
    step = max(1, (epochs or 1) // MOST_POINTS)
    if step == 1:
        return lines
    last = lines[-1] if lines else None
    return [line for line in lines if line is last or line["epoch"] == 1 or line["epoch"] % step == 0]


def _by_epoch(lines: list[dict[str, float]], key: str) -> dict[int, float]:
    """Return the values of a key by epoch."""
    return {int(line["epoch"]): line[key] for line in lines if key in line}


def _elapsed(lines: list[dict[str, float]]) -> dict[int, float]:
    """Return the seconds of training up to the end of each epoch, where those of all before are known."""
    elapsed: dict[float, float] = {0: 0.0}
    for line in lines:
        before = elapsed.get(line["epoch"] - 1)
        if before is not None and "seconds" in line and is_number(after := before + line["seconds"]):
            elapsed[line["epoch"]] = after
    del elapsed[0]
    return {int(epoch): seconds for epoch, seconds in elapsed.items()}


def _firing_rates(result: dict[str, Any] | None, lines: list[dict[str, Any]]) -> dict[str, float]:
    found = (result or (lines[-1] if lines else {})).get("firing_rates")
    return {k: v for k, v in found.items() if is_number(v)} if isinstance(found, dict) else {}
