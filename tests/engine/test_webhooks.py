"""What follows from a try to tell of an end, and that what has ended stays ended, whatever is drawn."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import example, given, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from backends.transport import retry_after
from engine import deliveries
from engine.config import Settings
from engine.hook_views import KEPT, Attempt, Delivery, Standing, delivery_view, read_delivery, read_standing, replayed
from engine.ledger import PREFIX
from engine.models import JOB_OVER, dumps
from engine.webhooks import LONGEST_WAIT_SECONDS, decide
from tests.engine.books import NOON_MS, Books, job_id
from tests.simulation.servers import TwinServer

WAITS = Settings.from_env({}).webhook_waits
DAY, HOUR = 86_400.0, 3_600.0
OVER = ("delivered", "failed", "disabled")

moments = st.integers(NOON_MS, NOON_MS + 10**9)
# Those with a meaning of their own, and their neighbours, are drawn often.
statuses = st.sampled_from([199, 200, 204, 299, 300, 404, 409, 410, 411, 429, 500, 503]) | st.integers(100, 599)
answered = st.builds(Attempt, moments, statuses, st.sampled_from(["", "It broke."]))
unanswered = st.builds(Attempt, moments, st.none(), st.sampled_from(["", "No answer."]))
attempts = st.one_of(answered, answered, unanswered)
failures = attempts.filter(lambda one: not one.arrived and one.status != 410)
standings = st.builds(
    Standing, state=st.just("pending"), created_ms=st.just(NOON_MS), tries=st.integers(0, 7),
    attempts=st.lists(attempts, max_size=KEPT),
)  # fmt: skip
jitters = st.sampled_from([0.0, 0.5, 1 - 2**-30]) | st.floats(0, 1, exclude_max=True)
afters = st.none() | st.floats(0, HOUR)
waits = st.lists(st.sampled_from([0.0, 5.0, 80_000.0, 99_999.0]) | st.floats(0, 99_999), min_size=4, max_size=9).map(
    tuple
)


@given(standings, attempts, waits, jitters, afters)
def test_each_try_leads_to_one_of_four_states(
    standing: Standing, attempt: Attempt, waits: tuple[float, ...], jitter: float, after: float | None
) -> None:
    new, delay = decide(standing, attempt, waits, jitter, after)
    arrived = not attempt.error if attempt.status is None else attempt.status // 100 == 2
    spent = standing.tries >= len(waits)
    expected = "delivered" if arrived else "disabled" if attempt.status == 410 else "failed" if spent else "pending"
    assert new.state == expected
    assert (delay is None) == (new.state in OVER), "what has ended is not tried again, and all else is"


@given(standings, failures, waits, jitters, afters)
def test_the_next_try_is_when_it_was_promised(
    standing: Standing, attempt: Attempt, waits: tuple[float, ...], jitter: float, after: float | None
) -> None:
    _, delay = decide(standing, attempt, waits, jitter, after)
    if delay is None:
        return
    wait = waits[standing.tries]
    assert min(0.8 * wait, DAY) <= delay <= min(max(1.2 * wait, after or 0.0), DAY), "a fifth more or less, or later"
    assert delay >= min(after or 0.0, DAY), "a receiver gets the time that it asked for"
    assert DAY == LONGEST_WAIT_SECONDS


@given(standings, attempts, waits, jitters, afters)
def test_a_try_is_counted_and_remembered(
    standing: Standing, attempt: Attempt, waits: tuple[float, ...], jitter: float, after: float | None
) -> None:
    new, _ = decide(standing, attempt, waits, jitter, after)
    assert new.tries == standing.tries + 1
    assert new.created_ms == standing.created_ms
    assert new.attempts == [*standing.attempts, attempt][-KEPT:]
    assert read_standing(dumps(new)) == new
    again = read_standing(replayed(dumps(new).decode()))
    assert (again.state, again.tries, again.attempts) == ("pending", 0, new.attempts)


@given(st.lists(st.tuples(attempts.filter(lambda one: not one.arrived), jitters, afters), min_size=len(WAITS) + 1))
def test_whatever_goes_wrong_it_ends_after_a_day_and_the_last_wait_at_the_latest(
    story: list[tuple[Attempt, float, float | None]],
) -> None:
    standing, seconds, tries = Standing(state="pending", created_ms=NOON_MS, tries=0), 0.0, 0
    while standing.state == "pending":
        attempt, jitter, after = story[tries]
        standing, delay = decide(standing, attempt, WAITS, jitter, after)
        tries, seconds = tries + 1, seconds + (delay or 0.0)
    assert tries <= len(WAITS) + 1
    assert seconds <= DAY + WAITS[-1]
    if standing.state == "failed":
        assert tries == len(WAITS) + 1
        assert seconds >= 0.8 * sum(WAITS)


@given(st.text(max_size=40) | st.floats().map(str) | st.integers().map(str) | st.datetimes().map(str))
@example("999999999")
@example("-5")
@example("1e9")
@example("Fri, 31 Dec 9999 23:59:59 GMT")
@example("Thu, 01 Jan 1970 00:00:00 GMT")
def test_a_receiver_can_ask_for_an_hour_at_most(text: str) -> None:
    found = retry_after({"Retry-After": text}, now=NOON_MS / 1000)
    assert found is None or 0 <= found <= HOUR


@given(
    st.sampled_from(sorted(JOB_OVER)),
    st.integers(1, 99),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}|", fullmatch=True),
)
def test_the_id_of_a_delivery_says_what_it_is_of(state: str, run: int, actor: str) -> None:
    text = f"{job_id()}.{run}.{state}" + (f".{actor}" if actor else "")
    assert read_delivery(text) == Delivery(job_id(), run, state, actor)
    shown = delivery_view(text, dumps(Standing(state="pending", created_ms=NOON_MS, tries=0)), NOON_MS)
    assert (shown["id"], shown["type"], shown["actor"]) == (text, f"job.{state}", actor or None)


# -- several workers, one of which may stand still, and an impatient user -----------------------------------------

CLAIM_SECONDS = 35.0
FEW = (5.0, 30.0)


class Deliveries(RuleBasedStateMachine):
    """One end that is told to a webhook and an actor. A try is held by a worker that may report late, or never."""

    tries = Bundle("tries")

    @initialize()
    def a_job_ends(self) -> None:
        self.server = TwinServer({})
        self.books = Books(self.server)
        self.books.accept(webhook="https://hooks.example/", on_success="thumbnail", on_failure="apologize")
        assert self.books.command("cancel")[:2] == ("done", "cancelled")
        self.names = sorted(self._standing())
        assert self.names == [f"{job_id()}.1.cancelled", f"{job_id()}.1.cancelled.apologize"]
        self.ended: dict[str, str] = {}

    @rule(target=tries, limit=st.integers(1, 3))
    def a_worker_claims(self, limit: int) -> Any:
        due = self.books.run(deliveries.due_hooks(limit, CLAIM_SECONDS))
        assert not {name for name, _ in due} & set(self.ended), "what has ended is tried again"
        assert not {name for name, _ in self.books.run(deliveries.due_hooks(9, CLAIM_SECONDS))} & {n for n, _ in due}
        return multiple(*((name, standing, self.books.now_ms) for name, standing in due))

    @rule(
        held=consumes(tries),
        answer=st.sampled_from(
            [(204, ""), (500, "No."), (302, "No."), (410, "Gone."), (None, "No answer."), (None, "")]
        ),
        after=st.sampled_from([None, 0.0, 7.5, HOUR]),
        jitter=jitters,
    )
    def a_try_is_over(
        self, held: tuple[str, str, int], answer: tuple[int | None, str], after: float | None, jitter: float
    ) -> None:
        name, found, begun = held
        new, delay = decide(read_standing(found), Attempt(begun, *answer), FEW, jitter, after)
        counts = self._standing()[name] == found
        assert self.books.run(deliveries.note_hook(name, dumps(new), delay, found)) == counts
        if counts and new.state in OVER:
            self.ended[name] = dumps(new).decode()
        elif counts:
            assert self._due()[name] == self.books.now_ms + int((delay or 0) * 1000)

    @rule(held=consumes(tries))
    def its_worker_dies(self, held: tuple[str, str, int]) -> None: ...

    @rule(number=st.integers(0, 1))
    def a_user_wants_it_again(self, number: int) -> None:
        name = self.names[number]
        assert self.books.run(deliveries.note_hook(name, replayed(self._standing()[name]), 0))
        self.ended.pop(name, None)

    @rule(seconds=st.sampled_from([0.01, 4, 31, 36, 3_700]))
    def time_passes(self, seconds: float) -> None:
        self.books.later(seconds)

    @invariant()
    def what_has_ended_stays_as_it_is(self) -> None:
        for name, standing in self.ended.items():
            assert self._standing()[name] == standing
            assert name not in self._due()

    @invariant()
    def what_is_pending_will_be_looked_at(self) -> None:
        for name in self._standing().keys() - self.ended.keys():
            assert read_standing(self._standing()[name]).state == "pending"
            assert self._due()[name] <= self.books.now_ms + HOUR * 1000

    @invariant()
    def attempts_are_in_the_order_of_time(self) -> None:
        for text in self._standing().values():
            found = read_standing(text)
            moments = [one.at_ms for one in found.attempts]
            assert moments == sorted(moments)
            assert all(NOON_MS <= at <= self.books.now_ms for at in moments)
            assert found.tries <= len(FEW) + 1

    def teardown(self) -> None:
        """When nobody answers any more, all of it ends by itself."""
        if not hasattr(self, "books"):
            return
        for _ in range(2 * (len(FEW) + 1)):
            self.books.later(HOUR)
            for name, found in self.books.run(deliveries.due_hooks(9, CLAIM_SECONDS)):
                attempt = Attempt(self.books.now_ms, None, "No answer.")
                self.a_try_is_over((name, found, attempt.at_ms), (None, attempt.error), None, 0.5)
        assert sorted(self.ended) == self.names

    def _standing(self) -> dict[str, str]:
        return dict(self.server.fields(f"job:{job_id()}:hooks"))

    def _due(self) -> dict[str, int]:
        flat = self.server.twin.execute("ZRANGE", f"{PREFIX}hooks", 0, -1, "WITHSCORES")
        assert isinstance(flat, list)
        return {name.decode(): int(float(score)) for name, score in zip(flat[::2], flat[1::2], strict=True)}


TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
