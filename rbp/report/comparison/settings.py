"""The settings of runs as the report speaks of them: keys that decide a result, under their short names."""

import functools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rbp.config.text import text
from rbp.report.read import MISSING, Run, usual_mode_keys
from rbp.runs.differing import differing_keys

SEED, METHOD, T = "seed", "grad_mode", "T"
_FIRST = ("dataset", "arch", "neuron", "step_mode", METHOD, T)  # the order in which keys are shown
CHUNK = "trainer.chunk"
LACKS = "–"  # stands for the value of a key that a run does not have


# Keys of the gradient mode that are keys of their own, each with the gradient modes that have it. All others
# are part of `grad_mode`, as in "rate segments=4".
Unfold = Mapping[str, Collection[str]]
NOTHING: Unfold = {}


def settings(run: Run, unfold: Unfold = NOTHING) -> dict[str, Any]:
    """Return the values of all keys that decide the run's result, other than the seed."""
    values: dict[str, Any] = {"dataset.name": run.dataset, "arch.name": run.arch}
    values |= {"T": run.T, "step_mode": run.step_mode, METHOD: _method(run, unfold)}
    values |= {key: run.mode_keys[key] for key, modes in unfold.items() if run.grad_mode in modes}
    return values | run.other_settings


def _method(run: Run, unfold: Unfold) -> str:
    own = {key: value for key, value in _unusual(run).items() if run.grad_mode not in unfold.get(key, ())}
    return " ".join([run.grad_mode, *(f"{key.rpartition('.')[2]}={as_text(own[key])}" for key in own)])


def _unusual(run: Run) -> dict[str, Any]:
    """Return the keys of the run's gradient mode that are not at their default."""
    usual = {CHUNK: run.T, **usual_mode_keys()}  # one chunk has all time steps
    return {key: value for key, value in run.mode_keys.items() if key not in usual or value != usual[key]}


def unfolded(runs: Sequence[Run], key: str) -> list[str]:
    """Return the gradient modes that have a key: those of which some run has it at another value."""
    return list(dict.fromkeys(run.grad_mode for run in runs if key in _unusual(run)))


def differing(runs: Sequence[Run], unfold: Unfold = NOTHING) -> list[str]:
    """Return every key in which the runs differ other than the seed, in the order in which they are shown.

    A run without a config is known by its result alone, and differs from all others by `config.yaml`.
    """
    found = [settings(run, unfold) for run in runs]
    known = [values for values in found if MISSING not in values]
    keys = differing_keys(known) if known else []
    if len(known) < len(found):
        axes = ("dataset.name", "arch.name", "T", "step_mode", METHOD, *unfold)
        plain = [{axis: values[axis] for axis in axes if axis in values} for values in found]
        keys = [MISSING, *dict.fromkeys([*keys, *differing_keys(plain)])]
    return sorted(keys, key=_place)


def _place(key: str) -> tuple[int, str]:
    short = shown(key)
    return (_FIRST.index(short), "") if short in _FIRST else (len(_FIRST), key)


def shown(key: str) -> str:
    """Return a key as it is written on the command line: neuron for neuron.name."""
    return key.removesuffix(".name")


def full(key: str, keys: Sequence[str]) -> str | None:
    """Return the key among `keys` that is written like this; None if there is none."""
    return next((known for known in keys if key in (known, shown(known))), None)


@functools.lru_cache(maxsize=None, typed=True)  # typed, since True is equal to 1
def as_text(value: Any) -> str:
    """Return a value as it is written on the command line; texts are equal if and only if settings are."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}" if float(f"{value:g}") == float(value) else repr(float(value))
    return text(value, lambda string: f"'{string}'" if _is_no_string(string) else string)


def _is_no_string(written: str) -> bool:
    """Whether a text without quotes is read as a number, a truth value or null."""
    try:
        float(written)
    except ValueError:
        return written.lower() in ("true", "false", "null")
    return True


def text_of(values: Mapping[str, Any], key: str) -> str:
    """Return the value of a key as text; LACKS if it is not there."""
    return as_text(values[key]) if key in values else LACKS


def is_number(value: Any) -> bool:
    """Whether a value can stand on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
