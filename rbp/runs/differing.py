"""Tell runs apart by the keys in which their configurations differ, rather than by their hashes."""

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rbp.config.dotted import ABSENT, leaves
from rbp.config.identity import not_in_identity
from rbp.config.text import text

# Options that imply most of their keys: a data set has its own means, an architecture its own widths. Such a
# key says something only if it differs between runs of the same option.
_IMPLYING = ("dataset", "arch")
_IMPLIED = ("loss.over",)  # of other options, likewise
_ABSENT = "absent"
# Defaults of a data set: key -> the key of its recipe that it is taken from.
_FROM_RECIPE = {
    "trainer.epochs": "dataset.recipe.epochs",
    "trainer.batch_size": "dataset.recipe.batch_size",
    "optimizer.lr": "dataset.recipe.lr",
    "optimizer.weight_decay": "dataset.recipe.weight_decay",
}


def labels(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return for each run the keys in which it differs from others, as one writes them on the command line.

    Keys that decide no result are left out, and so are those that an option or the recipe of a data set
    implies.

    Args:
        configs: The frozen configs, of any number of runs.
    """
    settings = [dict(leaves(config)) for config in configs]
    keys = differing_keys([_without_implied(values) for values in settings])
    return [
        {_shown(key): text(values[key]) for key in keys if key in values and values[key] is not ABSENT}
        for values in settings
    ]


def differing_keys(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the dotted keys in which these settings differ: the names of options first, the seed last.

    Every such key is returned, not just as many as tell the settings apart.

    Args:
        settings: Values by their dotted keys; `neuron.name` is the option of the group neuron.
    """
    keys = dict.fromkeys(key for values in settings for key in values)
    differing = [key for key in keys if _differs(key, settings)]
    return sorted(differing, key=lambda key: (key == "seed", not key.endswith(".name")))


def _differs(key: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    group = key.partition(".")[0]
    option = f"{group}.name"
    by_option: dict[Any, set[str]] = defaultdict(set)
    for values in settings:
        own = values.get(option) if key != option else None
        by_option[own].add(_canonical(values[key]) if key in values else _ABSENT)
    if any(len(found) > 1 for found in by_option.values()):
        return True
    if group in _IMPLYING or key in _IMPLIED or key.endswith("._target_"):  # the option says it
        return False
    # Options that have no such key say nothing of it.
    return len(set().union(*by_option.values()) - {_ABSENT}) > 1


def _canonical(value: Any) -> str:
    """Return a text that is equal for equal settings: 1 and 1.0 are the same, as in a run's identity."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(float(value))
    return repr(value)


def _without_implied(values: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in values.items() if not decides_nothing(key)}
    for key, source in _FROM_RECIPE.items():
        if key in found and values.get(source) == found[key]:
            found[key] = "of the data set's recipe"
    return found


@functools.cache
def decides_nothing(key: str) -> bool:
    """Whether no result depends on a dotted key, such as a path, or it always equals another key."""
    parts = key.split(".")
    below = (".".join(parts[:n]) in not_in_identity() for n in range(1, len(parts) + 1))
    return key == "dataset.T" or any(below)


def _shown(key: str) -> str:
    return key.removesuffix(".name")
