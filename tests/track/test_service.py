"""Against a stand-in for wandb's service on this machine: what is sent, and how often."""

import fcntl
import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from rbp.cli import main
from rbp.files import append_line
from rbp.locks import locked
from rbp.report.figures.sets import figure_sets
from rbp.report.figures.style import styles
from rbp.runs.folder import RunFolder
from rbp.runs.older_results import archive_result
from rbp.track import TrackerProcess, start
from rbp.track.follow import LOCK
from rbp.track.segments import segments, steps
from rbp.track.sync import Counts, sync
from tests.support.reports import facets
from tests.support.run_folders import steps_and_energy, write_run
from tests.support.tracking import config_of, finish, follow, line, new_run
from tests.support.waiting import wait_for
from tests.support.wandb_service import KEY, meet, service


@pytest.mark.slow
def test_offline_runs_say_nothing_and_are_uploaded_once_each_when_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with service() as server:
        meet(server.url, monkeypatch)
        done, waiting = new_run(tmp_path, seed=0, tracker__checkpoints=True), new_run(tmp_path, seed=1)
        checkpoint(done).write_bytes(b"weights")
        follow(done, range(1, 3), "preempted")
        follow(done, range(3, 4))
        follow(waiting, range(1, 2), "preempted")
        assert server.asked.total() == 0
        assert main(["sync", str(tmp_path)]) == 0
        assert "1 runs uploaded, 0 were before, 1 not finished" in capsys.readouterr().out
        assert server.steps == {done.name[-8:]: [7, 14, 21]}
        assert {run["name"] for run in server.upserted} == {done.name[-8:]}
        assert all(len(run["commit"]) == 40 for run in server.upserted if run["commit"])
        assert server.artifacts == {f"checkpoint-{done.name[-8:]}": {"best.pt": b"weights"}}
        before = server.asked.total()
        assert main(["sync", str(tmp_path)]) == 0
        assert "0 runs uploaded, 1 were before" in capsys.readouterr().out
        assert server.asked.total() == before


def checkpoint(folder: Path) -> Path:
    """Where a run has its best checkpoint."""
    place = RunFolder(folder).checkpoints
    place.mkdir()
    return place / "best.pt"


@pytest.mark.slow
def test_a_checkpoint_that_is_gone_before_it_was_sent_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """wandb itself says nothing, and marks the run as uploaded."""
    folder = new_run(tmp_path, tracker__checkpoints=True)
    file = checkpoint(folder)
    file.write_bytes(b"weights")
    follow(folder, range(1, 3))
    file.unlink()
    with service() as server:
        meet(server.url, monkeypatch)
        assert sync([tmp_path]) == Counts(failed=1)
        told = capsys.readouterr().out
        assert "checkpoints/best.pt: no such file or directory" in told
        file.write_bytes(b"weights")
        assert sync([tmp_path]) == Counts(uploaded=1)
        assert server.artifacts == {f"checkpoint-{folder.name[-8:]}": {"best.pt": b"weights"}}


@pytest.mark.slow
def test_a_service_that_is_not_there_is_told_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_run(tmp_path)
    follow(folder, range(1, 2))
    monkeypatch.setenv("WANDB_API_KEY", "short")  # refused before anything is asked
    with service() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        assert sync([tmp_path]) == Counts(failed=1)
        meet(server.url, monkeypatch)
        assert sync([tmp_path]) == Counts(uploaded=1)


def test_online_goes_to_the_service_as_it_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with service() as server:
        meet(server.url, monkeypatch)
        folder = new_run(tmp_path, mode="online")
        assert follow(folder, range(1, 4)) == 0
        assert server.steps == {folder.name[-8:]: [7, 14, 21]} and server.complete == {folder.name[-8:]: 0}
        files = [file for file in folder.rglob("*") if file.is_file()]
        assert files and not [file for file in files if KEY.encode() in file.read_bytes()]
        sent = [run for run in server.upserted if run.get("groupName")]
        assert sent[0]["groupName"] == tmp_path.name and sent[0]["jobType"] == "rate"


@pytest.mark.slow
def test_an_online_run_goes_on_from_where_the_service_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service() as server:
        meet(server.url, monkeypatch)
        folder = new_run(tmp_path, mode="online")
        follow(folder, range(1, 3), "preempted")
        follow(folder, range(3, 5))
        assert list(server.history[folder.name[-8:]].values()) == [7, 14, 21, 28]
        assert sync([tmp_path]) == Counts(before=1)


@pytest.mark.slow
def test_an_online_run_whose_service_died_is_uploaded_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "PATIENCE", 0.1)
    monkeypatch.setattr(start, "GRACE", 600.0)
    folder = new_run(tmp_path, mode="online")
    tracker = TrackerProcess(config_of(folder), folder)
    with service() as server, tracker:
        meet(server.url, monkeypatch)
        tracker.start()
        for epoch in (1, 2):  # wandb lets go of a step when it is given the next one
            append_line(RunFolder(folder).metrics, line(epoch))
        wait_for(lambda: bool(server.steps))
        got = server.history
        server.shutdown()
        server.server_close()
        for epoch in (3, 4):
            append_line(RunFolder(folder).metrics, line(epoch))
        (file,) = segments(folder / "wandb")
        finish(folder, 4, "done", None)
    wait_for(lambda: steps(file) == [7, 14, 21, 28])
    assert tracker.process is not None and tracker.process.poll() is None
    os.killpg(tracker.process.pid, signal.SIGKILL)
    tracker.process.wait()
    with locked(folder / LOCK, wait=60):  # its follower was killed with it, but may not be gone yet
        pass
    with service() as server:
        server.history = got
        meet(server.url, monkeypatch)
        assert sync([tmp_path]) == Counts(uploaded=1)
        assert sorted(set(server.history[folder.name[-8:]].values())) == [7, 14, 21, 28]
        assert sync([tmp_path]) == Counts(before=1)


@pytest.mark.slow
def test_what_the_service_refused_is_told_and_left_for_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with service() as server:
        meet(server.url, monkeypatch)
        server.fails = {"stream": "400"}
        folder = new_run(tmp_path, mode="online")
        assert follow(folder, range(1, 3)) != 0
        assert f"kept offline, for rbp sync: rbp sync {folder}" in capsys.readouterr().out
        server.fails = {}
        assert sync([tmp_path]) == Counts(uploaded=1)
        assert server.steps == {folder.name[-8:]: [7, 14]}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_stale_run_computed_again_replaces_its_curves_in_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    with service() as server:
        meet(server.url, monkeypatch)
        folder = new_run(tmp_path, mode=mode)
        follow(folder, range(1, 3))
        sync([tmp_path])
        archive_result(folder, "abc")
        assert (folder / "older-abc" / "wandb").is_dir() and not (folder / "wandb").exists()
        server.steps.clear()
        follow(folder, range(1, 4))
        sync([tmp_path])
        assert server.steps == {folder.name[-8:]: [7, 14, 21]}


@pytest.mark.slow
def test_a_run_tried_again_after_its_upload_is_in_wandb_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service() as server:
        meet(server.url, monkeypatch)
        folder = new_run(tmp_path)
        follow(folder, range(1, 3), "failed", "out of memory")
        assert sync([tmp_path]) == Counts(uploaded=1)
        follow(folder, range(3, 5))
        assert sync([tmp_path]) == Counts(uploaded=1)
        assert list(server.history[folder.name[-8:]].values()) == [7, 14, 21, 28]


@pytest.mark.slow
def test_the_same_run_of_two_sweeps_is_sent_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with service() as server:
        meet(server.url, monkeypatch)
        monkeypatch.chdir(tmp_path)
        folders = [new_run(tmp_path / sweep) for sweep in ("a", "b")]
        follow(folders[0], range(1, 3), "failed", "out of memory")
        follow(folders[1], range(1, 4))  # the done one is sent
        assert main(["sync", "a", "b"]) == 0
        assert "1 runs uploaded, 0 were before, 1 left out" in capsys.readouterr().out
        assert server.history == {folders[0].name[-8:]: {0: 7, 1: 14, 2: 21}}
        assert not (tmp_path / "wandb").exists()  # wandb's own logs
        with (folders[1] / LOCK).open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert sync([tmp_path / "b"]) == Counts(busy=1)


def test_online_without_a_key_is_kept_offline_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    folder = new_run(tmp_path, mode="online")
    assert follow(folder, range(1, 2)) == 3
    assert "kept offline, for rbp sync" in capsys.readouterr().out
    assert list((folder / "wandb").glob("offline-run-*/*.wandb"))


def test_the_dashboard_as_json_groups_by_what_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for mode in ("bptt", "rate"):
        for T in (2, 4):
            each, more = {"seconds": 1.0}, steps_and_energy([0.5] * T, 1.5)
            write_run(tmp_path / "grid", grad_mode=mode, T=T, tracker__entity="team", each=each, more=more)
    assert main(["dashboard", str(tmp_path / "grid"), "--dry-run"]) == 0
    made = json.loads((tmp_path / "grid" / "dashboard.json").read_text())
    assert (made["entity"], made["project"], made["displayName"]) == ("team", "rbp", "rbp: grid")
    section = made["spec"]["section"]
    panels = [panel for part in section["panelBankConfig"]["sections"] for panel in part["panels"]]
    kinds = Counter(panel["viewType"] for panel in panels)
    assert kinds == {"Bar Chart": 5, "Run History Line Plot": 6, "Scatter Plot": 2}
    titles = {panel["config"].get("chartTitle") or panel["config"].get("title") for panel in panels}
    (of_report,) = figure_sets(facets(tmp_path))
    assert {figure.title for figure in of_report.figures} <= titles  # under the same names
    shown = json.dumps(panels)
    for key in (
        "seconds_of_training",
        "step_loss",
        "grad_norm",
        "firing_rate/2",
        "summary:headline_acc",
        "acc_over_t/4",
        "summary:energy_uj",
    ):
        assert key in shown, key
    text = json.dumps(section["runSets"])
    assert "grid" in text and all(
        f"{key}.value" in text for key in ("grad_mode", "T", "step_mode", "dataset")
    )
    assert sorted(section["customRunColors"].values()) == ["#0072B2"] * 2 + ["#D55E00"] * 2
    assert main(["dashboard", str(tmp_path / "nothing")]) == 2


def test_the_dashboard_compares_what_the_report_compares(tmp_path: Path) -> None:
    for rate in (0.1, 0.2):
        for neuron in ("lif", "if"):
            write_run(tmp_path / "grid", optimizer__lr=rate, neuron__name=neuron, each={"seconds": 1.0})
    assert main(["dashboard", str(tmp_path / "grid"), "--dry-run", "--x", "optimizer.lr"]) == 0
    section = json.loads((tmp_path / "grid" / "dashboard.json").read_text())["spec"]["section"]
    keys = [key["name"] for key in section["runSets"][0]["grouping"]]
    assert keys[-2:] == ["config.value.optimizer.lr", "neuron.value"]
    titles = {
        panel["config"].get("chartTitle") or panel["config"].get("title")
        for part in section["panelBankConfig"]["sections"]
        for panel in part["panels"]
    }
    (of_report,) = figure_sets(facets(tmp_path, x="optimizer.lr"))
    assert {figure.title for figure in of_report.figures} <= titles
    assert len(set(section["customRunColors"].values())) == 2
    looks = styles(facets(tmp_path, x="optimizer.lr")[0].values)
    for path, colour in section["customRunColors"].items():  # as in the report, whoever comes first
        assert colour == looks["lif" if "lif" in path else "if"].colour
    assert main(["dashboard", str(tmp_path / "grid"), "--dry-run", "--x", "T"]) == 2
