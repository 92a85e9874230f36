"""Files that a kill at any instant leaves whole: bytes, JSON, lines of JSON, YAML."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard

import yaml


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


def last_lines(file: Path, size: int | None) -> list[bytes]:
    """The lines that end in the last `size` bytes of a file; the first may be cut. None: all lines."""
    try:
        with file.open("rb") as stream:
            if size is not None:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - size))
            return stream.read().split(b"\n")[:-1]
    except OSError:
        return []


def read_lines(file: Path, wanted: Callable[[bytes, bool], bool] | None = None) -> list[dict[str, Any]]:
    """The lines of a .jsonl file that are whole; one that a kill cut short, or a damaged one, is left out.

    wanted: tells by a line as it stands, and whether it is the last, whether to read it at all.
    """
    try:
        lines = file.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    chosen = [line for n, line in enumerate(lines, 1) if wanted is None or wanted(line, n == len(lines))]
    found = [read_line(line) for line in chosen]
    return [values for values in found if isinstance(values, dict)]


def read_line(line: bytes) -> Any:
    """The content of a line of JSON; None where it is damaged."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # ValueError: also text that is not UTF-8
        return None
