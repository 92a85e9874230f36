"""Values of a Slurm launcher's file as Slurm writes them, where YAML reads them as something else.

YAML 1.1 reads 4:00:00 as a number in base 60, 0123 as octal and `on` as true.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rbp.errors import ConfigError

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d{1,2}))?(?::(?P<third>\d{1,2}))?")


def minutes_of(value: Any) -> Any:
    """Return a time limit in minutes, rounded up; anything but text is returned unchanged.

    Slurm's forms are minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes and
    days-hours:minutes:seconds.

    Raises:
        ConfigError: The text is none of these.
    """
    if not isinstance(value, str):
        return value
    found = _TIME.fullmatch(value.strip())
    if found is None:
        raise ConfigError(
            f"hydra.launcher.time={value}: must be minutes, or a time as sbatch takes it: 4:00:00, 1-12:00"
        )
    days, first, second, third = (int(part or 0) for part in found.groups())
    if found["days"] is not None or found["third"] is not None:
        hours, minutes, seconds = first, second, third
    else:
        hours, minutes, seconds = 0, first, second
    return 24 * 60 * days + 60 * hours + minutes + math.ceil(seconds / 60)


def as_written(values: Mapping[str, Any], file: Path | None) -> dict[str, Any]:
    """Return a launcher's settings with the text of its file where YAML read that as another type.

    Values that did not come from the file, such as those of the command line, stay. So do plain decimal
    numbers and true, false and null.

    Args:
        values: The composed settings.
        file: The launcher's file; None leaves the values unchanged.
    """
    if file is None:
        return dict(values)
    content = file.read_text(encoding="utf-8")
    return _as_written(values, yaml.safe_load(content), yaml.load(content, Loader=yaml.BaseLoader))


def _as_written(values: Any, typed: Any, raw: Any) -> Any:
    if isinstance(values, Mapping) and isinstance(typed, Mapping):
        keys = {str(key): key for key in typed}
        texts = {str(key): text for key, text in raw.items()}
        return {
            key: _as_written(value, typed[keys[key]], texts.get(key)) if key in keys else value
            for key, value in values.items()
        }
    differs = isinstance(raw, str) and not isinstance(typed, str) and str(typed).lower() != raw.lower()
    return raw if differs and values == typed and typed is not None and not _is_float(typed, raw) else values


def _is_float(typed: Any, raw: str) -> bool:
    """Whether a text is another way to write a floating-point number, such as 1e3 or 2.50."""
    return isinstance(typed, float) and ":" not in raw
