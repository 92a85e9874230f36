"""Against a stand-in for wandb's service on this machine: what is sent, and how often."""

import json
from pathlib import Path

import pytest

from rbp.cli import main
from rbp.errors import UserError
from rbp.track.sync import sync
from tests.report.folders import write_run
from tests.track.common import follow, new_run
from tests.track.standin import Service, service

KEY = "0123456789" * 4


def meet(server: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def test_offline_runs_say_nothing_and_are_uploaded_once_each_when_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with service() as server:
        meet(server, monkeypatch)
        done, waiting = new_run(tmp_path, seed=0), new_run(tmp_path, seed=1)
        follow(done, range(1, 3), "preempted")
        follow(done, range(3, 4))
        follow(waiting, range(1, 2), "preempted")
        assert server.asked.total() == 0
        assert main(["sync", str(tmp_path)]) == 0
        assert "1 runs uploaded, 0 were before, 1 not finished" in capsys.readouterr().out
        assert server.steps == {done.name[-8:]: [7, 14, 21]}
        assert {run["name"] for run in server.upserted} == {done.name[-8:]}
        before = server.asked.total()
        assert main(["sync", str(tmp_path)]) == 0
        assert "0 runs uploaded, 1 were before" in capsys.readouterr().out
        assert server.asked.total() == before


def test_a_service_that_is_not_there_is_told_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_run(tmp_path)
    follow(folder, range(1, 2))
    monkeypatch.setenv("WANDB_API_KEY", "short")  # refused before anything is asked
    with service() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        with pytest.raises(UserError, match="not uploaded"):
            sync([tmp_path])
        meet(server, monkeypatch)
        assert sync([tmp_path]) == (1, 0, 0)


def test_online_goes_to_the_service_as_it_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with service() as server:
        meet(server, monkeypatch)
        folder = new_run(tmp_path, mode="online")
        assert follow(folder, range(1, 4)) == 0
        assert server.steps == {folder.name[-8:]: [7, 14, 21]} and server.complete == {folder.name[-8:]: 0}
        files = [file for file in folder.rglob("*") if file.is_file()]
        assert files and not [file for file in files if KEY.encode() in file.read_bytes()]
        sent = [run for run in server.upserted if run.get("groupName")]
        assert sent[0]["groupName"] == tmp_path.name and sent[0]["jobType"] == "rate"


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
    pytest.importorskip(
        "wandb_workspaces", reason="wandb-workspaces is not here: pip install wandb-workspaces"
    )
    for mode in ("bptt", "rate"):
        for T in (2, 4):
            write_run(tmp_path / "grid", grad_mode=mode, T=T, tracker__entity="team")
    assert main(["dashboard", str(tmp_path / "grid"), "--dry-run"]) == 0
    made = json.loads((tmp_path / "grid" / "dashboard.json").read_text())
    assert (made["entity"], made["project"], made["displayName"]) == ("team", "rbp", "BPTT and Rate-BP: grid")
    section = made["spec"]["section"]
    kinds = [panel["viewType"] for part in section["panelBankConfig"]["sections"] for panel in part["panels"]]
    assert kinds.count("Bar Chart") == 3 and kinds.count("Run History Line Plot") == 3
    text = json.dumps(section["runSets"])
    assert "grid" in text and all(
        f"{key}.value" in text for key in ("grad_mode", "T", "step_mode", "dataset")
    )
    assert sorted(section["customRunColors"].values()) == ["#0072B2"] * 2 + ["#D55E00"] * 2
    assert main(["dashboard", str(tmp_path / "nothing")]) == 2
