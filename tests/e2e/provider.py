"""The strict S3 server with gates: a test can stop a request before, amid or after its effect, and kill who sent it."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO, Literal

from tests.backends.strict_s3 import Handler, StrictS3
from tests.backends.strict_store import Headers, Request, Stored
from tests.e2e.gates import Gate

PART = 5 << 20  # the smallest that S3 allows
When = Literal["before", "amid", "after"]


class GatedHandler(Handler):
    gate: Gate | None = None

    def perform(self, request: Request, entry: dict[str, Any]) -> None:
        provider: Provider = self.server.provider  # type: ignore[attr-defined]
        if gate := provider.gate("before", request):
            gate.stop()
        self.gate = provider.gate("after", request)
        super().perform(request, entry)

    def receive(self, request: Request) -> Stored:
        gate = self.server.provider.gate("amid", request)  # type: ignore[attr-defined]
        if gate is None:
            return super().receive(request)
        whole = self.rfile
        self.rfile = Halfway(whole, int(request.headers["content-length"]) // 2, gate)  # type: ignore[assignment]
        try:
            return super().receive(request)
        finally:
            self.rfile = whole

    def reply(self, status: int, headers: Headers, body: bytes) -> None:
        gate, self.gate = self.gate, None
        if gate is not None:
            gate.stop()
        super().reply(status, headers, body)


class Halfway:
    """A request's body that stops at a gate once so much of it has been read."""

    def __init__(self, body: BinaryIO, left: int, gate: Gate) -> None:
        self._body, self._left, self._gate = body, left, gate

    def read(self, size: int) -> bytes:
        if self._left <= 0 and not self._gate.reached:
            self._gate.stop()
        data = self._body.read(min(size, self._left) if self._left > 0 else size)
        self._left -= len(data)
        return data


class Provider(StrictS3):
    """A strict S3 server in a thread of the test, with the bucket `bucket`."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        super().__init__(root)
        self._server.RequestHandlerClass = GatedHandler
        self._server.provider = self  # type: ignore[attr-defined]
        self._gates: list[tuple[When, str, int, Gate]] = []

    def __exit__(self, *error: object) -> None:
        for *_, gate in self._gates:
            gate.drop()
        super().__exit__(*error)

    def stop_at(self, when: When, on: str, number: int = 0) -> Gate:
        """A gate for the next request of that operation (and part): before it, amid its body, or before its answer."""
        gate = Gate()
        self._gates.append((when, on, number, gate))
        return gate

    def gate(self, when: When, request: Request) -> Gate | None:
        for moment, on, number, gate in list(self._gates):
            if (moment, on, number) == (when, request.operation, request.number) and gate.take():
                return gate
        return None

    def table(self, name: str, **limits: object) -> str:
        """A destination's table for plugins.toml."""
        given = {"part_size": "5MiB", "concurrency": 2, **limits}
        written = ", ".join(
            f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in given.items()
        )
        return (
            f'[destinations.{name}]\nbackend = "s3"\nbucket = "bucket"\nendpoint_url = "{self.url}"\n'
            f'region = "us-east-1"\nkey = "AKID"\nsecret = "secret"\nlimits = {{ {written} }}\n'
        )

    def sent(self, key: str | None = None) -> dict[int, int]:
        """How many requests came for each part."""
        with self.store.lock:
            return dict(
                Counter(row["number"] for row in self.store.log if row["on"] == "part" and key in (None, row["key"]))
            )

    def moments(self, number: int) -> list[float]:
        """When the requests for a part came."""
        with self.store.lock:
            return [row["at"] for row in self.store.log if row["on"] == "part" and row["number"] == number]

    def sessions(self) -> list[str]:
        """The keys of all open multipart uploads."""
        with self.store.lock:
            return [upload.key for upload in self.store.uploads.values()]

    def path(self, key: str) -> Path:
        """The object's file: where the server really put it, for a key that is no file name."""
        with self.store.lock:
            stored = self.store.objects.get(("bucket", key))
        return super().path(key) if stored is None else stored.path

    def read(self, key: str) -> bytes:
        return self.path(key).read_bytes()

    def mend(self) -> None:
        """No fault that was asked for happens any more."""
        with self.store.lock:
            self.store.faults.clear()

    def be_unreliable(self, share: float, parts: int, seed: int) -> dict[int, int]:
        """This share of all part requests fails, in every way that a provider has; answers how often each part will."""
        ways: list[dict[str, Any]] = [
            {"do": "error", "status": 500, "code": "InternalError"},
            {"do": "error", "status": 503, "code": "SlowDown", "headers": {"Retry-After": "1"}},
            {"do": "early", "status": 503, "code": "ServiceUnavailable"},
            {"do": "reset", "after_bytes": PART // 2},
            {"do": "lose_reply"},
        ]
        dice, planned = random.Random(seed), Counter[int]()
        for number in range(1, parts + 1):
            while dice.random() < share:
                self.store.faults.append({"on": "part", "number": number, **dice.choice(ways)})
                planned[number] += 1
        return dict(planned)
