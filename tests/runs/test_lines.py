"""Lines of JSON, whole and damaged: each counts by itself, however the others look."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbp.files import read_line, read_lines

PIECES = [
    '{"a":1}',
    '{"a":1',
    '"b":2},{"c":3}',
    '"x],[y"',
    "1],[2",
    '{"a":"x',
    'y"}',
    "",
    " ",
    "null",
    "[1]",
    "[",
    "]",
]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(alphabet='{}[],:"1a', max_size=9)), max_size=6))
def test_each_line_counts_by_itself(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    file = tmp_path_factory.getbasetemp() / "lines.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines))
    alone = [read_line(line.encode()) for line in lines]
    assert read_lines(file) == [values for values in alone if isinstance(values, dict)]


def test_lines_are_left_out_unparsed_and_a_missing_file_has_none(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    lines: list[dict[str, Any]] = [{"a": 1}, {"step": 2}, {"b": "ü"}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"cut":')
    assert read_lines(file) == lines and read_lines(file, without=b'"step"') == [lines[0], lines[2]]
    assert read_lines(tmp_path / "none.jsonl") == []
