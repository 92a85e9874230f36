"""The table of results: which figures are marked, and that a log file gets no control characters."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from rbp.sweep.state.table import Row, print_table


def row(grad_mode: str, T: str, acc: float, memory: float | None = 2**20, firing: float = 0.1) -> Row:
    result = {"test_acc": acc, "peak_memory_bytes": memory, "firing_rate": firing}
    return Row({"grad_mode": grad_mode, "T": T}, f"{grad_mode}-{T}", result)


def printed(rows: list[Row], terminal: bool = False) -> list[str]:
    stream = io.StringIO()
    print_table(rows, Console(file=stream, force_terminal=terminal, width=160, highlight=False))
    return stream.getvalue().splitlines()


def test_the_better_of_the_two_gradient_modes_is_marked_within_its_pair() -> None:
    lines = printed(
        [
            row("bptt", "2", 0.97, memory=4 * 2**20, firing=0.1),
            row("bptt", "4", 0.99),
            row("rate", "2", 0.96, memory=2**20, firing=0.2),
            row("rate", "4", 0.99),
        ]
    )
    assert "4.0*" not in lines[1] and "1.0*" in lines[3]  # less is better
    assert "97.00%*" not in lines[1]  # of one seed each, accuracies say nothing
    assert "*" not in lines[2] and "*" not in lines[4]  # equal in all
    assert "0.200*" not in lines[3]  # no firing rate is better than another


def test_times_of_single_runs_are_marked_only_where_they_differ_clearly() -> None:
    for seconds, marked in ((0.95, False), (0.85, True)):
        rows = [row("bptt", "2", 0.9), row("rate", "2", 0.9)]
        rows[0].result |= {"seconds_per_epoch": 1.0}  # type: ignore[operator]
        rows[1].result |= {"seconds_per_epoch": seconds}  # type: ignore[operator]
        assert (f"{seconds:.3f}*" in printed(rows)[2]) == marked


def seeded(grad_mode: str, *accuracies: float) -> list[Row]:
    found = [row(grad_mode, "2", accuracy) for accuracy in accuracies]
    for seed, each in enumerate(found):
        each.choices["seed"] = str(seed)
    return found


def test_seeds_are_pooled_and_marked_where_the_difference_is_beyond_their_spread() -> None:
    lines = printed([*seeded("bptt", 0.80, 0.90, 0.70), *seeded("rate", 0.81, 0.911, 0.709)])
    assert lines[0].split()[:3] == ["grad_mode", "T", "seeds"] and len(lines) == 5
    assert lines[1].split()[:6] == ["bptt", "2", "3", "80.00", "±", "10.00%"]
    assert lines[2].split()[:6] == ["rate", "2", "3", "81.00", "±", "10.10%*"]  # paired: 1, 1.1, 0.9 points
    assert lines[3] == "mean ± standard deviation over seeds"
    lines = printed([*seeded("bptt", 0.80, 0.90, 0.70), *seeded("rate", 0.84, 0.86, 0.73)])
    assert not any("*" in line for line in lines)  # 4, -4 and 3 points


def test_equal_differences_over_seeds_say_nothing_of_accuracy_but_of_what_has_no_noise() -> None:
    """Two seeds with one image of 360 more each, and with a quarter of the memory each."""
    bptt, rate = seeded("bptt", 350 / 360, 352 / 360), seeded("rate", 351 / 360, 353 / 360)
    for each in bptt:
        each.result |= {"peak_memory_bytes": 4 * 2**20}  # type: ignore[operator]
    lines = printed([*bptt, *rate])
    assert "97.78 ± 0.39%" in lines[2] and "%*" not in lines[2] and "1.0 ± 0.0*" in lines[2]


@pytest.mark.parametrize("odd", ["[a]", "[/x]", "[red]", "[link=http://x]"])
def test_markup_in_a_choice_is_shown_as_it_is(odd: str) -> None:
    found = [row("bptt", odd, 0.9), row("rate", odd, 0.9, memory=1.0)]
    for terminal in (True, False):
        assert sum(odd in line for line in printed(found, terminal)) == 2


def test_seeds_that_are_not_done_are_counted_and_told() -> None:
    rows = [*seeded("bptt", 0.8, 0.9), *seeded("rate", 0.8, 0.9)]
    rows[3].result, rows[3].error = None, "out of memory"
    lines = printed(rows)
    assert (
        "1 of 2" in lines[2]
        and "80.00%" in lines[2]
        and lines[-1] == f"1 cell failed: out of memory ({rows[3].label})"
    )
    rows[2].result, rows[2].state = None, "running"
    assert "0 of 2" in printed(rows)[2] and "running" in printed(rows)[2]


def test_nothing_is_marked_without_a_partner_or_a_figure() -> None:
    assert not any("*" in line for line in printed([row("bptt", "2", 0.9), row("rate", "4", 0.8)]))
    pair = [row("bptt", "2", 0.9, memory=None), row("rate", "2", 0.9)]
    assert not any("*" in line for line in printed(pair))
    failed = Row({"grad_mode": "bptt", "T": "2"}, "bptt-2", None, "loss is nan")
    assert not any("*" in line for line in printed([failed, row("rate", "2", 0.9)]))


def test_plain_lines_are_aligned_and_free_of_control_characters() -> None:
    lines = printed([row("bptt", "2", 0.9), row("rate", "16", 1.0)])
    assert all(char.isprintable() for line in lines for char in line)
    assert len({line.rindex("0.100") for line in lines[1:3]}) == 1
    assert not any(line != line.rstrip() for line in lines)


def test_a_terminal_gets_a_frame_with_the_same_figures() -> None:
    text = "\n".join(printed([row("bptt", "2", 0.9), row("rate", "2", 0.95)], terminal=True))
    assert "\x1b[" in text and "90.00%" in text and "95.00%" in text


def test_the_table_of_a_usual_grid_fits_a_terminal_of_80_columns() -> None:
    result = {
        "test_acc": 0.9889,
        "best_test_acc": 0.9917,
        "seconds_per_epoch": 0.987,
        "images_per_second": 2345.6,
    }
    result |= {"peak_memory_bytes": 123.4 * 2**20, "firing_rate": 0.123}
    worse = {"test_acc": 0.98, "best_test_acc": 0.98, "seconds_per_epoch": 1.99, "images_per_second": 1000.0}
    worse |= {"peak_memory_bytes": 223.4 * 2**20, "firing_rate": 0.123}
    both = {"bptt": worse, "rate": result}  # every figure of one row is marked, which is the widest
    rows = [Row({"grad_mode": mode, "step_mode": "m"}, mode, both[mode]) for mode in both]
    stream = io.StringIO()
    print_table(rows, Console(file=stream, force_terminal=True, no_color=True, width=80, highlight=False))
    shown = stream.getvalue()
    for text in ("grad_mode", "step_mode", "98.89%", "2,346*", "123.4*"):
        assert text in shown, shown


def test_a_failure_is_named_with_its_message() -> None:
    rows = [
        Row({"seed": "1"}, "digits-s1", None, "[odd] message"),
        Row({"seed": "2"}, "digits-s2", {"test_acc": 1.0}),
    ]
    lines = printed(rows)
    assert (
        lines[-1] == "1 cell failed: [odd] message (seed=1)"
        and "failed" in lines[1]
        and "100.00%" in lines[2]
    )


def test_a_single_run_is_shown_by_its_name() -> None:
    lines = printed([Row({}, "digits-cnn-T4", {"test_acc": 0.5})])
    assert lines[0].startswith("run") and lines[1].startswith("digits-cnn-T4") and "50.00%" in lines[1]


def test_rows_of_grids_with_other_keys_share_one_table() -> None:
    choices: list[dict[str, str]] = [{"seed": "1"}, {"T": "2", "grad_mode": "rate"}]
    lines = printed([Row(told, f"run{number}", None, state="new") for number, told in enumerate(choices)])
    assert [line.split()[:4] for line in lines] == [
        ["seed", "T", "grad_mode", "test"],
        ["1", "-", "-", "new"],
        ["-", "2", "rate", "new"],
    ]


@pytest.mark.parametrize("choices", [{}, {"T": "2"}, {"T": "2", "seed": "0"}])
def test_runs_that_nothing_tells_apart_are_never_one_line(choices: dict[str, str]) -> None:
    """Cells that a sweep's notes lack, for instance: each keeps its own number, and its name."""
    rows = [Row(dict(choices), f"run-{number}", {"test_acc": number / 10}) for number in (1, 2)]
    rows.append(Row({"T": "4", "seed": "0"}, "run-3", {"test_acc": 0.3}))
    lines = printed(rows)
    assert [("run-1" in line, "10.00%" in line) for line in lines].count((True, True)) == 1
    assert [("run-2" in line, "20.00%" in line) for line in lines].count((True, True)) == 1
    assert sum("30.00%" in line for line in lines) == 1 and not any("±" in line for line in lines)


def test_cells_that_failed_for_one_reason_are_told_in_one_line_with_their_number() -> None:
    rows = [
        Row({"T": str(T)}, f"run-{T}", None, "out of memory", folder=Path(f"runs/x/run-{T}")) for T in (1, 2)
    ]
    rows.append(Row({"T": "3"}, "run-3", None, "the loss is nan", state="lost"))
    assert printed(rows)[-2:] == [
        "2 cells failed: out of memory (first: T=1): rbp logs runs/x/run-1",
        "1 cell lost: the loss is nan (T=3)",
    ]


def test_a_reason_with_other_numbers_or_the_name_of_a_run_is_the_same_reason_and_said_to_be() -> None:
    rows = [Row({"T": str(T)}, f"digits-{T}", None, f"runs/x/digits-{T}: nan at step {T}") for T in (1, 2, 3)]
    assert printed(rows)[-1] == (
        "3 cells failed: runs/x/digits-1: nan at step 1 (first: T=1; the others with other numbers or names)"
    )


def test_a_table_too_wide_for_the_screen_is_cut_between_columns_and_loses_none() -> None:
    key = "trainer.batch_size"
    for heads in ([key], [key, "optimizer.weight_decay"], [key, "optimizer.weight_decay", "optimizer.lr"]):
        rows = [
            Row({**dict.fromkeys(heads, str(T)), "seed": str(seed)}, f"run-{T}-{seed}", result(T, seed))
            for T in (1, 2)
            for seed in (0, 1)
        ]
        stream = io.StringIO()
        print_table(rows, Console(file=stream, force_terminal=True, no_color=True, width=80))
        shown = re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue())
        assert max(map(len, shown.splitlines())) <= 80
        words = shown.replace("=", " ").split()
        for word in [*heads, "acc", "s/epoch", "img/s", "MiB", "firing"]:
            assert word in words, shown
        for number in ("90.50 ± 0.71%", "1,000 ± 0", "1.10 ± 0.00", "24.0 ± 0.0", "0.100 ± 0.000"):
            assert number in shown, shown


def result(T: int, seed: int) -> dict[str, float]:
    accuracies = {"test_acc": 0.8 + 0.1 * T + 0.01 * seed, "best_test_acc": 0.9}
    costs = {"seconds_per_epoch": 1.1 * T, "images_per_second": 1000.0, "peak_memory_bytes": 24.0 * 2**20}
    return accuracies | costs | {"firing_rate": 0.1}
