"""Run folders, as they are at this moment, read into plain values."""

import functools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from rbp.config.dotted import leaves
from rbp.config.identity import grad_mode_settings, not_in_identity
from rbp.config.versions import refuse_newer, upgrade
from rbp.errors import ConfigError
from rbp.files import is_number, load_yaml, read_lines
from rbp.runs.folder import RunFolder, find_runs
from rbp.runs.result import read_result
from rbp.runs.status import Status, current_status

# What a comparison is made by; seeds are pooled, gradient modes compared, T and step modes kept apart.
AXES = ("T", "step_mode", "grad_mode", "seed")
GROUPS = ("dataset", "arch", "neuron", "grad_mode", "optimizer", "trainer", "tracker", "sweep")
MOST_POINTS = 100  # of a curve, or a few more
_EPOCH = re.compile(rb'"epoch": *(\d{1,9})')


class Method(NamedTuple):
    """A gradient mode, into how many segments it cuts the time, and whether they are coupled."""

    grad_mode: str
    segments: int = 1
    coupled: bool = True


@dataclass(frozen=True)
class Run:
    """One run. `others`: all that decides its result but data set, architecture and AXES, flat.

    `result` is None unless it is done. `epoch`: the last whole one; `epochs`: those planned, None where
    nothing tells. `curve`: test accuracy by epoch. `firing_rates`: by layer, of the last epoch. `config`:
    what config.yaml holds.
    """

    folder: Path
    sweep: str
    status: Status
    dataset: str
    arch: str
    T: int
    step_mode: str
    grad_mode: str
    segments: int
    coupled: bool
    seed: int
    others: dict[str, Any]
    result: dict[str, Any] | None
    epoch: int
    epochs: int | None
    curve: dict[int, float] = field(default_factory=dict)
    firing_rates: dict[str, float] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def state(self) -> str:
        return self.status.state

    @property
    def error(self) -> str | None:
        return self.status.error

    @property
    def method(self) -> Method:
        """Its gradient mode with what belongs to it."""
        return Method(self.grad_mode, self.segments, self.coupled)

    @property
    def accuracy(self) -> float | None:
        """The accuracy that counts, in [0, 1]: the last epoch's unless trainer.headline says otherwise."""
        result = self.result or {}
        value = result.get("headline_acc", result.get("test_acc"))
        return float(value) if is_number(value) else None

    @property
    def machine(self) -> dict[str, Any]:
        """What result.json says of the machine."""
        return (self.result or {}).get("machine") or {}

    @property
    def code(self) -> dict[str, Any]:
        """What result.json says of the code."""
        return (self.result or {}).get("code") or {}

    def figure(self, key: str) -> float | None:
        """A number of result.json; None where there is none."""
        value = (self.result or {}).get(key)
        return float(value) if is_number(value) else None


def read_runs(paths: list[Path]) -> tuple[list[Run], list[str]]:
    """Every run below paths, and what could not be read, in words. Raises UserError where there is none."""
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
    """The run in folder. Raises ValueError where neither config.yaml nor result.json says what it is, or a
    file is not what it should be; OSError where one cannot be read."""
    result, status, config = read_result(folder), current_status(folder), _read_config(folder)
    try:
        refuse_newer((result or {}).get("format", 1), "result.json")
    except ConfigError as newer:
        raise ValueError(newer) from newer
    for key in ("machine", "code"):
        if not isinstance((result or {}).get(key) or {}, dict):
            raise ValueError(f"result.json: {key} is no object")
        made_of = _choices(config) if config else dict((result or {}).get("config", {}))
    epochs = _planned(config, result)
    lines = _some_lines(RunFolder(folder).metrics, epochs)
    try:
        return Run(
            folder=folder,
            sweep=folder.parent.name,
            status=status,
            others=_others(config) if config else {"config.yaml": "missing"},
            result=result,
            epoch=status.progress["epoch"],
            epochs=epochs,
            curve={line["epoch"]: line["test_acc"] for line in lines if _has(line, "epoch", "test_acc")},
            firing_rates=_firing_rates(result, lines),
            config=config,
            dataset=str(made_of["dataset"]),
            arch=str(made_of["arch"]),
            T=int(made_of["T"]),
            step_mode=str(made_of["step_mode"]),
            grad_mode=str(made_of["grad_mode"]),
            segments=int(made_of.get("grad_mode.segments", 1)),
            coupled=bool(made_of.get("grad_mode.coupled", True)),
            seed=int(made_of["seed"]),
        )
    except (KeyError, TypeError, ValueError) as missing:
        raise ValueError(f"neither config.yaml nor result.json says what run it is ({missing})") from missing


def _read_config(folder: Path) -> dict[str, Any]:
    """The content of config.yaml, not to be changed; empty where it is missing or not whole."""
    try:
        values = _load(RunFolder(folder).config.read_text())
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return {}
    if isinstance(values, dict):
        try:
            values = upgrade(values, "config.yaml")
        except ConfigError as error:
            raise ValueError(error) from error
    whole = isinstance(values, dict) and {"dataset", "arch", *AXES} <= values.keys()
    return values if whole and all(isinstance(values.get(key, {}), dict) for key in GROUPS) else {}


def _load(text: str) -> Any:
    """What YAML holds. The configs of a sweep differ in few of their top-level keys: each is parsed once."""
    parts = [_load_part(part) for part in re.split(r"(?m)^(?=[^\s#-])", text) if part.strip()]
    if all(isinstance(part, dict) for part in parts):
        return {key: value for part in parts for key, value in part.items()}
    return load_yaml(text)


@functools.lru_cache(maxsize=4096)
def _load_part(text: str) -> Any:
    try:
        return load_yaml(text)
    except yaml.YAMLError:  # no key of its own, or a reference to another part
        return None


def _choices(config: dict[str, Any]) -> dict[str, Any]:
    named = {group: config[group].get("name") for group in ("dataset", "arch", "grad_mode")}
    plain = {key: config[key] for key in ("T", "step_mode", "seed")}
    return named | plain | grad_mode_settings(config)


def _others(config: dict[str, Any]) -> dict[str, Any]:
    """Every further key that decides the result (rbp.config.identity), flat; lists as text."""
    return {key: value for key, value in flat(config).items() if not _below(key, _apart())}


@functools.cache
def _apart() -> frozenset[str]:
    return frozenset(
        {*not_in_identity(), *AXES, "dataset.name", "arch.name", "dataset.T"}
    )  # that is always T


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """The leaves of nested values, by their dotted keys; lists as text."""
    return {key: str(value) if isinstance(value, list) else value for key, value in leaves(values)}


def _below(key: str, parents: frozenset[str]) -> bool:
    parts = key.split(".")
    return any(".".join(parts[:n]) in parents for n in range(1, len(parts) + 1))


def _planned(config: dict[str, Any], result: dict[str, Any] | None) -> int | None:
    trainer = config.get("trainer")
    planned = trainer.get("epochs") if isinstance(trainer, dict) else (result or {}).get("epochs")
    return planned if isinstance(planned, int) else None


def _some_lines(metrics: Path, epochs: int | None) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; of a long run some epochs, the same for all seeds, and the last."""
    step = max(1, (epochs or 1) // MOST_POINTS)

    def wanted(line: bytes, last: bool) -> bool:
        found = _EPOCH.search(line)  # parsing them all would take longer than the rest of a report
        epoch = int(found[1]) if found else 0
        return last or epoch == 1 or epoch % step == 0

    return read_lines(metrics, wanted)


def _has(line: dict[str, Any], *keys: str) -> bool:
    return all(is_number(line.get(key)) for key in keys)


def _firing_rates(result: dict[str, Any] | None, lines: list[dict[str, Any]]) -> dict[str, float]:
    found = (result or (lines[-1] if lines else {})).get("firing_rates")
    return {k: v for k, v in found.items() if is_number(v)} if isinstance(found, dict) else {}
