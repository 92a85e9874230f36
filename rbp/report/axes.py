"""Decide what a report compares: the key whose values stand side by side, and the one on the x axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rbp.errors import UserError
from rbp.report.read import Run
from rbp.report.settings import METHOD, T, as_text, differing, full, is_number, settings, shown

_UNFOLDED = ("grad_mode.segments", "grad_mode.coupled")


@dataclass(frozen=True)
class Axes:
    """What stands where in a report.

    Attributes:
        compare: The key whose values are compared with each other.
        base: The value of `compare` that the others are compared with, as text.
        x: The key on the x axis; None if no number differs.
        facets: The further keys in which runs differ; runs are compared only where all of these are equal.
        beside: Keys that differ together with `compare`, such as a learning rate tuned for each method or the
            keys of the neurons that are compared. They are shown, and keep no runs apart.
        unfold: Keys of the gradient mode that are keys of their own here.
    """

    compare: str
    base: str
    x: str | None
    facets: tuple[str, ...]
    beside: tuple[str, ...] = ()
    unfold: tuple[str, ...] = ()


def choose_axes(
    runs: Sequence[Run], compare: str | None = None, base: str | None = None, x: str | None = None
) -> Axes:
    """Choose what to compare by what differs between the runs.

    Compared is the gradient mode where it differs, else the first option or key that does. On the x axis is
    T, else the number with the most values.

    Args:
        runs: The runs.
        compare: The key to compare by, as on the command line.
        base: The value of it that the others are compared with.
        x: The key on the x axis.

    Raises:
        UserError: A key does not differ between these runs, is no number, or has no such value.
    """
    unfold = tuple(key for key in _UNFOLDED if key in (compare, x))
    keys = differing(runs, unfold)
    values = {key: _values(runs, key, unfold) for key in keys}
    chosen_x = _asked("--x", x, keys) if x else None
    if chosen_x and not all(map(is_number, values[chosen_x])):
        raise UserError(f"--x {x}: must be a key with numbers; {_some(_numeric(values)) or 'no key'} is one")
    by = _asked("--compare", compare, keys) if compare else _compare(values, chosen_x)
    along = chosen_x or _along(values, by)
    found = _values(runs, by, unfold)
    rest = [key for key in keys if key not in (by, along)]
    beside = _beside(runs, rest, by, unfold)
    facets = tuple(key for key in rest if key not in beside)
    return Axes(by, _base(base, by, found), along, facets, beside, unfold)


def _asked(flag: str, key: str, keys: Sequence[str]) -> str:
    if (found := full(key, keys)) is None:
        raise UserError(f"{flag} {key}: does not differ between these runs; {_some(keys) or 'no key'} does")
    return found


def _some(keys: Sequence[str]) -> str:
    return ", ".join(map(shown, keys))


def _values(runs: Sequence[Run], key: str, unfold: Sequence[str]) -> list[Any]:
    """Return the distinct values of a key: numbers by size, others by their text."""
    found = list(dict.fromkeys(settings(run, unfold).get(key) for run in runs if _has(run, key, unfold)))
    return sorted(found) if all(map(is_number, found)) else sorted(found, key=as_text)


def _has(run: Run, key: str, unfold: Sequence[str]) -> bool:
    return key in settings(run, unfold)


def _numeric(values: dict[str, list[Any]]) -> list[str]:
    return [key for key, found in values.items() if len(found) > 1 and all(map(is_number, found))]


def _compare(values: dict[str, list[Any]], x: str | None) -> str:
    if METHOD in values or not values:
        return METHOD
    along = x or _along(values, None)
    others = [key for key in values if key != along]
    return next((key for key in others if key not in _numeric(values)), next(iter(others), along or METHOD))


def _along(values: dict[str, list[Any]], compare: str | None) -> str | None:
    """Return the key for the x axis; the compared key only if no other number differs."""
    own = f"{compare.removesuffix('name')}" if compare and compare.endswith(".name") else None
    numeric = [key for key in _numeric(values) if key != compare and not (own and key.startswith(own))]
    if T in numeric:
        return T
    found = max(numeric, key=lambda key: len(values[key]), default=None)
    return found or (compare if compare in _numeric(values) else None)


def _base(base: str | None, compare: str, values: Sequence[Any]) -> str:
    texts = [as_text(value) for value in values]
    if base is not None and base not in texts:
        raise UserError(f"--base {base}: no value of {shown(compare)} here; it has {', '.join(texts)}")
    return base or ("bptt" if "bptt" in texts else texts[0])


def _beside(runs: Sequence[Run], keys: Sequence[str], compare: str, unfold: Sequence[str]) -> tuple[str, ...]:
    """Return the keys that have one value wherever all else but these and the seed is equal.

    Only keys of the optimizer and of the compared option's own group can be such: if they kept runs apart,
    methods with a learning rate each, or neurons with other keys, could never be compared.
    """
    own = f"{compare.removesuffix('.name')}." if compare.endswith(".name") else "optimizer."
    tuned = [key for key in keys if key.startswith(("optimizer.", own))]
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        values = settings(run, unfold)
        rest = {key: as_text(values.get(key)) for key in (*keys, compare, T) if key not in tuned}
        groups.setdefault(repr(rest), []).append(values)
    return tuple(
        key for key in tuned if all(len({as_text(v.get(key)) for v in of}) == 1 for of in groups.values())
    )
