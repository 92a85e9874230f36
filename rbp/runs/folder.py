"""A run's folder on disk: where its files lie, and how to write them so that a kill leaves none by half."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import yaml

from rbp.config.versions import FORMAT, upgrade
from rbp.errors import ConfigError, UserError


class RunFolder:
    """The files of one run (names are a contract: scripts outside read them)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.status = path / "status.json"
        self.metrics = path / "metrics.jsonl"
        self.result = path / "result.json"
        self.log = path / "log.txt"
        self.lock = path / "lock"
        self.checkpoints = path / "checkpoints"
        self.wandb = path / "wandb"


def find_runs(paths: list[Path]) -> list[Path]:
    """Every run's folder below paths, resolved, each once. Raises UserError where there is none."""
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path}: no such folder; name a sweep's folder such as runs/quickstart")
    found = {folder.resolve(): None for path in paths for folder in _below(path)}
    if not found:
        raise UserError(f"{', '.join(map(str, paths))}: there are no runs in it")
    return list(found)


def _below(path: Path) -> Iterator[Path]:
    files = {"config.yaml", "status.json", "result.json"}
    seen: set[str] = set()  # a link may lead back
    for parent, inside, names in os.walk(path, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:
            inside.clear()
            continue
        seen.add(real)
        if files.intersection(names):
            inside.clear()
            yield Path(parent)
        else:
            inside[:] = sorted(name for name in inside if not name.startswith("."))


# What result.json holds at least; a file without one of these is not a result.
_NUMBERS = ("params", "epochs", "train_loss", "test_acc", "best_test_acc", "seconds")
RESULT_KEYS = ("name", "config", *_NUMBERS)
_NUMBERS_OR_NULL = (
    "seconds_per_epoch",
    "step_seconds",
    "images_per_second",
    "peak_memory_bytes",
    "firing_rate",
)


def read_result(folder: Path) -> dict[str, Any] | None:
    """The result of a run that is done; None where there is none, or not a whole one, or another run's."""
    result = read_json(RunFolder(folder).result)
    whole = (
        isinstance(result, dict)
        and result.get("name") == folder.absolute().name
        and isinstance(result.get("config"), dict)
        and all(is_number(result.get(key)) for key in _NUMBERS)
        and all(result.get(key) is None or is_number(result[key]) for key in _NUMBERS_OR_NULL)
    )
    return result if whole else None


STATES = ("queued", "running", "done", "failed", "preempted", "cancelled", "lost")
LOST_AFTER = 60.0  # seconds without a heartbeat


def read_state(folder: Path, now: float | None = None) -> dict[str, Any]:
    """What a run is at, from its folder alone: the content of status.json with what it means made certain.

    `state` is one of STATES: done if and only if there is a whole result, lost where a running run has shown
    no heartbeat for LOST_AFTER seconds before `now` (the present). `error` says why it is not done, or is
    None; `epoch` is the last whole epoch, 0 before the first.
    """
    run = RunFolder(folder)
    status = read_json(run.status)
    told = status if isinstance(status, dict) else {}
    state, error = told.get("state", "queued"), told.get("error")
    if (result := read_result(folder)) is not None:
        return told | {"state": "done", "error": None, "epoch": result["epochs"]}
    age = (time.time() if now is None else now) - _or_zero(told.get("heartbeat"))
    if state == "done":
        state, error = "failed", f"{run.result} is missing or not whole"
    elif state not in STATES:
        state, error = "failed", f"{run.status}: state {state!r} is none of {', '.join(STATES)}"
    elif state == "running" and age > LOST_AFTER:
        state, error = "lost", f"no sign of life for {age:.0f} s: killed, or its machine is gone"
    return told | {"state": state, "error": error, "epoch": _last_epoch(run.metrics)}


def _or_zero(value: Any) -> float:
    return value if is_number(value) else 0.0


def _last_epoch(metrics: Path) -> int:
    """The epoch of the last whole line, from the file's end alone."""
    for size in (1 << 16, None):  # in case one line is longer than the part that was read
        for line in reversed(_tail(metrics, size)):
            values = _read_line(line)
            if isinstance(values, dict) and isinstance(epoch := values.get("epoch"), int):
                return epoch
    return 0


def _tail(file: Path, size: int | None) -> list[bytes]:
    """The lines that end in the last `size` bytes, each whole but perhaps the first; all for None."""
    try:
        with file.open("rb") as stream:
            if size is not None:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - size))
            return stream.read().split(b"\n")[:-1]
    except OSError:
        return []


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value read from JSON is a finite number, and none too large for a float."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and abs(value) <= sys.float_info.max


def read_json(file: Path) -> Any:
    """The content of a JSON file; None where it is missing or not whole."""
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError, RecursionError):
        return None


def write_json(file: Path, value: Any) -> None:
    """Write value as JSON; at any instant the file is the old or the new one, whole."""
    write_bytes(file, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def load_yaml(text: str) -> Any:
    """Plain values, by the fast reader where PyYAML has it. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def dump_yaml(values: Any) -> bytes:
    """As YAML that people read, by the fast writer where PyYAML has it."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(values, Dumper=dumper, sort_keys=False, allow_unicode=True, width=110).encode()


def write_config(file: Path, values: Mapping[str, Any]) -> None:
    """Freeze a configuration in its run's folder, with the version of its format."""
    write_bytes(file, dump_yaml({"format": FORMAT, **values}))


def read_config(file: Path) -> dict[str, Any]:
    """A frozen configuration, as today's schema has it. Raises ConfigError where it is gone or damaged."""
    try:
        values = load_yaml(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: text that is not UTF-8
        raise ConfigError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: not the config of a run: it holds no keys")
    return upgrade(values, file)


def write_bytes(file: Path, content: bytes) -> None:
    """Write content; at any instant the file is the old or the new one, whole."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def append_line(file: Path, value: dict[str, Any]) -> None:
    """Add value as one line of JSON, on the disk when this returns."""
    with file.open("a") as stream:
        stream.write(json.dumps(value, allow_nan=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_lines(file: Path, wanted: Callable[[bytes, bool], bool] | None = None) -> list[dict[str, Any]]:
    """The lines of a .jsonl file that are whole; one that a kill cut short, or a damaged one, is left out.

    wanted: tells by a line as it stands, and whether it is the last, whether to read it at all.
    """
    try:
        lines = file.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    chosen = [line for n, line in enumerate(lines, 1) if wanted is None or wanted(line, n == len(lines))]
    found = [_read_line(line) for line in chosen]
    return [values for values in found if isinstance(values, dict)]


def _read_line(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # ValueError: also text that is not UTF-8
        return None
