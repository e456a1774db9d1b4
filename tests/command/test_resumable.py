"""An upload in chunks, without a server: whatever breaks, it ends with the whole file, or says how to go on."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketline import resumable
from bucketline.bodies import Piece, Rewindable
from bucketline.exchange import Answer, Ask, Exchange
from bucketline.faults import BrokenOff, ClientError, Refused, Unreachable
from bucketline.results import Job
from tests.command.fake import job_json, problem_json

SERVER = "http://bucketline.test"
CONTENT = bytes(range(100))
FOREVER = 1e9


@dataclass
class Tus:
    """A server of one upload. `faults` are what happens to the next requests, one each; then all goes well.

    A fault is a status, or how much of a body arrives (0 to 100 %) before the line breaks.
    """

    faults: list[int] = field(default_factory=list)
    stored: bytes = b""
    waits: list[float] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)

    def run(self, exchange: Exchange[Job]) -> Job:
        """A connection to it, as the clients have one; nothing is waited for."""
        try:
            ask = next(exchange)
            while True:
                self.waits.append(ask.after)
                self.methods.append(ask.method)
                answer = self._answer(ask)
                ask = exchange.throw(Unreachable("cut")) if answer is None else exchange.send(answer)
        except StopIteration as end:
            assert isinstance(end.value, Job)
            return end.value

    def _answer(self, ask: Ask) -> Answer | None:
        fault = self.faults.pop(0) if self.faults and ask.method != "POST" else None
        if fault is not None and fault > 100:
            return _said(fault, content=problem_json(fault, "because", "of this"))
        content = b"".join(_blocks(ask.body)) if isinstance(ask.body, Piece) else b""
        if ask.method == "PATCH":
            assert ask.headers["Upload-Offset"] == str(len(self.stored))
            self.stored += content[: len(content) * (100 if fault is None else fault) // 100]
        if fault is not None:
            return None
        if ask.method == "POST":
            return _said(201, {"Location": "/v1/tus/1", "Bucketline-Job": "1"})
        if ask.method == "GET":
            return _said(200, content=job_json("1", len(self.stored)))
        said = {"Upload-Offset": str(len(self.stored)), "Upload-Length": str(len(CONTENT)), "Bucketline-Job": "1"}
        return _said(200, said)


def _blocks(piece: Piece) -> Iterator[bytes]:
    while block := piece.read():
        yield block
        piece.sent(block)


def _said(status: int, headers: dict[str, str] | None = None, content: object = None) -> Answer:
    return Answer(SERVER, status, "", headers or {}, b"" if content is None else msgspec.json.encode(content))


def rules(chunk: int = 16, patience: float = FOREVER, told: Callable[[int], None] = lambda _: None) -> resumable.Rules:
    return resumable.Rules(chunk, patience, told)


def whole(content: bytes = CONTENT) -> Rewindable:
    return Rewindable.of(io.BytesIO(content))


def begin(rules: resumable.Rules, urls: list[str] | None = None) -> Exchange[Job]:
    return resumable.begin(SERVER, whole(), {}, {}, (urls if urls is not None else []).append, rules)


@given(
    faults=st.lists(st.sampled_from([0, 30, 50, 99, 100, 409, 423, 429, 500, 503, 507]), max_size=40),
    chunk=st.integers(1, 120),
)
def test_whatever_breaks_every_byte_arrives_once_and_in_its_place(faults: list[int], chunk: int) -> None:
    server, told = Tus(faults), list[int]()

    job = server.run(begin(rules(chunk, told=told.append)))

    assert server.stored == CONTENT
    assert job.id == "1"
    assert told[-1] == len(CONTENT)
    assert told == sorted(told)


@given(had=st.integers(0, 100), faults=st.lists(st.sampled_from([0, 50, 423]), max_size=9))
def test_going_on_sends_only_what_is_missing(had: int, faults: list[int]) -> None:
    server = Tus(faults, CONTENT[:had])

    assert server.run(resumable.go_on(SERVER, f"{SERVER}/v1/tus/1", whole(), rules())).id == "1"

    assert server.stored == CONTENT


def test_waits_grow_while_nothing_moves_and_begin_anew_when_something_did() -> None:
    server = Tus([503] * 7 + [0])

    server.run(begin(rules(chunk=50)))

    assert server.waits == [0, 0, 0.5, 1, 2, 4, 8, 8, 8, 8, 0, 0, 0]
    assert server.methods == ["POST", "PATCH", *["HEAD"] * 8, "PATCH", "PATCH", "GET"]


def test_who_gives_up_is_told_how_to_go_on() -> None:
    urls = list[str]()

    with pytest.raises(BrokenOff, match="of this; what was sent is kept") as caught:
        Tus([503, 503]).run(begin(rules(patience=-1), urls))

    assert [caught.value.url] == urls == [f"{SERVER}/v1/tus/1"]
    assert caught.value.why.endswith("of this")


@pytest.mark.parametrize(("status", "what"), [(404, "begin anew"), (410, "begin anew"), (401, "because: of this")])
def test_what_waiting_does_not_change_is_told_at_once(status: int, what: str) -> None:
    server = Tus([status])

    with pytest.raises(ClientError, match=what) as caught:
        server.run(begin(rules()))

    assert len(server.waits) == 2
    assert isinstance(caught.value, Refused) == (status == 401)


def test_another_file_is_not_joined_to_what_is_there() -> None:
    server = Tus(stored=CONTENT[:10])

    with pytest.raises(ClientError, match="of 100 bytes, the file has 5; give the same file"):
        server.run(resumable.go_on(SERVER, "/v1/tus/1", whole(b"short"), rules()))

    assert server.stored == CONTENT[:10]


def test_an_empty_file_is_whole_when_it_is_made() -> None:
    server = Tus()

    server.run(resumable.begin(SERVER, whole(b""), {}, {}, None, rules()))

    assert server.methods == ["POST", "GET"]
