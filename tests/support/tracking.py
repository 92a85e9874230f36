"""Runs that a tracker follows, without training: folders in their true formats that grow line by line; what
wandb has kept of them; and a stand-in for wandb's service on this machine, which accepts everything and
counts what it was asked.
"""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rbp.files import append_line, write_json
from rbp.runs.folder import RunFolder
from rbp.track import TrackerProcess
from rbp.track.segments import segments
from tests.support.run_folders import result_of, status_of, write_run

RATES = {"layer1.0.sn": 0.1, "2": 0.2, "head": 0.9}


def line(epoch: int) -> dict[str, Any]:
    """As the trainer writes it, with a test accuracy that tells the epoch."""
    scores = {"train_loss": 1 / epoch, "test_acc": epoch / 100, "test_loss": 2 / epoch, "train_acc": 0.5}
    where = {"epoch": epoch, "step": 7 * epoch, "images": 64 * 7 * epoch, "lr": 0.1 / epoch}
    speed = {"seconds": 1.5, "images_per_second": 298.7}
    return where | scores | speed | {"firing_rate": 0.3, "firing_rates": RATES}


def new_run(sweep: Path, tracker: str = "wandb", mode: str = "offline", **changes: Any) -> Path:
    """A running run without an epoch."""
    names = {"tracker__name": tracker, "tracker__mode": mode, "sweep__name": sweep.name, **changes}
    return write_run(sweep, accuracy=None, state="running", curve=(), **names)


def follow(folder: Path, epochs: range, end: str = "done", error: str | None = None) -> int | None:
    """A process's part of a run: these epochs, then the state that it ends with; the follower's exit code."""
    tracker = TrackerProcess(config_of(folder), folder)
    with tracker:
        tracker.start()
        for epoch in epochs:
            append_line(RunFolder(folder).metrics, line(epoch))
        finish(folder, epochs.stop - 1, end, error)
    return tracker.process.returncode if tracker.process else None


def finish(folder: Path, epochs: int, state: str, error: str | None) -> None:
    """What a process writes at its end, after so many epochs."""
    run = RunFolder(folder)
    write_json(run.status, status_of(run) | {"state": state, "error": error})
    if state == "done":
        extra = {"step_seconds": 0.2, "peak_memory_bytes": 1000, "best_test_acc": 0.99}
        write_json(run.result, result_of(config_of(folder), epochs / 100, epochs) | extra)


def config_of(folder: Path) -> Any:
    return OmegaConf.load(RunFolder(folder).config)


def records(folder: Path) -> list[list[dict[str, Any]]]:
    """What is in each of the run's wandb files, as wandb's own tool reads it."""
    return [_inspect(file) for file in segments(folder / "wandb")]


def _inspect(file: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in told.splitlines()]


def histories(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record["history"]["item"] for record in found if record["type"] == "history"]


# --- wandb's service ----------------------------------------------------------------------------------------


class Service(ThreadingHTTPServer):
    """`asked`: kinds of request and how many; `steps`: those that came, by run; `upserted`: runs as given;
    `history`: what it has of each run, the step by the line's number, as runs that go on are told it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()
        self.steps: dict[str, list[int]] = {}
        self.history: dict[str, dict[int, int]] = {}
        self.upserted: list[dict[str, Any]] = []
        self.complete: dict[str, int | None] = {}
        self.refuses = False  # what is streamed to it

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def service() -> Iterator[Service]:
    server = Service()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            body = json.loads(content or b"{}")
        except ValueError:  # compressed telemetry
            self.server.asked["other"] += 1
            self._answer({})
            return
        if self.path.endswith("/graphql"):
            self._answer({"data": self._graphql(body)})
        elif self.server.refuses:
            self._answer({}, 400)
        else:
            self._stream(body)
            self._answer({"exitcode": None, "limits": {}})

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked["file"] += 1
        self._answer({})

    def do_GET(self) -> None:
        self.server.asked["get"] += 1
        self._answer({})

    def _graphql(self, body: dict[str, Any]) -> dict[str, Any]:
        query, variables = body.get("query", ""), body.get("variables") or {}
        name = body.get("operationName") or query.split("(")[0].split("{")[0].split()[-1]
        self.server.asked[name] += 1
        if "upsertBucket" in query:
            self.server.upserted.append(variables)
            project = {"name": "rbp", "entity": {"name": "me"}}
            bucket = {"id": "x", "name": variables.get("name"), "displayName": "d", "project": project}
            lines = len(self.server.history.get(str(variables.get("name")), {}))
            return {"upsertBucket": {"bucket": bucket | {"historyLineCount": lines}, "inserted": lines == 0}}
        if name == "RunResumeStatus":
            return self._resumed(variables["name"])
        if "createRunFiles" in query:
            files = [{"name": f, "uploadUrl": f"{self.server.url}/put"} for f in variables.get("files", [])]
            return {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": files}}
        return {
            "viewer": {"id": "me", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
        }

    def _resumed(self, run: str) -> dict[str, Any]:
        lines = self.server.history.get(run, {})
        if not lines:
            return {"model": {"bucket": None}}
        tail = json.dumps([json.dumps({"_step": lines[max(lines)], "_runtime": 1})])
        counts = {"logLineCount": 0, "historyLineCount": len(lines), "eventsLineCount": 0}
        texts = {"historyTail": tail, "eventsTail": "[]", "config": "{}"}
        texts |= {
            "summaryMetrics": json.dumps({"_step": lines[max(lines)]}),
            "wandbConfig": json.dumps({"t": {}}),
        }
        bucket = {"id": "x", "name": run, "displayName": "d", "tags": [], **counts, **texts}
        return {"model": {"id": "y", "name": "rbp", "entity": {"id": "me", "name": "me"}, "bucket": bucket}}

    def _stream(self, body: dict[str, Any]) -> None:
        self.server.asked["stream"] += 1
        run = self.path.split("/")[-2]
        history = body.get("files", {}).get("wandb-history.jsonl", {})
        for number, line in enumerate(history.get("content", []), history.get("offset", 0)):
            step = json.loads(line)["_step"]
            self.server.steps.setdefault(run, []).append(step)
            self.server.history.setdefault(run, {})[number] = step
        if body.get("complete"):
            self.server.complete[run] = body.get("exitcode")

    def _answer(self, value: Any, code: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Quiet."""
