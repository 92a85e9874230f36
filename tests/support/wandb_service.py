"""A stand-in for wandb's service on this machine. It accepts everything and counts what it was asked, or
fails as the service can fail.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

DELETED = "run me/rbp/{} was previously created and deleted; try a new run name"
# What can come instead of an answer: an HTTP error by its number, a page of HTML, the end of the connection,
# nothing at all.
AT_ONCE = ("401", "403", "404", "garbage")  # wandb gives up
RETRIED = ("429", "500", "503", "dropped", "silence")  # wandb asks again for hours
FAILURES = (*AT_ONCE, "409", *RETRIED)  # of 409, it depends on what was asked


KEY = "0123456789" * 4


def meet(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have wandb, and what is started from now on, talk to the service at this address."""
    monkeypatch.setenv("WANDB_BASE_URL", url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB__FILE_STREAM_TRANSMIT_INTERVAL", "1")  # seconds; 15 otherwise


class Service(ThreadingHTTPServer):
    """`asked`: kinds of request and how many; `steps`: those that came, by run; `upserted`: runs as given;
    `history`: what it has of each run, the step by the line's number, as runs that go on are told it;
    `artifacts`: the files of each that was committed."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()
        self.steps: dict[str, list[int]] = {}
        self.history: dict[str, dict[int, int]] = {}
        self.upserted: list[dict[str, Any]] = []
        self.complete: dict[str, int | None] = {}
        self.artifacts: dict[str, dict[str, bytes]] = {}
        self.put: dict[str, bytes] = {}
        self.fails: dict[str, str] = {}  # by what is asked ("upsert", "stream" of steps): one of FAILURES
        self.fails_of: dict[str, dict[str, str]] = {}  # the same for one run alone, by its id
        self.deleted: set[str] = set()  # runs whose id is refused for good
        self.released = threading.Event()

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
        server.released.set()
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
        graphql = self.path.endswith("/graphql")
        kind = (
            "upsert"
            if graphql and "upsertBucket" in body.get("query", "")
            else "graphql"
            if graphql
            else "stream"
        )
        name = (body.get("variables") or {}).get("name")
        run = self.path.split("/")[-2] if kind == "stream" else str(name)
        fails = self.server.fails | self.server.fails_of.get(run, {})
        if kind == "upsert" and name in self.server.deleted:
            self._refuse(409, DELETED.format(name))
        elif kind in fails:
            self._fail(fails[kind])
        elif graphql:
            self._answer({"data": self._graphql(body)})
        else:
            self._stream(body)
            self._answer({"exitcode": None, "limits": {}})

    def _fail(self, failure: str) -> None:
        self.server.asked[failure] += 1
        if failure.isdecimal():
            self._refuse(int(failure), f"the words of {failure}")
        elif failure == "garbage":
            self._send(b"<html>Log in to the hotel's network</html>")
        elif failure == "silence":
            self.server.released.wait()
        self.close_connection = True

    def _refuse(self, code: int, words: str) -> None:
        self._answer({"errors": [{"message": words}], "data": None}, code)

    def do_PUT(self) -> None:
        self.server.put[self.path] = self.rfile.read(int(self.headers.get("Content-Length", 0)))
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
        if "rtifact" in name:
            return self._artifact(name, variables)
        return {
            "viewer": {"id": "me", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
        }

    def _artifact(self, name: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answers what is asked to make an artifact, whose id is its name."""
        if name == "CreateArtifact":
            made = {"id": variables["input"]["artifactCollectionName"], "state": "PENDING"}
            return {"createArtifact": {"artifact": made | {"artifactSequence": {"latestArtifact": None}}}}
        if name == "CreateArtifactFiles":
            nodes = [
                self._file(file["artifactID"], file["name"]) for file in variables["input"]["artifactFiles"]
            ]
            return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
        if name == "CreateArtifactManifest":
            manifest = {"id": "m", "file": self._file("manifests", "m")}
            return {"createArtifactManifest": {"artifactManifest": manifest}}
        artifact = variables["artifactID"]
        start = f"/put/{artifact}/"
        files = {path.removeprefix(start): c for path, c in self.server.put.items() if path.startswith(start)}
        self.server.artifacts[artifact] = files
        return {"commitArtifact": {"artifact": {"id": artifact, "digest": "d"}}}

    def _file(self, artifact: str, name: str) -> dict[str, Any]:
        url = f"{self.server.url}/put/{artifact}/{name}"
        told = {
            "id": name,
            "name": name,
            "displayName": name,
            "storagePath": name,
            "artifact": {"id": artifact},
        }
        return told | {"uploadUrl": url, "uploadHeaders": [], "uploadMultipartUrls": None}

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
        self._send(json.dumps(value).encode(), code)

    def _send(self, content: bytes, code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Quiet."""
