"""Read and write bytes, JSON, JSON lines and YAML such that a kill at any instant leaves no broken file."""

import json
import os
import sys
from pathlib import Path
from typing import Any, TypeGuard

import yaml


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value read from JSON is a finite number that fits into a float; booleans do not count."""
    # A tuple: `int | float` takes twice as long, and a report asks this of some hundred thousand values.
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return plain and abs(value) <= sys.float_info.max


def read_json(file: Path) -> Any:
    """Return the content of a JSON file, or None if the file is missing or incomplete."""
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def write_json(file: Path, value: Any) -> None:
    """Write a value as JSON, atomically: a reader sees the complete old file or the complete new one."""
    write_bytes(file, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def load_yaml(text: str) -> Any:
    """Parse YAML into plain values, with PyYAML's C loader if available.

    Raises:
        yaml.YAMLError: The text is not valid YAML.
    """
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def dump_yaml(values: Any) -> bytes:
    """Return values as human-readable YAML, written with PyYAML's C dumper if available."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(values, Dumper=dumper, sort_keys=False, allow_unicode=True, width=110).encode()


def write_bytes(file: Path, content: bytes) -> None:
    """Write bytes atomically: a reader sees the complete old file or the complete new one."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def append_line(file: Path, value: dict[str, Any], sync: bool = True) -> None:
    """Append a value as one line of JSON.

    Args:
        file: The file; created if missing.
        value: The value.
        sync: Whether to wait until the file is on the disk. Otherwise the line survives a kill of the
            process, but perhaps not a machine that goes down.
    """
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(value, allow_nan=False) + "\n")
        stream.flush()
        if sync:
            os.fsync(stream.fileno())


def last_lines(file: Path, size: int | None) -> list[bytes]:
    """Return the complete lines at the end of a file, or no lines if it cannot be read.

    Args:
        file: The file to read.
        size: Number of bytes to read from the end, so that the first line returned may be cut; None reads
            the whole file.
    """
    try:
        with file.open("rb") as stream:
            if size is not None:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - size))
            return stream.read().split(b"\n")[:-1]
    except OSError:
        return []


def read_lines(file: Path, without: bytes | None = None) -> list[dict[str, Any]]:
    """Return the lines of a .jsonl file as dictionaries, skipping damaged lines and one cut short by a kill.

    Args:
        file: The file to read; a missing file has no lines.
        without: Lines that hold this are skipped before they are parsed, which takes long.
    """
    try:
        lines = file.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    if without is not None:
        lines = [line for line in lines if without not in line]
    return [values for values in _parsed(lines) if isinstance(values, dict)]


def _parsed(lines: list[bytes]) -> list[Any]:
    """Return the content of lines of JSON, None for a damaged one."""
    # At once, which is faster. A line that is not whole by itself cannot make up for another one in brackets.
    together = read_line(b"[[" + b"],[".join(lines) + b"]]")
    if together and len(together) == len(lines) and all(len(values) == 1 for values in together):
        return [value for (value,) in together]
    return [read_line(line) for line in lines]


def read_line(line: bytes) -> Any:
    """Return the content of a line of JSON, or None if it is damaged."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # ValueError also covers text that is not UTF-8
        return None
