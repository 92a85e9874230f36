"""The id of a run in wandb: the hash that names its folder, unless `rbp sync --new-id` has chosen another."""

from pathlib import Path

from rbp.files import read_json, write_json

FILE = "wandb.json"  # beside the folder `wandb`, so that it stays when a stale run is computed again


def default_id(folder: Path) -> str:
    """Return the identity hash at the end of the run folder's name."""
    return folder.name.rpartition("-")[2]


def wandb_id(folder: Path) -> str:
    """Return the run's id in wandb."""
    found = read_json(folder / FILE)
    chosen = found.get("id") if isinstance(found, dict) else None
    return chosen if isinstance(chosen, str) and chosen else default_id(folder)


def take_new_id(folder: Path) -> str:
    """Choose and record another id: HASH-2, then HASH-3 and so on."""
    _, _, number = wandb_id(folder).removeprefix(default_id(folder)).rpartition("-")
    chosen = f"{default_id(folder)}-{int(number) + 1 if number.isdecimal() else 2}"
    write_json(folder / FILE, {"id": chosen})
    return chosen
