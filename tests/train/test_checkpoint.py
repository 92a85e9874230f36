"""Checkpoints: whole or refused, atomically written, and never another network's."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rbp.errors import CheckpointError
from rbp.train.resume.checkpoint import PARTS, load_checkpoint, load_latest, load_network, save_checkpoint
from rbp.train.resume.history import History, to_plain

EMPTY: dict[str, Any] = {key: {} for key in ("network", "optimizer", "schedule", "random")}
EMPTY |= {"identity": "", "made_with": "", "history": to_plain(History())}


def save(folder: Path, value: int, best: bool = False) -> None:
    save_checkpoint(folder, EMPTY | {"value": value, "tensor": torch.full((50,), float(value))}, best)


def values(folder: Path) -> dict[str, int]:
    return {p.name: load_checkpoint(p)["value"] for p in sorted(folder.iterdir())}


def test_the_last_the_one_before_and_the_best_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, best=True)
    assert values(tmp_path) == {"best.pt": 1, "last.pt": 1}
    save(tmp_path, 2)
    save(tmp_path, 3)
    assert values(tmp_path) == {"best.pt": 1, "last.pt": 3, "previous.pt": 2}


@pytest.mark.parametrize("calls", range(6))
def test_a_kill_at_any_point_of_saving_leaves_a_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """Every change of a name in the folder is a point where a kill may come."""
    save(tmp_path, 1)
    save(tmp_path, 2)
    left = iter(range(calls))

    def or_die(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(left, None) is None:
                raise MemoryError("killed")
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(Path, "replace", or_die(Path.replace))
    monkeypatch.setattr("os.link", or_die(__import__("os").link))
    try:
        save(tmp_path, 3, best=True)
    except MemoryError:
        assert calls < 4  # best, link, previous, last
    file, state, problems = load_latest(tmp_path)
    assert (
        file.name == "last.pt"
        and state is not None
        and not problems
        and state["value"] == (2 if calls < 4 else 3)
    )


def test_any_changed_byte_of_a_tensor_is_noticed(tmp_path: Path) -> None:
    save(tmp_path, 7)
    file = tmp_path / "last.pt"
    whole = file.read_bytes()
    for place in range(0, len(whole), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            state = load_checkpoint(file)
        except CheckpointError:
            continue
        assert state["value"] == 7 and torch.equal(
            state["tensor"], torch.full((50,), 7.0)
        )  # a byte of padding


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_cut_file_is_refused_by_name(tmp_path: Path, length: int) -> None:
    save(tmp_path, 7)
    file = tmp_path / "last.pt"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"last.pt: damaged, or no checkpoint"):
        load_checkpoint(file)


def test_with_no_whole_checkpoint_left_it_is_said_what_to_do(tmp_path: Path) -> None:
    assert load_latest(tmp_path / "none")[1:] == (None, [])
    save(tmp_path, 1)
    save(tmp_path, 2)
    (tmp_path / "previous.pt").write_bytes(b"")
    (tmp_path / "last.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"(?s)last.pt.*previous.pt.*delete .* to train anew"):
        load_latest(tmp_path)


def without(state: dict[str, Any], key: str) -> dict[str, Any]:
    """A copy that lacks key, a path with dots."""
    state = copy.deepcopy(state)
    *path, last = key.split(".")
    part = state
    for name in path:
        part = part[name]
    del part[last]
    return state


@pytest.mark.parametrize("key", [*PARTS, "history.best", "history.costs", "history.costs.memory"])
def test_a_checkpoint_that_lacks_a_part_falls_back_to_the_one_before(tmp_path: Path, key: str) -> None:
    save(tmp_path, 1)
    save_checkpoint(tmp_path, without(EMPTY, key), best=False)
    file, state, problems = load_latest(tmp_path)
    assert file.name == "previous.pt" and state is not None and state["value"] == 1
    assert len(problems) == 1 and "last.pt: not a whole checkpoint" in problems[0]
    assert f"lacks {key.rpartition('.')[2]}" in problems[0]


def test_a_checkpoint_with_a_part_of_another_kind_is_refused(tmp_path: Path) -> None:
    for change, told in (
        ({"network": 3}, "network: of another type"),
        ({"history": EMPTY["history"] | {"more": 1}}, "history has unknown more"),
        ({"history": EMPTY["history"] | {"epochs": "3"}}, "history.epochs is a str, not a int"),
    ):
        save_checkpoint(tmp_path, EMPTY | change, best=False)
        with pytest.raises(CheckpointError, match=f"last.pt: not a whole checkpoint .*{told}"):
            load_checkpoint(tmp_path / "last.pt")


@pytest.mark.parametrize(("name", "told"), [("", "is a folder"), ("x" * 300, "no such checkpoint")])
def test_what_is_no_file_is_refused_by_name(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        load_checkpoint(tmp_path / name)


class Thing:
    """Code in a checkpoint's clothes."""


def test_a_file_that_could_run_code_is_not_loaded(tmp_path: Path) -> None:
    torch.save({"format": 1, "thing": Thing()}, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=r"odd.pt: not a checkpoint of this program"):
        load_checkpoint(tmp_path / "odd.pt")


def test_the_checkpoint_of_another_network_is_refused_with_what_differs() -> None:
    small, large = nn.Sequential(nn.Linear(2, 3)), nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 4))
    state = {"network": small.state_dict(), "made_with": "a-run"}
    with pytest.raises(
        CheckpointError, match=r"x.pt: .*another network .*a-run.*1.weight is missing.*\[3, 2\], not"
    ):
        load_network(large, state, Path("x.pt"))
    before = [p.clone() for p in small.parameters()]
    load_network(small, state, Path("x.pt"))
    assert all(torch.equal(a, b) for a, b in zip(before, small.parameters(), strict=True))
