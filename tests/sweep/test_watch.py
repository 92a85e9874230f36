"""What is shown of a sweep while its jobs work."""

from pathlib import Path

import pytest

from rbp.config.text import duration
from rbp.runs.status import Status
from rbp.sweep.state import watch
from rbp.sweep.state.states import RunState


def cells(n: int) -> list[tuple[str, Path]]:
    return [(f"seed={seed}", Path(f"runs/mine/{seed}")) for seed in range(n)]


def shown(states: list[RunState], room: int) -> list[str]:
    return watch._view(cells(len(states)), states, room, width=100).plain.splitlines()


def test_every_cell_has_its_state_and_how_far_it_is_while_there_is_room() -> None:
    running = {"epoch": 2, "epochs": 9, "test_acc": 0.5, "seconds_left": 3725.0}
    lines = shown(
        [
            RunState("running", True, status=Status("running", progress=running)),
            RunState("queued", True, "Resources"),
            RunState("failed", reason="the loss is nan"),
            RunState("done", result={"test_acc": 0.987, "best_test_acc": 0.99, "seconds": 65.0}),
        ],
        room=20,
    )
    assert (
        lines[1].split()
        == "0 running epoch 3/9 test acc 50.00% 1 h 02 min left".replace("0", "seed=0", 1).split()
    )
    assert "Resources" in lines[2] and "test acc 98.70%  best 99.00%  1 min 05 s" in lines[4]
    assert lines[5] == "1 cell failed: the loss is nan (seed=2): rbp logs runs/mine/2"
    assert lines[6] == "1 queued, 1 running, 1 done, 1 failed"


def test_of_a_thousand_cells_those_at_work_and_those_that_failed_are_shown() -> None:
    done = RunState("done", result={"test_acc": 0.9, "best_test_acc": 0.9, "seconds": 1.0})
    states = [done] * 500 + [RunState("queued", True)] * 497
    states += [
        RunState("running", True, status=Status("running", progress={"epochs": 3})),
        RunState("failed", reason="why"),
        RunState("lost"),
    ]
    lines = shown(states, room=10)
    assert len(lines) == 1 + 10 + 1
    assert [line.split()[1] for line in lines[1:5]] == ["running", "failed", "lost", "queued"]
    assert lines[-3].startswith("1 cell failed: why (seed=998)") and lines[-2].startswith("1 cell lost: ")
    assert lines[-1] == "497 queued, 1 running, 500 done, 1 failed, 1 lost"


def test_lines_elsewhere_tell_each_change_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moments = [
        [RunState("queued", True)],
        [RunState("queued", True)],
        [RunState("running", True)],
        [RunState("cancelled")],
    ]
    monkeypatch.setattr(watch, "observe", lambda folders: moments.pop(0))
    monkeypatch.setattr(watch, "LOOK", 0)
    watch.watch(cells(1), Path("runs/mine"))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "queued",
        "running",
        "cancelled",
    ]


def test_ctrl_c_leaves_the_jobs_and_says_how_to_come_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(folders: object) -> list[RunState]:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "observe", interrupted)
    watch.watch(cells(1), Path("runs/mine"))
    told = capsys.readouterr().out
    assert "The jobs go on" in told and "rbp status runs/mine" in told and "rbp cancel runs/mine" in told


@pytest.mark.parametrize(("seconds", "told"), [(5.4, "5 s"), (125, "2 min 05 s"), (3725, "1 h 02 min")])
def test_times_are_told_as_people_say_them(seconds: float, told: str) -> None:
    assert duration(seconds) == told
