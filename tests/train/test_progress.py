"""What a person sees: plain lines without control characters in a file, a bar on a terminal."""

import re
from pathlib import Path

import pytest

from rbp.train import train
from rbp.train.telemetry.display import make_display
from tests.support.configs import make
from tests.support.terminal import on_a_terminal
from tests.support.training import SHORT, short

SHOWN = [arg for arg in SHORT if "progress" not in arg]


def test_a_log_file_gets_a_line_an_epoch_and_no_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg, run = short(tmp_path, "trainer.progress=auto")
    train(cfg, run.path)
    shown = capsys.readouterr().out
    assert [line.split("  ")[0] for line in shown.splitlines()] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all(char.isprintable() or char == "\n" for char in shown)


def test_long_epochs_get_a_line_every_so_many_batches(capsys: pytest.CaptureFixture[str]) -> None:
    display = make_display(make("trainer.progress=plain", "trainer.log_every=2", "trainer.epochs=2"), 5, 0)
    for batch in range(1, 6):
        display.batch(1, batch, 0.5, 0.25)
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1/2 batch 2/5  loss 0.5000  train acc 25.00%",
        "epoch 1/2 batch 4/5  loss 0.5000  train acc 25.00%",
    ]


def test_none_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg, run = short(tmp_path)
    train(cfg, run.path)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_terminal_gets_a_bar_with_epoch_loss_accuracy_and_speed(tmp_path: Path) -> None:
    line = [*SHOWN, "trainer.threads=1"]
    shown = on_a_terminal("launch", *line, f"runs_dir={tmp_path}", columns=120)
    assert "\x1b[" in shown.sent and "━" in shown.sent
    for part in ("epoch 3/3", "loss ", "train acc ", "img/s", "test acc"):
        assert part in shown.sent
    dumb = on_a_terminal("launch", *line, f"runs_dir={tmp_path / 'b'}", env={"TERM": "dumb"})
    assert "epoch 3/3" in dumb.sent and "\x1b" not in dumb.sent


def colours(shown: str) -> set[str]:
    """The codes of colour, of letters or ground, in what a terminal is sent; bold and dim are none."""
    codes = {code for sent in re.findall(r"\x1b\[([\d;]*)m", shown) for code in sent.split(";")}
    return {code for code in codes if re.fullmatch(r"3[0-8]|4[0-8]|9[0-7]|10[0-7]", code)}


@pytest.mark.slow
def test_a_bar_and_a_table_have_no_colour_where_NO_COLOR_is_set(tmp_path: Path) -> None:
    line = [*SHOWN, "trainer.threads=1", "-m", "grad_mode=bptt,rate"]
    plain = on_a_terminal("launch", *line, f"runs_dir={tmp_path / 'a'}", env={"NO_COLOR": "1"}).sent
    assert "━" in plain and "grad_mode" in plain and not colours(plain)
    assert colours(on_a_terminal("launch", *line, f"runs_dir={tmp_path / 'b'}").sent)
