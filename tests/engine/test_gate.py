"""The gate on a real Valkey: who is known, for how long, and what is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
import redis

from engine import admission, arrivals, credentials
from engine.access import EVERYTHING, ApiKey, Grant, Identity, Quotas, Token
from engine.admission import Admitted
from engine.credentials import Fresh
from engine.errors import LedgerUnavailable
from engine.gate import KNOWN_SECONDS, Gate
from engine.ledger import PREFIX, AsyncLedger
from tests.engine.books import NOON_MS, PART, Books, job_id, spec_of

SUBMIT = Grant(scopes=("submit", "read"))
UNTIL_MIDNIGHT = 12 * 3_600_000


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def ledger(redis_url: str) -> AsyncIterator[AsyncLedger]:
    found = AsyncLedger(redis_url)
    yield found
    await found.close()


@pytest.fixture
def gate(ledger: AsyncLedger, clock: Clock) -> Gate:
    return Gate(ledger, clock)


async def add(ledger: AsyncLedger, **more: Any) -> Fresh:
    fresh = credentials.fresh("key")
    key = ApiKey(id=fresh.id, hash=fresh.hash, **{"grant": SUBMIT, **more})
    assert await ledger.run(admission.add_key(key))
    return fresh


async def identity(gate: Gate, text: str) -> Identity:
    found = await gate.identify(text)
    assert found is not None
    return found


async def test_a_key_is_known_by_its_text(ledger: AsyncLedger, gate: Gate) -> None:
    fresh = await add(ledger, quotas=Quotas(jobs=3))

    assert await gate.identify(fresh.text) == Identity(key=fresh.id, grants=(SUBMIT,), quotas=Quotas(jobs=3))
    assert await gate.identify(fresh.text[:-1] + ("a" if fresh.text[-1] != "a" else "b")) is None
    assert await gate.identify(credentials.fresh("key").text) is None
    assert await gate.identify("anything else") is None


async def test_the_secret_is_nowhere_in_redis(ledger: AsyncLedger, gate: Gate, client: redis.Redis) -> None:
    key = await add(ledger)
    who = await identity(gate, key.text)
    token = await gate.mint(who, Grant(scopes=("submit",)), uploads=1, life_seconds=60)
    assert token is not None

    stored = b"".join(
        b"".join(pair for item in client.hgetall(name).items() for pair in item)
        for name in client.scan_iter(PREFIX + "*")
        if client.type(name) == b"hash"
    )
    assert key.hash.encode() in stored
    for text in (key.text, token.text):
        assert text.rpartition("_")[2].encode() not in stored


async def test_a_known_key_costs_no_call_and_a_revoked_one_is_found_out(
    ledger: AsyncLedger, gate: Gate, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = await add(ledger)
    calls = []
    run = ledger.run

    async def counted(operation: Any) -> Any:
        calls.append(operation.script)
        return await run(operation)

    monkeypatch.setattr(ledger, "run", counted)

    for _ in range(50):
        assert await gate.identify(fresh.text)
    assert calls == ["look_up"]

    assert await run(admission.revoke_key(fresh.id)) == "done"
    assert await run(admission.revoke_key(fresh.id)) == "already"
    assert await gate.identify(fresh.text)
    clock.now += KNOWN_SECONDS
    assert await gate.identify(fresh.text) is None


async def test_an_expired_key_is_nobodys(ledger: AsyncLedger, gate: Gate, client: redis.Redis) -> None:
    seconds, micros = client.time()
    now = int(seconds) * 1000 + int(micros) // 1000
    old, young = await add(ledger, expires_ms=now - 1), await add(ledger, expires_ms=now + 3_600_000)

    assert await gate.identify(old.text) is None
    assert await gate.identify(young.text)
    assert [one.state for one in await ledger.run(admission.list_keys())] in (
        ["expired", "active"],
        ["active", "expired"],
    )


async def test_a_key_is_known_no_longer_than_it_lives(
    ledger: AsyncLedger, gate: Gate, clock: Clock, client: redis.Redis
) -> None:
    seconds, _ = client.time()
    fresh = await add(ledger, expires_ms=(int(seconds) + 3) * 1000)
    await gate.identify(fresh.text)

    (known,) = gate._known.values()
    assert known[1] <= clock.now + 3


async def test_without_redis_a_known_key_lives_on_for_a_moment_and_another_is_no_answer(
    ledger: AsyncLedger, gate: Gate, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, other = await add(ledger), await add(ledger)
    await gate.identify(known.text)

    async def away(operation: Any) -> Any:
        raise LedgerUnavailable("away")

    monkeypatch.setattr(ledger, "run", away)

    assert await gate.identify(known.text)
    with pytest.raises(LedgerUnavailable):
        await gate.identify(other.text)
    clock.now += KNOWN_SECONDS
    with pytest.raises(LedgerUnavailable):
        await gate.identify(known.text)


async def test_the_known_are_bounded(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.gate.KNOWN_MOST", 3)
    for number in range(10):
        gate._remember(str(number), EVERYTHING, 0)

    assert len(gate._known) <= 3


# -- tokens


async def test_a_token_is_its_key_narrowed(ledger: AsyncLedger, gate: Gate) -> None:
    key = await add(ledger, quotas=Quotas(jobs=3))
    grant = Grant(scopes=("submit",), prefixes=("a/",))
    minted = await gate.mint(await identity(gate, key.text), grant, uploads=2, life_seconds=60)
    assert minted is not None

    assert await identity(gate, minted.text) == Identity(
        key=key.id, grants=(SUBMIT, grant), quotas=Quotas(jobs=3), token=minted.id, uploads=2
    )


async def test_a_token_ends_with_its_key(ledger: AsyncLedger, gate: Gate, clock: Clock) -> None:
    key = await add(ledger)
    who = await identity(gate, key.text)
    minted = await gate.mint(who, Grant(scopes=("submit",)), uploads=None, life_seconds=60)
    assert minted is not None
    await ledger.run(admission.revoke_key(key.id))

    assert await gate.identify(minted.text) is None
    assert await gate.mint(who, Grant(scopes=("submit",)), uploads=None, life_seconds=60) is None


async def test_a_token_of_the_bootstrap_key_needs_no_key_in_redis(gate: Gate) -> None:
    minted = await gate.mint(EVERYTHING, Grant(scopes=("submit",)), uploads=None, life_seconds=60)
    assert minted is not None

    who = await identity(gate, minted.text)
    assert who.key == "bootstrap"
    assert who.has("submit")
    assert not who.has("read")


async def test_a_token_ends_by_itself_and_no_later_than_its_key(
    ledger: AsyncLedger, gate: Gate, client: redis.Redis
) -> None:
    seconds, _ = client.time()
    ends = (int(seconds) + 30) * 1000
    key = await add(ledger, expires_ms=ends)
    minted = await gate.mint(await identity(gate, key.text), Grant(), uploads=None, life_seconds=3600)
    assert minted is not None

    assert minted.expires_ms == ends
    assert 0 < client.pttl(f"{PREFIX}token:{minted.id}") <= 30_000
    client.pexpire(f"{PREFIX}token:{minted.id}", 0)
    assert await gate.identify(minted.text) is None


async def test_only_its_key_or_an_admin_ends_a_token(ledger: AsyncLedger, gate: Gate) -> None:
    mine, other = [await identity(gate, (await add(ledger)).text) for _ in range(2)]
    minted = await gate.mint(mine, Grant(scopes=("submit",)), uploads=None, life_seconds=60)
    assert minted is not None
    await gate.identify(minted.text)

    assert not await gate.revoke(other, minted.id)
    assert await gate.identify(minted.text)
    assert await gate.revoke(mine, minted.id)
    assert await gate.identify(minted.text) is None
    again = await gate.mint(mine, Grant(scopes=("submit",)), uploads=None, life_seconds=60)
    assert again is not None
    assert await gate.revoke(EVERYTHING, again.id)


async def test_uploads_at_the_same_time_never_exceed_the_token(ledger: AsyncLedger, gate: Gate) -> None:
    key = await add(ledger)
    minted = await gate.mint(await identity(gate, key.text), Grant(scopes=("submit",)), uploads=3, life_seconds=60)
    assert minted is not None
    who = await identity(gate, minted.text)

    entries = [gate.entry() for _ in range(20)]

    answers = await asyncio.gather(*(gate.admit(who, entry=entry, charge=0, again=False) for entry in entries))

    assert sorted(admitted.refused for admitted in answers) == [""] * 3 + ["uploads"] * 17
    unmade = [entry for entry, admitted in zip(entries, answers, strict=True) if not admitted.refused][:1]
    await gate.leave(who, unmade, charged=0, used=0, at_ms=answers[0].now_ms)
    again = await gate.admit(who, entry=gate.entry(), charge=0, again=False)
    last = await gate.admit(who, entry=gate.entry(), charge=0, again=False)
    assert (again.refused, last.refused) == ("", "uploads")


async def test_a_token_that_has_ended_meanwhile_uploads_nothing(gate: Gate) -> None:
    minted = await gate.mint(EVERYTHING, Grant(scopes=("submit",)), uploads=3, life_seconds=60)
    assert minted is not None
    who = await identity(gate, minted.text)
    await gate.revoke(EVERYTHING, minted.id)

    assert (await gate.admit(who, entry=gate.entry(), charge=0, again=False)).refused == "gone"


# -- quotas, with a clock that stands still


def admit(books: Books, quotas: Quotas, *, charge: int | None = 0, entry: str = "", again: bool = False) -> Admitted:
    return books.run(admission.admit("k", quotas, "", None, charge, entry, again=again))


def test_requests_count_by_the_minute(books: Books) -> None:
    quotas = Quotas(requests_per_minute=2)

    assert [admit(books, quotas).refused for _ in range(3)] == ["", "", "requests"]
    assert admit(books, quotas).requests == 2
    books.now_ms += 60_000
    assert admit(books, quotas).refused == ""


def test_bytes_count_by_the_day_and_what_is_refused_does_not_count(books: Books) -> None:
    quotas = Quotas(bytes_per_day=100)

    assert admit(books, quotas, charge=60, entry="a").bytes == 60
    assert admit(books, quotas, charge=60, entry="b").refused == "bytes"
    assert admit(books, quotas, charge=40, entry="c").bytes == 100
    assert admit(books, quotas, charge=None, entry="d").refused == "bytes"  # however large, there is nothing left
    assert admit(books, quotas).refused == ""  # no upload
    books.now_ms += UNTIL_MIDNIGHT
    assert admit(books, quotas, charge=100, entry="e").refused == ""


def test_bytes_of_what_became_no_job_are_given_back(books: Books) -> None:
    quotas = Quotas(bytes_per_day=100)
    first = admit(books, quotas, charge=60, entry=job_id(1))

    assert books.run(admission.leave("k", "", [job_id(1)], 60, 60, first.now_ms)) == 0
    assert admit(books, quotas).bytes == 0


def test_nothing_is_given_back_twice(books: Books) -> None:
    """The answer of the first time was lost."""
    quotas = Quotas(bytes_per_day=100)
    admit(books, quotas, charge=50, entry=job_id(1))
    second = admit(books, quotas, charge=30, entry=job_id(2))

    for _ in range(2):
        books.run(admission.leave("k", "", [job_id(2)], 30, 30, second.now_ms))
    assert admit(books, quotas).bytes == 50


def use_up(books: Books, *, charge: int, entry: str) -> Admitted:
    """By a token for two uploads, of a key with quotas."""
    quotas = Quotas(requests_per_minute=9, bytes_per_day=100, jobs=2)
    return books.run(admission.admit("k", quotas, "t", 2, charge, entry, again=False))


@pytest.fixture
def used(books: Books, client: redis.Redis) -> Callable[[], tuple[int, int, int, int]]:
    """How much of it is counted: requests, bytes, jobs, uploads."""
    # It ends by the server's clock, which is later than this ledger's.
    assert books.run(admission.mint_token(Token(id="t", hash="", key="bootstrap"), 100 * 365 * 86_400_000))

    def look() -> tuple[int, int, int, int]:
        now = books.run(admission.admit("k", Quotas(bytes_per_day=100, jobs=2), "t", 2, 0, "", again=False))
        minute = client.get(f"{PREFIX}quota:k:requests:{NOON_MS // 60_000}")
        return int(minute or 0), now.bytes, now.jobs, int(client.hget(f"{PREFIX}token:t", "used") or 0)

    return look


def test_an_upload_is_counted_once(books: Books, used: Callable[[], tuple[int, ...]]) -> None:
    """The answer of the first time was lost."""
    first = use_up(books, charge=60, entry=job_id(1))
    books.later(1)

    assert use_up(books, charge=60, entry=job_id(1)) == first
    assert used() == (1, 60, 1, 1)


def test_what_was_counted_without_an_answer_is_given_back_once(
    books: Books, used: Callable[[], tuple[int, ...]]
) -> None:
    """What a minute had of requests stays."""
    use_up(books, charge=40, entry=job_id(1))
    use_up(books, charge=60, entry=job_id(2))

    for _ in range(2):
        books.run(admission.leave("k", "t", [job_id(2)], 60, 60, 0, lost=job_id(2)))
        assert used() == (2, 40, 1, 1)


def test_what_was_never_counted_is_not_given_back(books: Books, used: Callable[[], tuple[int, ...]]) -> None:
    use_up(books, charge=40, entry=job_id(1))

    books.run(admission.leave("k", "t", [job_id(2)], 60, 60, 0, lost=job_id(2)))
    assert used() == (1, 40, 1, 1)
    assert use_up(books, charge=60, entry=job_id(2)).refused, "a call that was long on its way, whose caller has gone"
    assert used() == (1, 40, 1, 1)


@pytest.mark.parametrize("counted", [True, False])
def test_one_more_file_without_an_answer(books: Books, used: Callable[[], tuple[int, ...]], counted: bool) -> None:
    """The first of the form is given back with it, as it was counted."""
    first = use_up(books, charge=40, entry=job_id(1))
    if counted:
        use_up(books, charge=0, entry=job_id(2))

    books.run(admission.leave("k", "t", [job_id(1), job_id(2)], 40, 40, first.now_ms, lost=job_id(2)))
    assert used()[1:] == (0, 0, 0)


def test_what_is_noted_of_an_upload_goes_by_itself(books: Books, client: redis.Redis) -> None:
    admit(books, Quotas(jobs=1), entry=job_id(1))
    books.run(admission.leave("k", "", [job_id(1)], 0, 0, NOON_MS))

    assert 0 < client.pttl(f"{PREFIX}admitted:{job_id(1)}") <= 120_000
    assert 0 < client.pttl(f"{PREFIX}left:{job_id(1)}") <= 600_000


def test_bytes_that_came_unannounced_count_when_they_have_come(books: Books) -> None:
    quotas = Quotas(bytes_per_day=100)
    first = admit(books, quotas, charge=None, entry=job_id(1))
    books.accept(1, owner="k")

    for _ in range(2):
        books.run(admission.leave("k", "", [job_id(1)], 0, 75, first.now_ms))
        assert admit(books, quotas).bytes == 75


@pytest.mark.parametrize("charge", [None, 0, 1])
def test_who_does_not_say_how_much_comes_has_what_is_left_to_itself(books: Books, charge: int | None) -> None:
    quotas = Quotas(bytes_per_day=100)
    admit(books, quotas, charge=60, entry=job_id(1))
    first = admit(books, quotas, charge=None, entry=job_id(2))

    assert (first.refused, first.bytes) == ("", 60)
    assert admit(books, quotas, charge=charge, entry=job_id(3)).refused == "rest"
    assert admit(books, quotas, charge=0, entry=job_id(4), again=True).refused == "", "of a form that was let in"
    assert admit(books, quotas).refused == "", "no upload"
    books.run(admission.leave("k", "", [job_id(2)], 0, 0, first.now_ms))
    assert admit(books, quotas, charge=charge, entry=job_id(3)).refused == ""


def test_another_day_is_another_rest(books: Books) -> None:
    quotas = Quotas(bytes_per_day=100)
    first = admit(books, quotas, charge=None, entry=job_id(1))
    books.run(arrivals.receive(spec_of(1), None, 2 * UNTIL_MIDNIGHT / 1000))
    books.now_ms += UNTIL_MIDNIGHT

    assert admit(books, quotas, charge=100, entry=job_id(2)).refused == ""
    books.accept(1)
    books.run(admission.leave("k", "", [job_id(1)], 0, 100, first.now_ms))
    assert admit(books, quotas).bytes == 100


def test_an_upload_keeps_the_rest_as_long_as_it_is_received(books: Books) -> None:
    quotas = Quotas(bytes_per_day=100)
    admit(books, quotas, charge=None, entry=job_id(1))
    books.run(arrivals.receive(spec_of(1), None, 3600))
    books.later(1800)
    assert admit(books, quotas, charge=1, entry=job_id(2)).refused == "rest"

    books.later(3600)
    books.sweep()

    assert books.state() == "", "nobody goes on with it"
    assert admit(books, quotas, charge=1, entry=job_id(2)).refused == ""


def test_an_upload_whose_end_nobody_tells_is_counted_when_it_gives_up_the_rest(books: Books) -> None:
    """Its process died behind the answer, or Redis was away."""
    quotas = Quotas(bytes_per_day=100)
    first = admit(books, quotas, charge=None, entry=job_id(1))
    books.accept(1, owner="k")
    assert admit(books, quotas, charge=1, entry=job_id(2)).refused == "rest"
    books.later(120)

    assert admit(books, quotas, charge=1, entry=job_id(2)).bytes == 3 * PART + 1
    books.run(admission.leave("k", "", [job_id(1)], 0, 3 * PART, first.now_ms))
    assert admit(books, quotas).bytes == 3 * PART + 1, "it is told after all"


def test_all_that_came_is_counted_though_the_rest_was_given_up_before(books: Books) -> None:
    """A long form, of whose files one was a job when the next upload was let in."""
    quotas = Quotas(bytes_per_day=100 * PART)
    first = admit(books, quotas, charge=None, entry=job_id(1))
    admit(books, quotas, charge=0, entry=job_id(2), again=True)
    books.accept(1, owner="k")
    books.later(120)
    assert admit(books, quotas, charge=1, entry=job_id(3)).bytes == 3 * PART + 1
    books.accept(2, owner="k")

    for _ in range(2):
        books.run(admission.leave("k", "", [job_id(1), job_id(2)], 0, 6 * PART, first.now_ms))
        assert admit(books, quotas).bytes == 6 * PART + 1


def test_the_rest_is_free_when_nothing_is_received_any_more_though_nobody_sweeps(books: Books) -> None:
    quotas = Quotas(bytes_per_day=100)
    admit(books, quotas, charge=None, entry=job_id(1))
    books.run(arrivals.receive(spec_of(1), None, 600))
    books.later(601)

    assert (books.state(), admit(books, quotas, charge=1, entry=job_id(2)).refused) == ("receiving", "")


def test_unfinished_jobs_count_from_the_moment_they_are_let_in(books: Books, client: redis.Redis) -> None:
    quotas = Quotas(jobs=2)

    assert admit(books, quotas, entry=job_id(1)).jobs == 1
    assert admit(books, quotas, entry=job_id(2)).jobs == 2
    assert admit(books, quotas, entry=job_id(3)).refused == "jobs"

    for number in (1, 2):
        books.accept(number, owner="k", parts=1)
    books.now_ms += 10 * 60_000  # the promise is long over: now the jobs themselves count, each once
    assert admit(books, quotas, entry=job_id(3)).refused == "jobs"

    books.finish(f"{job_id(1)}/0")
    assert admit(books, quotas, entry=job_id(3)).refused == ""
    books.lose(f"{job_id(2)}/0")
    assert admit(books, quotas, entry=job_id(4)).refused == ""
    books.command("retry", 2)
    assert admit(books, quotas, entry=job_id(5)).refused == "jobs"
    assert client.zcard(f"{PREFIX}open:k") == 3


def test_a_promise_that_nobody_keeps_ends(books: Books) -> None:
    """An API process that dies says nothing."""
    quotas = Quotas(jobs=1)
    admit(books, quotas, entry=job_id(1))

    assert admit(books, quotas, entry=job_id(2)).refused == "jobs"
    books.now_ms += 120_000
    assert admit(books, quotas, entry=job_id(2)).refused == ""


@pytest.mark.parametrize("end", ["finish", "lose", "cancel"])
def test_finished_jobs_leave_nothing_open(books: Books, client: redis.Redis, end: str) -> None:
    assert books.now_ms == NOON_MS
    books.accept(1, owner="k", parts=1)
    assert client.zcard(f"{PREFIX}open:k") == 1

    if end == "cancel":
        books.command("cancel")
    else:
        (books.finish if end == "finish" else books.lose)()

    assert client.exists(f"{PREFIX}open:k") == 0
