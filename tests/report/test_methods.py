"""Methods beside BPTT: each number of segments of time is one, with a comparison and a name of its own."""

from pathlib import Path

import pytest

from rbp.report import write_report
from rbp.report.compare import compare
from rbp.report.figures.figure import Figure
from rbp.report.figures.series import accuracy_over_segments, dials, seconds_over_segments
from rbp.report.figures.style import method_name
from rbp.report.read import Method, read_runs
from rbp.report.table import table
from rbp.report.texts import cells, markdown
from tests.support.run_folders import write_run

DIAL = [(1, True, 0.70), (2, True, 0.80), (4, True, 0.90), (4, False, 0.60)]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """BPTT and four settings of the dial, two seeds each; every method has a learning rate of its own."""
    for seed in (0, 1):
        write_run(tmp_path, 0.94, grad_mode="bptt", seed=seed, seconds=0.3, optimizer__lr=0.1)
        for n, (k, coupled, accuracy) in enumerate(DIAL):
            write_run(
                tmp_path,
                accuracy + 0.02 * seed,
                grad_mode="rate",
                seed=seed,
                seconds=0.1 * (1 + n),
                grad_mode__segments=k,
                grad_mode__coupled=coupled,
                optimizer__lr=0.01 * (n + 1),
            )
    return tmp_path


def test_each_is_named_in_full_and_compared_with_bptt(sweep: Path) -> None:
    lines = table(compare(read_runs([sweep])[0]))
    assert [cells(line, lines)[4] for line in lines] == [
        "Rate-BP",
        "Rate-BP, 2 segments",
        "Rate-BP, 4 segments",
        "Rate-BP, 4 segments, uncoupled",
    ]
    found = {line.comparison.method: line for line in lines}
    for k, coupled, accuracy in DIAL:
        line = found[Method("rate", k, coupled)]
        assert line.accuracy["bptt"].mean == pytest.approx(0.94)
        assert line.difference is not None and line.difference.mean == pytest.approx(accuracy + 0.01 - 0.94)
        assert any(note.startswith("optimizer.lr: bptt 0.1, rate 0.0") for note in line.notes)
    assert "Rate-BP, 4 segments, uncoupled" in markdown(lines)


def lines_of(figure: Figure) -> dict[str, dict[int, float]]:
    return {s.label: dict(zip(s.x, s.y, strict=True)) for s in figure.series if s.look == "mean"}


def test_the_figures_over_segments_have_a_line_for_each_coupling_and_bptts_level(sweep: Path) -> None:
    (dial,) = dials(compare(read_runs([sweep])[0])).values()
    means = lines_of(accuracy_over_segments(dial))
    assert means["BPTT"] == pytest.approx({1: 94, 2: 94, 4: 94})
    assert means["Rate-BP, coupled"] == pytest.approx({1: 71, 2: 81, 4: 91})
    assert means["Rate-BP, uncoupled"] == pytest.approx({1: 71, 4: 61})
    times = lines_of(seconds_over_segments(dial))
    assert times["Rate-BP, coupled"] == pytest.approx({1: 100, 2: 200, 4: 300})


def test_the_report_draws_them(sweep: Path) -> None:
    page = write_report([sweep], svg=True).read_text()
    assert 'id="figure-accuracy-k"' in page and "Rate-BP, 2 segments" in page
    assert (sweep / "figures" / "accuracy-k-digits-digits_cnn-T=4-m.svg").exists()


def test_a_sweep_without_segments_is_as_before(tmp_path: Path) -> None:
    for mode in ("bptt", "rate"):
        write_run(tmp_path, grad_mode=mode)
    (comparison,) = compare(read_runs([tmp_path])[0])
    assert comparison.differs == "" and comparison.method == Method("rate")
    assert "figure-accuracy-k" not in write_report([tmp_path]).read_text()


def test_a_learning_rate_that_is_swept_tells_runs_apart(tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        for mode in ("bptt", "rate"):
            write_run(tmp_path, grad_mode=mode, optimizer__lr=lr)
    found = compare(read_runs([tmp_path])[0])
    assert [c.differs for c in found] == ["optimizer.lr=0.1", "optimizer.lr=0.2"]


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (Method("bptt"), "BPTT"),
        (Method("rate"), "Rate-BP"),
        (Method("rate", 4), "Rate-BP, 4 segments"),
        (Method("rate", 8, False), "Rate-BP, 8 segments, uncoupled"),
    ],
)
def test_names(method: Method, name: str) -> None:
    assert method_name(method) == name
