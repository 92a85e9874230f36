"""metrics.jsonl as a tracker reads it on: each step once, in order, whatever kills and resumed runs do."""

import json
from pathlib import Path
from typing import Any

from rbp.files import append_line, write_bytes
from rbp.runs.folder import RunFolder
from rbp.runs.metrics import step_line
from rbp.track.reader import MetricsReader, metrics_after
from tests.support.tracking import line, with_steps


def write(folder: Path, *lines: dict[str, Any]) -> None:
    for values in lines:
        append_line(RunFolder(folder).metrics, values)


def steps(lines: list[dict[str, Any]]) -> list[int]:
    return [line["step"] for line in lines]


def test_an_epochs_last_step_waits_for_the_epoch_and_is_one_line_with_it(tmp_path: Path) -> None:
    reader = MetricsReader(tmp_path, -1)
    assert reader.new_lines() == []
    middle, last, epoch = with_steps(1)
    write(tmp_path, middle, last)
    assert reader.new_lines() == [middle] and reader.new_lines() == []
    write(tmp_path, epoch)
    assert reader.new_lines() == [last | epoch | {"seconds_of_training": 1.5}]
    write(tmp_path, *with_steps(2), *with_steps(3)[:1])
    assert steps(reader.new_lines()) == [11, 14, 18]
    assert [line.get("seconds_of_training") for line in metrics_after(7, tmp_path)] == [None, 3.0, None]


def test_an_epoch_whose_line_is_lost_leaves_its_last_step_and_ends_the_time(tmp_path: Path) -> None:
    write(tmp_path, *with_steps(1), *with_steps(2)[:2], *with_steps(3))
    found = metrics_after(-1, tmp_path)
    assert steps(found) == [4, 7, 11, 14, 18, 21] and "test_acc" not in found[3]
    assert [line["epoch"] for line in found if "seconds_of_training" in line] == [1]


def test_a_resumed_run_that_has_cut_the_file_repeats_nothing_and_hides_nothing(tmp_path: Path) -> None:
    """Cut and grown again between two looks, beyond the place where the reader was."""
    reader, file = MetricsReader(tmp_path, -1), RunFolder(tmp_path).metrics
    write(tmp_path, *with_steps(1), *with_steps(2)[:2])
    assert steps(reader.new_lines()) == [4, 7, 11]
    write_bytes(file, b"".join(file.read_bytes().splitlines(keepends=True)[:3]))
    write(tmp_path, *with_steps(2), *with_steps(3))
    found = reader.new_lines()
    assert steps(found) == [14, 18, 21]
    assert [line.get("seconds_of_training") for line in found] == [3.0, None, 4.5]


def test_damaged_and_unfinished_lines_are_left_out_until_they_are_whole(tmp_path: Path) -> None:
    reader, file = MetricsReader(tmp_path, -1), RunFolder(tmp_path).metrics
    write(tmp_path, line(1))
    second = json.dumps(line(2))
    with file.open("a") as stream:
        stream.write('[1]\nno line\n{"epoch": 7}\n' + second[:20])
    assert steps(reader.new_lines()) == [7]
    with file.open("a") as stream:
        stream.write(f"{second[20:]}\n")
    assert steps(reader.new_lines()) == [14]


def test_reading_on_reads_no_line_twice(tmp_path: Path) -> None:
    reader = MetricsReader(tmp_path, -1)
    for step in range(1, 4):
        write(tmp_path, step_line(0, step, 10, 0.5, None))
        assert reader.new_lines() == [{"epoch": step / 10, "step": step, "step_loss": 0.5, "grad_norm": None}]
    assert reader.stream is not None and reader.stream.tell() == RunFolder(tmp_path).metrics.stat().st_size
