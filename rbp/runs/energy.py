"""What result.json says of steps and synaptic operations, as plain numbers (docs/energy.md).

Results of before have none of it, and some networks hide their steps or their operations.
"""

from collections.abc import Mapping
from typing import Any

from rbp.files import is_number

# Each figure's place in `operations`.
_PLACES = {
    "additions": ("additions",),
    "macs": ("macs",),
    "energy_uj": ("energy_uj",),
    "energy_uj_static_once": ("static_once", "energy_uj"),
    "ann_macs": ("ann", "macs"),
    "ann_energy_uj": ("ann", "energy_uj"),
}
_OVER_T = ("additions", "macs", "energy_uj", "energy_uj_static_once")


def energy_figures(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the operations per image and their energies in microjoules, as far as they are known.

    Returns:
        `additions`, `macs`, `energy_uj` and `energy_uj_static_once` of all T steps; `ann_macs` and
        `ann_energy_uj` of the same network as an ANN.
    """
    found = {key: _at(result.get("operations"), place) for key, place in _PLACES.items()}
    return {key: value for key, value in found.items() if is_number(value)}


def not_counted(result: Mapping[str, Any]) -> list[str]:
    """Return the modules whose operations are missing from the figures, or some of them."""
    found = _at(result.get("operations"), ("not_counted",))
    return list(found) if isinstance(found, dict) else []


def acc_over_t(result: Mapping[str, Any]) -> list[float]:
    """Return the test accuracy in [0, 1] after t = 1, ..., T steps; nothing where it is not known."""
    return _numbers(result.get("test_acc_over_t"))


def over_t(result: Mapping[str, Any]) -> list[dict[str, float]]:
    """Return a record for each t = 1, ..., T: `t`, `test_acc`, and the operations and energies up to it."""
    columns = {"test_acc": acc_over_t(result)}
    columns |= {key: _numbers(_at(result.get("operations"), ("over_t", key))) for key in _OVER_T}
    steps = range(max(map(len, columns.values())))
    return [
        {"t": t + 1} | {key: values[t] for key, values in columns.items() if t < len(values)} for t in steps
    ]


def _at(values: Any, place: tuple[str, ...]) -> Any:
    for key in place:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _numbers(values: Any) -> list[float]:
    return values if isinstance(values, list) and all(map(is_number, values)) else []
