"""What each method of a client asks, and what it makes of the answer; uploads in chunks are in `resumable`."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bucketline import sending
from bucketline.bodies import Stream
from bucketline.exchange import Ask, Exchange, asked, segment
from bucketline.results import FailedAttempt, Job, Page, Part, Token


def submit(
    body: Stream, params: Mapping[str, str], headers: Mapping[str, str], idempotency_key: str | None
) -> Exchange[Job]:
    """One request with the whole file in it."""
    said = {"Content-Type": "application/octet-stream", **headers, **_once(idempotency_key)}
    answer = yield Ask("POST", "/v1/jobs", params, said, body, large=True)
    return Job.read(answer.json())


def submit_source(source: sending.Source, options: sending.Options, idempotency_key: str | None) -> Exchange[Job]:
    content = msgspec.json.encode(sending.document(source, options))
    said = {"Content-Type": "application/json", **_once(idempotency_key)}
    answer = yield Ask("POST", "/v1/jobs", headers=said, body=content)
    return Job.read(answer.json())


def job(id: str) -> Exchange[Job]:
    return Job.read((yield from asked("GET", f"/v1/jobs/{segment(id)}")))


def jobs(labels: Mapping[str, str] | None, **filters: str | int | None) -> Exchange[Page]:
    wanted = filters | {f"label.{key}": value for key, value in (labels or {}).items()}
    params = {name: str(value) for name, value in wanted.items() if value is not None}
    answer = yield from asked("GET", "/v1/jobs", params=params)
    return Page([Job.read(item) for item in answer["items"]], answer.get("next_cursor"))


def parts(id: str, destination: str | None) -> Exchange[list[Part]]:
    return msgspec.convert((yield from _parts(id, destination))["items"], list[Part], strict=False)


def failures(id: str, destination: str | None) -> Exchange[list[FailedAttempt]]:
    found = (yield from _parts(id, destination)).get("failures", [])
    return msgspec.convert(found, list[FailedAttempt], strict=False)


def _parts(id: str, destination: str | None) -> Exchange[dict[str, Any]]:
    params = {"destination": destination} if destination else {}
    return dict((yield from asked("GET", f"/v1/jobs/{segment(id)}/parts", params=params)))


def destinations() -> Exchange[list[dict[str, Any]]]:
    answer = yield from asked("GET", "/v1/destinations")
    return list(answer["items"])


def stats() -> Exchange[dict[str, Any]]:
    return dict((yield from asked("GET", "/v1/stats")))


def command(id: str, command: str) -> Exchange[Job]:
    return Job.read((yield from asked("POST", f"/v1/jobs/{segment(id)}/{segment(command)}")))


def add_destination(id: str, names: Iterable[str]) -> Exchange[Job]:
    wish = {"destinations": sending.names(names)}
    return Job.read((yield from asked("POST", f"/v1/jobs/{segment(id)}/destinations", json=wish)))


def forget(id: str) -> Exchange[None]:
    yield from asked("DELETE", f"/v1/jobs/{segment(id)}")


def token(destinations: Iterable[str], **narrowed: str | int | None) -> Exchange[Token]:
    wish = {"destinations": sending.names(destinations) or None, **narrowed}
    given = {name: value for name, value in wish.items() if value is not None}
    return msgspec.convert((yield from asked("POST", "/v1/tokens", json=given)), Token)


def end_token(id: str) -> Exchange[None]:
    yield from asked("DELETE", f"/v1/tokens/{segment(id)}")


def _once(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Idempotency-Key": sending.quoted(key)}
