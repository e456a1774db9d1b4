"""Any schedule of uploads, failures, deaths and ends keeps within the quotas of a key and the uploads of a token.

Hypothesis draws the schedule; the scripts run in the in-memory twin, whose clock is ours.
"""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine import admission
from engine.access import Quotas, Token
from engine.ledger import PREFIX
from engine.operations import Operation
from tests.engine.books import Books, job_id, tid
from tests.simulation.servers import TwinServer

PROMISE_MS = 120_000
DAY_MS = 86_400_000


class AdmissionMachine(RuleBasedStateMachine):
    """One key with quotas, and one token of it."""

    @initialize(jobs=st.integers(1, 3), uploads=st.integers(1, 4), size=st.integers(50, 300))
    def begin(self, jobs: int, uploads: int, size: int) -> None:
        self.server = TwinServer({})
        self.books = Books(self.server)
        self.quotas = Quotas(jobs=jobs, bytes_per_day=size)
        self.uploads = uploads
        self.number = 0
        self.coming: dict[int, tuple[int, int | None]] = {}  # number -> when it was let in, what was charged
        self.rest: tuple[int, int] | None = None  # who has what is left of which day
        self.unfinished: set[int] = set()
        self.made = 0
        self.lost = 0
        self.sent: dict[int, int] = {}  # day -> bytes that count
        token = Token(id="t", hash="", key="bootstrap")
        assert self.books.run(admission.mint_token(token, 30 * DAY_MS))

    @rule(charge=st.none() | st.integers(0, 120))
    def an_upload_asks(self, charge: int | None) -> None:
        self.number += 1
        answer = self.books.run(self.ask(self.number, charge))
        assert answer.jobs <= (self.quotas.jobs or 0)
        assert answer.bytes <= (self.quotas.bytes_per_day or 0)
        used = self.sent.get(self.day, 0)
        expected = (
            "bytes" if used + max(charge or 0, 1) > (self.quotas.bytes_per_day or 0)
            else "rest" if self.rest is not None and self.rest[1] == self.day
            else "jobs" if self.open() >= (self.quotas.jobs or 0)
            else "uploads" if self.made + len(self.coming) + self.lost >= self.uploads
            else ""
        )  # fmt: skip
        assert answer.refused == expected
        if not answer.refused:
            self.coming[self.number] = (self.books.now_ms, charge)
            self.sent[self.day] = used + (charge or 0)
            if charge is None:
                self.rest = self.number, self.day

    @rule(data=st.data())
    def it_is_asked_for_once_more(self, data: st.DataObject) -> None:
        """Whoever asked had no answer."""
        number = self.draw(data, self.coming)
        if number is not None:
            at, charge = self.coming[number]
            answer = self.books.run(self.ask(number, charge))
            assert (answer.refused, answer.now_ms) == ("", at)

    @rule(charge=st.none() | st.integers(0, 120), counted=st.sampled_from(["before", "behind", "never"]))
    def its_answer_is_lost(self, charge: int | None, counted: str) -> None:
        """Nothing of it counts, in whatever order what was asked comes to the ledger."""
        self.number += 1
        ask, lost = self.ask(self.number, charge), job_id(self.number)
        end = admission.leave("k", "t", [lost], charge or 0, charge or 0, 0, lost=lost)
        asked_too_late = [ask] if counted == "behind" else []
        for one in [*([ask] if counted == "before" else []), end, *asked_too_late, end]:
            self.books.run(one)  # type: ignore[arg-type]

    @rule(data=st.data(), came=st.integers(0, 300))
    def its_job_is_made(self, data: st.DataObject, came: int) -> None:
        number = self.draw(data, self.coming)
        if number is not None:
            at, charge = self.coming.pop(number)
            self.books.accept(number, owner="k", parts=1)
            self.unfinished.add(number)
            self.made += 1
            if charge is None:
                came = min(came, (self.quotas.bytes_per_day or 0) - self.sent[at // DAY_MS])
                self.books.run(admission.leave("k", "t", [job_id(number)], 0, came, at))
                self.sent[at // DAY_MS] += came
                self.rest = None

    @rule(data=st.data())
    def it_fails(self, data: st.DataObject) -> None:
        number = self.draw(data, self.coming)
        if number is not None:
            at, charge = self.coming.pop(number)
            charged = charge or 0
            made = self.books.run(admission.leave("k", "t", [job_id(number)], charged, charged, at))
            assert made == 0
            self.sent[at // DAY_MS] -= charged
            if charge is None:
                self.rest = None

    @rule(data=st.data())
    def its_process_dies(self, data: st.DataObject) -> None:
        """Nobody tells: the upload stays spent, the place among the unfinished jobs ends by itself."""
        number = self.draw(data, self.coming)
        if number is not None:
            self.coming.pop(number)
            self.lost += 1
            self.books.now_ms += PROMISE_MS
            # Everybody who is still sending has shown by now that the job exists (`receiving`); here nobody has.
            self.lost += len(self.coming)
            self.coming.clear()
            self.rest = None

    @rule(data=st.data(), how=st.sampled_from(["finish", "lose", "cancel"]))
    def a_job_ends(self, data: st.DataObject, how: str) -> None:
        number = self.draw(data, self.unfinished)
        if number is None:
            return
        self.unfinished.discard(number)
        if how == "cancel":
            self.books.command("cancel", number)
        else:
            (self.books.finish if how == "finish" else self.books.lose)(tid(number))

    @rule(hours=st.integers(1, 30))
    def time_passes(self, hours: int) -> None:
        self.lost += len(self.coming)
        self.coming.clear()
        self.rest = None
        self.books.now_ms += hours * 3_600_000

    @invariant()
    def no_more_jobs_than_the_token_is_good_for(self) -> None:
        assert self.made <= self.uploads
        assert int(self.server.fields("token:t").get("used", 0)) == self.made + len(self.coming) + self.lost

    @invariant()
    def what_is_open_is_what_is_unfinished(self) -> None:
        now = self.books.now_ms
        assert self.server.twin.execute("ZCOUNT", f"{PREFIX}open:k", f"({now}", "+inf") == self.open()
        assert self.open() <= (self.quotas.jobs or 0)

    @property
    def day(self) -> int:
        return self.books.now_ms // DAY_MS

    def open(self) -> int:
        return len(self.unfinished) + len(self.coming)

    def ask(self, number: int, charge: int | None) -> Operation[admission.Admitted]:
        return admission.admit("k", self.quotas, "t", self.uploads, charge, job_id(number), again=False)

    def draw(self, data: st.DataObject, among: Any) -> int | None:
        return data.draw(st.sampled_from(sorted(among))) if among else None


AdmissionMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestAdmission = AdmissionMachine.TestCase
