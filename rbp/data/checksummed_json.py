"""JSON files that contain a checksum of their own content, and the checksum of any file."""

import hashlib
import json
from pathlib import Path
from typing import Any

from rbp.files import read_json, write_json

_KEY = "sha256"


def write_sealed(file: Path, content: dict[str, Any]) -> None:
    """Write content to a JSON file, together with its checksum."""
    write_json(file, content | {_KEY: _checksum(content)})


def read_sealed(file: Path) -> dict[str, Any] | None:
    """Return the content of a sealed file without its checksum; None if it is missing, damaged or edited."""
    held = read_json(file)
    if not isinstance(held, dict):
        return None
    said = held.pop(_KEY, None)
    return held if said == _checksum(held) else None


def sha256_of(file: Path) -> str:
    """Return the sha256 of a file's content; raise OSError if it cannot be read."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
