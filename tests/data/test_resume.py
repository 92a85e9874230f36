"""A preparation that is killed or runs out of disk: what is done is kept, and only what is whole is used."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rbp.config.composition.places import ROOT
from rbp.data.events.framing import Framing
from rbp.data.events.prepare import shards
from rbp.data.events.sets.cifar10_dvs import cifar10_dvs
from rbp.errors import DataError
from tests.support.event_recordings import framing, stopped_before, write_cifar10_dvs
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("one_thread")


def prepare_elsewhere(root: Path, *more: str, **keys: object) -> subprocess.Popen[str]:
    program = "import sys; from rbp.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "data", "prepare", "cifar10_dvs", f"dataset.root={root}", "T=4"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1"}  # Python 3.11 keeps bytecode that a full disk has cut off
    return subprocess.Popen(
        [*command, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **keys,  # type: ignore[call-overload]
    )


def building_of(root: Path) -> Path:
    return root / "prepared" / f".building-{framing().folder('cifar10_dvs', root).name}"


def stop_before(number: int, root: Path, how: Framing, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped_before(number, lambda: cifar10_dvs.prepare(root, how, 1), monkeypatch)


def watch_shards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the shards that are made from now on."""
    made: list[int] = []
    whole = shards.make

    def make(shard: shards.Shard) -> None:
        made.append(shard.number)
        whole(shard)

    monkeypatch.setattr(shards, "make", make)
    return made


def test_a_killed_preparation_goes_on_where_it_was_and_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "RECORDINGS", 5)
    write_cifar10_dvs(tmp_path, "folders", n=5, n_events=30)
    stop_before(4, tmp_path, framing(), monkeypatch)
    made = watch_shards(monkeypatch)
    resumed, _ = cifar10_dvs(str(tmp_path), False, framing())
    assert made == list(range(4, 10))
    anew, _ = cifar10_dvs(str(tmp_path), False, framing(prepared=str(tmp_path / "other")))
    assert torch.equal(resumed.pixels, anew.pixels) and torch.equal(resumed.labels, anew.labels)
    assert not list((tmp_path / "prepared").glob(".building-*/*"))


@pytest.mark.slow
def test_a_preparation_killed_at_any_moment_leaves_no_half_of_a_set_and_no_process(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=60, n_events=10)
    building = building_of(tmp_path)
    process = prepare_elsewhere(tmp_path, "--workers", "2")
    wait_for(lambda: list(building.glob("0*.json")) or process.poll() is not None)
    children = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not framing().folder("cifar10_dvs", tmp_path).exists() or process.returncode == 0
    wait_for(lambda: not [pid for pid in children if _alive(pid)])
    train, test = cifar10_dvs(str(tmp_path), False, framing())
    assert (len(train), len(test)) == (540, 60)


def _children(pid: int) -> list[int]:
    return [
        int(child.name) for child in Path("/proc").glob("[0-9]*") if _state(int(child.name))[1] == str(pid)
    ]


def _alive(pid: int) -> bool:
    return _state(pid)[0] not in ("", "Z")


def _state(pid: int) -> tuple[str, str]:
    """State and parent of a process, by Linux; empty if there is none."""
    try:
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return state, parent
    except OSError:
        return "", ""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [3_000, 150_000])
def test_a_disk_that_fills_is_told_and_leaves_nothing_taken_for_whole(limit: int, tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=2, n_events=10)

    def small_disk() -> None:  # a file may not grow over the limit: what a full disk does to one
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = prepare_elsewhere(tmp_path, preexec_fn=small_disk)
    _, told = process.communicate()
    assert process.returncode == 2 and "Traceback" not in told
    assert "cannot be written: File too large" in told and str(tmp_path / "prepared") in told
    assert not framing().folder("cifar10_dvs", tmp_path).exists()
    assert len(cifar10_dvs(str(tmp_path), False, framing())[0]) == 10


def test_a_root_that_cannot_be_written_needs_another_folder_for_the_frames(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=2, n_events=10)
    (tmp_path / "prepared").touch()  # a file in the way
    with pytest.raises(DataError, match=r"cannot be written.*dataset.prepared=PATH"):
        cifar10_dvs(str(tmp_path), False, framing())
    assert len(cifar10_dvs(str(tmp_path), False, framing(prepared=str(tmp_path / "there")))[0]) == 10


def cut(building: Path) -> None:
    file = building / "00001.npy"
    file.write_bytes(file.read_bytes()[:1000])


def flip_a_bit(building: Path) -> None:
    file = building / "00001.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def lose(building: Path) -> None:
    (building / "00001.npy").unlink()


def empty_summary(building: Path) -> None:
    (building / "00001.json").write_text("{}")


def other_labels(building: Path) -> None:
    file = building / "00001.json"
    file.write_text(file.read_text().replace('"levels"', '"Levels"'))


@pytest.mark.parametrize("spoil", [cut, flip_a_bit, lose, empty_summary, other_labels])
def test_a_shard_that_was_damaged_is_made_again(
    spoil: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=12, n_events=20)
    stop_before(3, tmp_path, framing(), monkeypatch)
    spoil(building_of(tmp_path))
    made = watch_shards(monkeypatch)
    resumed, _ = cifar10_dvs(str(tmp_path), False, framing())
    assert made == [1, 3, 4]
    anew, _ = cifar10_dvs(str(tmp_path), False, framing(prepared=str(tmp_path / "other")))
    assert torch.equal(resumed.pixels, anew.pixels) and torch.equal(resumed.labels, anew.labels)


def test_what_is_done_is_kept_when_broken_recordings_may_be_skipped_and_not_the_other_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=12, n_events=20)
    broken = tmp_path / "truck" / "cifar10_truck_3.aedat"
    broken.write_bytes(b"")
    made = watch_shards(monkeypatch)
    with pytest.raises(DataError, match=r"dataset.on_error=skip"):
        cifar10_dvs.prepare(tmp_path, framing(), 1)
    assert made == [0, 1, 2, 3]  # the last of them failed
    made.clear()
    stop_before(4, tmp_path, framing(on_error="skip"), monkeypatch)
    assert made == [3]
    with pytest.raises(DataError, match=f"{broken}: is empty"):
        cifar10_dvs.prepare(tmp_path, framing(), 1)
    made.clear()
    train, _ = cifar10_dvs(str(tmp_path), False, framing(on_error="skip"))
    assert made == [4] and len(train) == 109


def test_what_killed_writers_left_does_not_stay_with_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=12, n_events=20)
    stop_before(2, tmp_path, framing(), monkeypatch)
    (building_of(tmp_path) / ".00002.npy.4711.tmp").write_bytes(bytes(99))
    cifar10_dvs(str(tmp_path), False, framing())
    whole = framing().folder("cifar10_dvs", tmp_path)
    assert sorted(file.name for file in whole.iterdir()) == ["manifest.json", "test.npy", "train.npy"]


@pytest.mark.slow
def test_a_worker_that_is_killed_is_told_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=60, n_events=10)
    process = prepare_elsewhere(tmp_path, "--workers", "2")

    def both() -> list[int]:
        """Python's pool may hang where one dies while the other is being started."""
        workers = [pid for pid in _children(process.pid) if b"spawn_main" in _command(pid)]
        return workers if len(workers) == 2 else []

    # Seconds pass between their start and the end of their work.
    workers = wait_for(both, alive=lambda: process.poll() is None)
    os.kill(workers[0], signal.SIGKILL)
    _, told = process.communicate()
    assert process.returncode == 2 and "Traceback" not in told
    assert "a process that made frames was killed" in told and "the same command goes on" in told
    assert len(cifar10_dvs(str(tmp_path), False, framing())[0]) == 540


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
