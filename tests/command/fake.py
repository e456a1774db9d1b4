"""A server that answers as API.md says, with jobs that the test moves on by hand: what the client is tested against."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

NOW = "2026-11-23T07:48:32.120Z"
Handler = BaseHTTPRequestHandler


def job_json(id: str, size: int, *, state: str = "queued", **changed: Any) -> dict[str, Any]:
    """The job of API.md, with one destination."""
    job: dict[str, Any] = {
        "id": id,
        "state": state,
        "run": 1,
        "created_at": NOW,
        "updated_at": NOW,
        "satisfied_at": None,
        "name": "holiday.mp4",
        "key": f"{id}/holiday.mp4",
        "content_type": "video/mp4",
        "metadata": {},
        "labels": {},
        "size": size,
        "received": size,
        "sent": 0,
        "in_flight": 0,
        "rate": None,
        "eta_seconds": None,
        "checksums": {"crc32c": "yZRlqg==", "sha256": None},
        "source": {"kind": "body", "available_until": None},
        "transfers": [transfer_json()],
        "error": None,
        "links": {"self": f"/v1/jobs/{id}"},
    }
    return {**job, **changed}


def transfer_json(
    destination: str = "archive", *, state: str = "pending", sent: int = 0, **changed: Any
) -> dict[str, Any]:
    transfer: dict[str, Any] = {
        "destination": destination,
        "backend": "s3",
        "url": f"s3://acme-{destination}/holiday.mp4",
        "state": state,
        "parts": {"total": 4, "sent": 0, "in_flight": 0, "failing": 0},
        "sent": sent,
        "attempts": 0,
        "next_attempt_at": None,
        "etag": None,
        "version": None,
        "checksum": None,
        "verified_by": None,
        "error": None,
    }
    return {**transfer, **changed}


def problem_json(status: int, code: str, detail: str, **more: Any) -> dict[str, Any]:
    return {"type": f"/problems/{code}", "title": code, "status": status, "detail": detail, "code": code, **more}


class Quiet(ThreadingHTTPServer):
    request_queue_size = 128  # some tests come with many connections at once

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave in the middle are part of the tests."""


@dataclass
class Upload:
    """One POST /v1/jobs, as it came in."""

    options: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


@dataclass
class FakeServer:
    """`jobs` are what GET answers, `outcomes` say how the next ones end, `scripts` are SSE streams, one per request."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    uploads: list[Upload] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    scripts: list[list[tuple[str, str, Any]]] = field(default_factory=list)
    failures: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Of each destination."""
    streams: list[str | None] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> "FakeServer":
        fake = self

        class Requests(Handler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                fake.get(self)

            def do_POST(self) -> None:
                fake.post(self)

            def do_DELETE(self) -> None:
                fake.forget(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = Quiet(("127.0.0.1", 0), Requests)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    # -- requests ---------------------------------------------------------------------------------------------------

    def get(self, request: Handler) -> None:
        self.authorizations.append(request.headers.get("Authorization"))
        url = urlsplit(request.path)
        words = [unquote(word) for word in url.path.strip("/").split("/")]
        if words == ["v1", "jobs"]:
            wanted = parse_qs(url.query).get("state", [None])[0]
            items = [job for job in self.jobs.values() if wanted in (None, job["state"])]
            return answer(request, 200, {"items": items, "next_cursor": None})
        if words == ["v1", "events"]:
            return self.stream(request, None)
        if words[:2] == ["v1", "jobs"] and words[2] not in self.jobs:
            return answer(request, 404, problem_json(404, "not_found", f"there is no job {words[2]}"))
        if words[:2] == ["v1", "jobs"] and words[3:] == ["events"]:
            return self.stream(request, self.jobs[words[2]])
        if words[:2] == ["v1", "jobs"] and words[3:] == ["parts"]:
            place = parse_qs(url.query).get("destination", [""])[0]
            return answer(request, 200, {"items": [], "failures": self.failures.get(place, [])})
        if words[:2] == ["v1", "jobs"] and len(words) == 3:
            return answer(request, 200, self.jobs[words[2]])
        answer(request, 404, problem_json(404, "not_found", f"nothing at {url.path}"))

    def post(self, request: Handler) -> None:
        if self.refusals:
            # As the real guard does: an answer with not one byte of the body read, and the connection closed.
            refusal = self.refusals.pop(0)
            return answer(request, refusal["status"], refusal, close=True)
        url = urlsplit(request.path)
        words = url.path.strip("/").split("/")
        if words[3:] == ["destinations"]:
            return self.extend(request, words[2])
        if len(words) == 4:
            return self.command(request, words[2], words[3])
        body = _body(request)
        options = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.uploads.append(Upload(options, dict(request.headers), body))
        id = f"01940c9e-0000-7000-8000-{len(self.uploads):012d}"
        changed = self.outcomes.pop(0) if self.outcomes else {"state": "succeeded"}
        self.jobs[id] = job_json(id, len(body), **{"name": options.get("name", "upload"), **changed})
        answer(request, 202, {**self.jobs[id], "state": "queued"})

    def forget(self, request: Handler) -> None:
        id = urlsplit(request.path).path.strip("/").split("/")[-1]
        self.commands.append((id, "forget"))
        if self.jobs[id]["state"] in ("running", "queued"):
            return answer(request, 409, problem_json(409, "conflict", f"a {self.jobs[id]['state']} job is not over"))
        del self.jobs[id]
        request.send_response(204)
        request.end_headers()

    def extend(self, request: Handler, id: str) -> None:
        names = json.loads(_body(request))["destinations"]
        self.commands.append((id, f"add {' '.join(names)}"))
        if self.jobs[id]["state"] == "succeeded":
            return answer(request, 409, problem_json(409, "source_gone", "the file is no longer kept"))
        self.jobs[id]["transfers"] += [transfer_json(name) for name in names]
        answer(request, 202, self.jobs[id])

    def command(self, request: Handler, id: str, verb: str) -> None:
        self.commands.append((id, verb))
        if id not in self.jobs:
            return answer(request, 404, problem_json(404, "not_found", f"there is no job {id}"))
        if self.jobs[id]["state"] == "succeeded":
            return answer(request, 409, problem_json(409, "conflict", f"a succeeded job cannot {verb}"))
        answer(
            request, 202, {**self.jobs[id], "state": {"cancel": "cancelling", "pause": "paused"}.get(verb, "queued")}
        )

    def stream(self, request: Handler, job: dict[str, Any] | None) -> None:
        """The next script, or the job as it is and its end. A script that does not end is a line that breaks."""
        self.streams.append(request.headers.get("Last-Event-ID"))
        default = [("1-0", "snapshot", job), ("2-0", "end", job)] if job else []
        frames = self.scripts.pop(0) if self.scripts else default
        request.close_connection = True
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(b"retry: 3000\n\n: ping\n\n")
        for id, kind, data in frames:
            text = json.dumps(data, ensure_ascii=False)
            request.wfile.write(f"id: {id}\nevent: {kind}\ndata: {text}\n\n".encode())
            request.wfile.flush()


def answer(request: Handler, status: int, data: dict[str, Any], *, close: bool = False) -> None:
    body = json.dumps(data).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
    request.send_header("Content-Length", str(len(body)))
    if close:
        request.close_connection = True
        request.send_header("Connection", "close")
    request.end_headers()
    request.wfile.write(body)


def _body(request: Handler) -> bytes:
    if request.headers.get("Transfer-Encoding") != "chunked":
        length = int(request.headers["Content-Length"])
        body = request.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("the body was cut")
        return body
    blocks = []
    while size := int(request.rfile.readline(), 16):
        blocks.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(blocks)
