"""What `rbp sync` says has arrived, has arrived."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rbp.cli import main
from rbp.files import append_line, read_lines
from rbp.runs.folder import RunFolder
from rbp.track import sync as sync_module
from rbp.track.segments import missing_steps, segments, steps, upload_marker
from rbp.track.sync import Counts, sync
from tests.support.tracking import finish, follow, line, new_run
from tests.support.wandb_service import AT_ONCE, Service, meet, service


def arrived(server: Service, folder: Path, suffix: str = "") -> list[int]:
    return sorted(server.history.get(folder.name[-8:] + suffix, {}).values())


# --- wandb's files against metrics.jsonl --------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_marked_as_uploaded_without_its_steps_is_found_and_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier version left: a marker beside a file without a step."""
    folder = new_run(tmp_path)
    follow(folder, range(1, 1), "running")
    (file,) = segments(folder / "wandb")
    upload_marker(file).touch()
    for epoch in (1, 2, 3):
        append_line(RunFolder(folder).metrics, line(epoch))
    finish(folder, 3, "done", None)
    assert missing_steps(folder) == [7, 14, 21]
    with service() as server:
        meet(server.url, monkeypatch)
        assert sync([tmp_path]) == Counts(uploaded=1)
        assert arrived(server, folder) == [7, 14, 21] and not missing_steps(folder)
        asked = server.asked.total()
        assert sync([tmp_path]) == Counts(before=1) and server.asked.total() == asked


@pytest.mark.slow
def test_steps_missing_between_others_are_sent_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_run(tmp_path)
    for epoch in (1, 3):
        append_line(RunFolder(folder).metrics, line(epoch))
    follow(folder, range(4, 5))
    RunFolder(folder).metrics.unlink()
    for epoch in (1, 2, 3, 4):
        append_line(RunFolder(folder).metrics, line(epoch))
    assert missing_steps(folder) == [14]
    with service() as server:
        meet(server.url, monkeypatch)
        assert sync([tmp_path]) == Counts(uploaded=1)
        assert list(server.history[folder.name[-8:]].values()) == [7, 14, 21, 28]
    (file,) = segments(folder / "wandb")
    assert steps(file) == [7, 14, 21, 28] and (folder / "wandb-incomplete-1").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [0, 2])
def test_a_run_whose_tracker_was_killed_before_it_wrote_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    folder = new_run(tmp_path)
    (folder / "wandb").mkdir()
    for epoch in range(1, epochs + 1):
        append_line(RunFolder(folder).metrics, line(epoch))
    finish(folder, epochs, "failed", "out of memory")
    with service() as server:
        meet(server.url, monkeypatch)
        assert sync([tmp_path]) == Counts(uploaded=1)
        assert arrived(server, folder) == [7, 14][:epochs]
        assert server.complete[folder.name[-8:]] == 1


def test_files_that_cannot_be_completed_are_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = new_run(tmp_path, tracker__tags=[""])  # which wandb refuses
    (folder / "wandb").mkdir()
    append_line(RunFolder(folder).metrics, line(1))
    finish(folder, 1, "done", None)
    with service() as server:
        meet(server.url, monkeypatch)
        assert main(["sync", str(tmp_path)]) == 1
        told = capsys.readouterr().out
        assert "failed: wandb's files lack steps of metrics.jsonl: " in told and "1 and 64 characters" in told
        assert server.asked.total() == 0


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, other = new_run(tmp_path, seed=0), new_run(tmp_path, seed=1)
    for folder in (broken, other):
        follow(folder, range(1, 2))
    (broken / "wandb" / "uploaded.json").mkdir()
    with service() as server:
        meet(server.url, monkeypatch)
        assert sync([tmp_path]) == Counts(uploaded=1, failed=1)
        assert f"{broken.name}: failed: [Errno 21]" in capsys.readouterr().out
        assert arrived(server, other) == [7]


# --- what the service refuses -------------------------------------------------------------------------------


REFUSALS = (("401", "upsert"), ("404", "stream"), ("409", "stream"), ("500", "upsert"), ("silence", "stream"))


@pytest.mark.slow
def test_runs_that_are_refused_are_not_uploaded_until_they_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """wandb marks a file as uploaded also when its steps were refused. Here each run is refused otherwise."""
    runs = {of: new_run(tmp_path, seed=seed) for seed, of in enumerate(REFUSALS)}
    with ThreadPoolExecutor() as pool:
        assert [*pool.map(lambda folder: follow(folder, range(1, 4)), runs.values())] == [0] * len(runs)
    capsys.readouterr()
    with service() as server:
        meet(server.url, monkeypatch)
        server.fails_of = {folder.name[-8:]: {asked: failure} for (failure, asked), folder in runs.items()}
        assert main(["sync", str(tmp_path), "--timeout", "20"]) == 1
        told = capsys.readouterr().out
        assert f"0 runs uploaded, 0 were before, {len(runs)} failed" in told
        lines = {name: line for name, _, line in (line.partition(": ") for line in told.splitlines())}
        for (failure, asked), folder in runs.items():
            line = lines[folder.name]
            assert line.startswith("failed: ") and (
                not failure.isdecimal() or f"the words of {failure}" in line
            )
            gives_up = failure in AT_ONCE or (failure, asked) == ("409", "stream")
            assert gives_up is not ("given up after 20 s (--timeout)" in line)
        assert not list(tmp_path.rglob("*.synced"))
        for folder in runs.values():
            for file in segments(folder / "wandb"):
                upload_marker(file).touch()  # as wandb would have, had rbp been killed before the refusal
        server.fails_of = {}
        assert main(["sync", str(tmp_path)]) == 0
        told = capsys.readouterr().out
        for folder in runs.values():
            assert f"{folder.name}: uploaded 3 steps\n" in told and arrived(server, folder) == [7, 14, 21]


@pytest.mark.slow
def test_a_service_that_never_answers_is_not_asked_for_each_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sync_module, "AT_ONCE", 1)
    for seed in (0, 1):
        follow(new_run(tmp_path, seed=seed), range(1, 2))
    meet("http://127.0.0.1:9", monkeypatch)
    assert sync([tmp_path], limit=5.0) == Counts(failed=2)
    told = capsys.readouterr().out
    assert "connection refused; given up after 5 s" in told and "failed: not tried" in told


# --- a run that was deleted on the server -------------------------------------------------------------------


@pytest.mark.slow
def test_a_deleted_run_is_told_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, other = new_run(tmp_path, seed=0), new_run(tmp_path, seed=1)
    for folder in (gone, other):
        follow(folder, range(1, 3))
    capsys.readouterr()
    with service() as server:
        meet(server.url, monkeypatch)
        server.deleted = {gone.name[-8:]}
        assert main(["sync", str(tmp_path)]) == 1
        told = capsys.readouterr().out
        assert f"{other.name}: uploaded 2 steps" in told
        (line,) = (line for line in told.splitlines() if line.startswith(gone.name))
        assert "was previously created and deleted" in line and f"rbp sync --new-id {gone}" in line
        assert arrived(server, other) == [7, 14] and not arrived(server, gone)

        assert main(["sync", str(tmp_path), "--new-id"]) == 0
        told = capsys.readouterr().out
        assert f"{gone.name}: uploaded 2 steps under the id {gone.name[-8:]}-2" in told
        assert f"{other.name}: was uploaded before" in told
        assert arrived(server, gone, "-2") == [7, 14] and not arrived(server, gone)
        assert sync([tmp_path]) == Counts(before=2)


@pytest.mark.slow
def test_a_new_id_holds_for_all_segments_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted after its first half was uploaded: under the new id, all is sent."""
    folder = new_run(tmp_path, mode="online")
    with service() as server:
        meet(server.url, monkeypatch)
        follow(folder, range(1, 3), "failed", "out of memory")
        sync([tmp_path])
        assert arrived(server, folder) == [7, 14]
        server.deleted, server.history = {folder.name[-8:]}, {}
        monkeypatch.setenv("WANDB_MODE", "offline")
        follow(folder, range(3, 4), "failed", "out of memory")
        monkeypatch.delenv("WANDB_MODE")
        assert sync([tmp_path]) == Counts(failed=1)
        assert sync([tmp_path], new_id=True) == Counts(uploaded=1)
        assert list(server.history[f"{folder.name[-8:]}-2"].values()) == [7, 14, 21]
        follow(folder, range(4, 5))
        assert sync([tmp_path]) == Counts(before=1)
        assert list(server.history[f"{folder.name[-8:]}-2"].values()) == [7, 14, 21, 28]
        assert [line["step"] for line in read_lines(RunFolder(folder).metrics)] == [7, 14, 21, 28]
        server.deleted.add(f"{folder.name[-8:]}-2")  # that one, too
        follow(folder, range(5, 6), "failed", "out of memory")
        assert sync([tmp_path], new_id=True) == Counts(uploaded=1)
        assert arrived(server, folder, "-3") == [7, 14, 21, 28, 35]


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "soon"])
def test_a_limit_that_is_no_time_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], limit: str
) -> None:
    assert main(["sync", str(tmp_path), f"--timeout={limit}"]) == 2
    assert "a number of seconds above 0 is allowed" in capsys.readouterr().err
