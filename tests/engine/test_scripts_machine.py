"""Any schedule of tokens, crashes, failures, commands and sweeps keeps the ledger's promises.

Hypothesis draws the schedule; the scripts run in the in-memory twin, whose clock is ours. After every script the whole
ledger is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from engine import leases, upkeep
from engine.ledger import PREFIX
from engine.models import JOB_OVER, JOB_TRANSITIONS, TRANSFER_OVER, TRANSFER_TRANSITIONS
from engine.records import Lease, Onward, Token
from tests.engine.books import PART, POISON, Books, job_id, tid
from tests.simulation.servers import TwinServer

JOBS = (1, 2)
LEASE_SECONDS = 30.0


def within_one_script(table: Mapping[str, frozenset[str]], over: frozenset[str]) -> dict[str, set[str]]:
    """What one script may lead to: several steps of the table, none of them behind an end."""

    def reach(state: str) -> set[str]:
        found: set[str] = set()
        ahead = [state]
        while ahead:
            for following in table[ahead.pop()] - found:
                found.add(following)
                ahead += [following] if following not in over else []
        return found

    return {state: reach(state) for state in table}


JOB_REACH = within_one_script(JOB_TRANSITIONS, JOB_OVER)
TRANSFER_REACH = within_one_script(TRANSFER_TRANSITIONS, TRANSFER_OVER)


class LedgerMachine(RuleBasedStateMachine):
    """Two jobs, the second of which wants the first one's key at one of its destinations."""

    leases = Bundle("leases")

    @initialize(
        parts=st.tuples(st.integers(1, 4), st.integers(1, 4)),
        window=st.integers(1, 3),
        destinations=st.integers(1, 2),
        unseen=st.tuples(st.booleans(), st.booleans()),
    )
    def accept(self, parts: tuple[int, int], window: int, destinations: int, unseen: tuple[bool, bool]) -> None:
        self.server = TwinServer({})
        self.books = Books(self.server)
        self.window = window
        self.parts = dict(zip(JOBS, parts, strict=True))
        self.tokens: list[Token] = []
        self.seen: dict[str, tuple[str, int]] = {}
        self.shown: dict[str, int] = {}
        self.ends: dict[tuple[str, int], int] = {}
        names = ("media", "archive")[:destinations]
        for number in JOBS:
            answer = self.books.accept(
                number,
                parts=self.parts[number],
                window=window,
                to=names[: 3 - number],
                key="same",
                unseen=unseen[number - 1],
            )
            assert answer.made
            self.tokens += answer.tokens

    # -- tokens

    @rule(target=leases, data=st.data(), lose=st.booleans())
    def a_token_asks(self, data: st.DataObject, lose: bool) -> Any:
        """A token of the queue is taken; or one that never was, or is a duplicate, asks again."""
        if not self.tokens:
            return multiple()
        token = data.draw(st.sampled_from(self.tokens))
        if not lose:
            self.tokens.remove(token)
        found = self.books.ask(token.transfer, mint=token.mint, seconds=LEASE_SECONDS)
        return found if isinstance(found, Lease) else multiple()

    @rule(data=st.data())
    def a_token_is_lost(self, data: st.DataObject) -> None:
        if self.tokens:
            self.tokens.remove(data.draw(st.sampled_from(self.tokens)))

    @rule(target=leases, number=st.sampled_from(JOBS), mint=st.integers(0, 4))
    def a_token_from_nowhere_asks(self, number: int, mint: int) -> Any:
        found = self.books.ask(tid(number), mint=mint, seconds=LEASE_SECONDS)
        return found if isinstance(found, Lease) else multiple()

    @rule(number=st.sampled_from(JOBS), steps=st.integers(2, 5))
    def a_worker_does_well_for_a_while(self, number: int, steps: int) -> None:
        for _ in range(steps):
            found = self.books.ask(tid(number), mint=0, seconds=LEASE_SECONDS)
            if isinstance(found, Lease):
                self.it_goes_well(found)

    @rule(number=st.sampled_from(JOBS))
    def a_session_is_lost(self, number: int) -> None:
        found = self.books.ask(tid(number), mint=0, seconds=LEASE_SECONDS)
        if isinstance(found, Lease):
            self.books.fail(found, "restart" if found.step in ("part", "complete") else "snooze")

    # -- reports, which may come twice and late

    @rule(held=leases)
    def it_goes_well(self, held: Lease) -> None:
        recorded = self.server.has_receipt(held.transfer, held.number)
        mine = self._mine(held)
        if held.step == "look":
            assert self.books.transfer(held.transfer)["size"] == "" or not mine, "a source is looked at once"
            onward = self._see(held)
        elif held.step == "begin":
            onward = self.books.begun(held)
        elif held.step == "part":
            onward = self.books.record(held)
            assert not (onward.fresh and recorded), "a recorded part was leased again"
        elif held.step == "end":
            onward = self.books.ended(held)
        else:
            onward = self.books.settle(held)
        assert onward.fresh == mine, "a report counts exactly when its fence is the one on record"
        self._go_on(held, onward.lane, onward.mint, 1 + onward.extra)

    @rule(held=leases)
    def completion_had_won(self, held: Lease) -> None:
        if held.step in ("begin", "end") and self.books.transfer(held.transfer)["size"]:
            mine = self._mine(held)
            assert self.books.settle(held).fresh == mine

    @rule(
        held=consumes(leases),
        kind=st.sampled_from(["retry", "retry", "snooze", "restart", "fail"]),
        seconds=st.sampled_from([0, 1, 40]),
    )
    def it_fails(self, held: Lease, kind: str, seconds: int) -> None:
        if held.step == "end" and kind in ("restart", "fail"):
            kind = "give_up"  # what `retry.decide` says of an end
        mine, ending = self._mine(held), self.books.transfer(held.transfer).get("ending")
        before = self._failed(held.transfer)
        onward = self.books.fail(held, kind, seconds=seconds)
        assert onward.fresh == mine
        if mine and kind != "snooze" and (not ending or held.step == "end"):
            last = self._failed(held.transfer)[-1]
            assert (last["step"], last["number"], last["attempt"]) == (held.step, held.number, held.attempt)
            assert last["at"] == self.books.now_ms
        else:
            assert self._failed(held.transfer) == before, "it is nobody's failure"
        self._go_on(held, onward.lane, onward.mint, 1 + onward.extra)

    @rule(held=consumes(leases))
    def its_worker_dies(self, held: Lease) -> None: ...

    @rule(held=leases)
    def it_is_renewed(self, held: Lease) -> None:
        mine = self._mine(held)
        assert self.books.run(leases.renew([held], LEASE_SECONDS)) == [mine]

    def _see(self, held: Lease) -> Onward:
        return self.books.seen(held, parts=self.parts[self._number(held)], window=self.window, key="same")

    def _number(self, held: Lease) -> int:
        return next(number for number in JOBS if job_id(number) == held.job)

    def _mine(self, held: Lease) -> bool:
        return self._hash(f"t:{held.transfer}:fences").get(str(held.number)) == held.fence.encode()

    def _failed(self, transfer: str) -> list[dict[str, Any]]:
        rows: Any = self.server.twin.execute("LRANGE", f"{PREFIX}t:{transfer}:failed", 0, -1)
        return [msgspec.json.decode(row) for row in rows]

    def _go_on(self, held: Lease, lane: str, mint: int, count: int) -> None:
        if lane:
            self.tokens += [Token(held.transfer, mint, lane)] * count

    # -- everybody else

    @rule(seconds=st.sampled_from([0.01, 1, 3, 31, 400]))
    def time_passes(self, seconds: float) -> None:
        self.books.later(seconds)

    @rule()
    def the_sweeper_looks(self) -> None:
        self.tokens += self.books.sweep().tokens

    @rule(number=st.sampled_from(JOBS), action=st.sampled_from(["cancel", "pause", "resume", "resume", "retry"]))
    def a_user_commands(self, number: int, action: str) -> None:
        verdict, _, tokens = self.books.command(action, number)
        if verdict == "done" and action == "retry":
            self._next_run(number)
        self.tokens += tokens

    @rule(
        number=st.sampled_from(JOBS),
        name=st.sampled_from(["media", "archive", "third"]),
        kind=st.sampled_from(["body", "path"]),
        late=st.booleans(),
    )
    def a_user_adds_a_destination(self, number: int, name: str, kind: str, late: bool) -> None:
        fields = self.books.job(number)
        before = {one["destination"] for job, _, one in self._transfers() if job == number}
        run = int(fields["run"]) + (0 if late else fields["state"] in JOB_OVER)
        given = {"parts": self.parts[number], "window": self.window, "key": "same", "kind": kind}
        verdict, _, tokens = self.books.add(name, number, run=run, **given)
        names = [one["destination"] for job, _, one in self._transfers() if job == number]
        assert len(names) == len(set(names)), "two transfers of a job to one destination"
        assert set(names) == before | ({name} if verdict == "done" else set())
        if name in before and fields["state"] not in ("cancelling", "cancelled"):
            assert verdict == "already"
        self.tokens += tokens

    @rule(number=st.sampled_from(JOBS))
    def a_user_is_nervous(self, number: int) -> None:
        for _ in range(4):
            for action in ("pause", "resume"):
                self.tokens += self.books.command(action, number)[2]

    @rule()
    def the_ledger_is_suspected(self) -> None:
        self.books.run(upkeep.suspect_sessions())

    @rule(number=st.sampled_from(JOBS))
    def its_acceptance_is_repeated(self, number: int) -> None:
        assert not self.books.accept(number, parts=9).made

    def _next_run(self, number: int) -> None:
        for n in range(3):
            self.shown.pop(tid(number, n), None)

    # -- what must hold

    @invariant()
    def jobs_move_as_the_table_says(self) -> None:
        for number in JOBS:
            fields = self.books.job(number)
            state, run = fields["state"], int(fields["run"])
            before, before_run = self.seen.get(job_id(number), ("queued", 1))
            if run == before_run:
                assert state == before or state in JOB_REACH[before], f"{before} to {state}"
                assert before not in JOB_OVER or state == before, f"{before} ended, and became {state}"
            else:
                assert before in ("failed", "partially_succeeded", "succeeded")
                assert run == before_run + 1
            self.seen[job_id(number)] = (state, run)

    @invariant()
    def transfers_move_as_the_table_says(self) -> None:
        for number, transfer, fields in self._transfers():
            state, run = fields["state"], int(self.books.job(number)["run"])
            before, before_run = self.seen.get(transfer, ("pending", 1))
            if state != before:
                over = before in TRANSFER_OVER
                assert state in TRANSFER_REACH[before], f"{before} to {state}"
                assert not over or run > before_run, f"{before} ended, and became {state} in the same run"
            self.seen[transfer] = (state, run)

    @invariant()
    def failed_attempts_are_few_and_in_their_order(self) -> None:
        for number, transfer, _ in self._transfers():
            found = [(one["run"], one["at"]) for one in self._failed(transfer)]
            assert len(found) <= 20
            assert found == sorted(found)
            assert all(run <= int(self.books.job(number)["run"]) for run, _ in found)

    @invariant()
    def receipts_belong_to_the_plan(self) -> None:
        for number, transfer, fields in self._transfers():
            found = {int(name) for name in self._hash(f"t:{transfer}:receipts")}
            assert found <= set(range(1, self.parts[number] + 1))
            if fields["state"] == "completing":
                assert len(found) == self.parts[number]
            if fields["state"] in ("uploading", "completing"):
                assert int(fields["sent"]) == len(found) * PART

    @invariant()
    def sent_never_shrinks_and_never_exceeds_the_file(self) -> None:
        for number, transfer, fields in self._transfers():
            shown = max(int(fields["sent"]), int(fields.get("floor", 0)))
            assert self.shown.get(transfer, 0) <= shown <= self.parts[number] * PART
            self.shown[transfer] = shown

    @invariant()
    def a_source_is_seen_for_all_transfers_or_for_none(self) -> None:
        for number in JOBS:
            going = {
                transfer: fields["size"]
                for one, transfer, fields in self._transfers()
                if one == number and fields["state"] not in TRANSFER_OVER and not fields["ending"]
            }
            assert len(set(going.values())) <= 1
            if set(going.values()) == {""}:
                assert sum(self.server.count_leases(transfer) for transfer in going) <= 1, "one looks for all"

    @invariant()
    def leases_stay_within_the_window(self) -> None:
        for _, transfer, _ in self._transfers():
            assert self.server.count_leases(transfer) <= self.window

    @invariant()
    def tokens_are_counted_within_reason(self) -> None:
        for _, _, fields in self._transfers():
            assert 0 <= int(fields.get("tokens", 0)) <= self.window + 1

    @invariant()
    def one_key_has_one_writer(self) -> None:
        writing = [
            transfer
            for _, transfer, fields in self._transfers()
            if fields["destination"] == "media" and fields["state"] in ("uploading", "completing")
        ]
        assert len(writing) <= 1

    @invariant()
    def a_job_ends_when_all_its_transfers_have(self) -> None:
        for number in JOBS:
            states = {fields["state"] for one, _, fields in self._transfers() if one == number}
            over = self.books.state(number) in JOB_OVER
            assert over == (states <= TRANSFER_OVER)
            if over:
                expected = {True: "succeeded", False: None}[states == {"succeeded"}]
                assert expected is None or self.books.state(number) == expected

    @invariant()
    def every_run_ends_once(self) -> None:
        entries = self.server.twin.execute("XRANGE", f"{PREFIX}feed", "-", "+")
        assert isinstance(entries, list)
        for number in JOBS:
            ends = sum(1 for _, fields in entries if fields[1] == b"end" and job_id(number).encode() in fields[3])
            runs = int(self.books.job(number)["run"])
            assert ends == runs - (0 if self.books.state(number) in JOB_OVER else 1)

    @invariant()
    def who_is_over_holds_nothing(self) -> None:
        active = self.server.twin.execute("ZRANGE", f"{PREFIX}active", 0, -1)
        assert isinstance(active, list)
        for number, transfer, fields in self._transfers():
            if fields["state"] in TRANSFER_OVER:
                assert transfer.encode() not in active
                assert self._hash(f"t:{transfer}:receipts") == {}
                assert self.server.count_leases(transfer) == 0
            elif self.books.state(number) != "paused":
                assert transfer.encode() in active, "nobody would ever look at it again"

    # -- and at last

    def teardown(self) -> None:
        """When nothing goes wrong any more, sweepers alone bring every job to its end."""
        if not hasattr(self, "books"):
            return
        for number in JOBS:
            self.books.command("resume", number)
        for _ in range(400):
            if all(self.books.state(number) in JOB_OVER for number in JOBS):
                break
            self.books.later(20)
            for token in self.books.sweep().tokens:
                self._work(token)
                self.sent_never_shrinks_and_never_exceeds_the_file()
        assert {self.books.state(number) for number in JOBS} <= JOB_OVER

    def _work(self, token: Token) -> None:
        while True:
            found = self.books.run(
                leases.lease(token.transfer, token.mint, self.books._fences(), LEASE_SECONDS, POISON)
            )
            if isinstance(found, str):
                return
            if found.step == "look":
                self._see(found)
            elif found.step == "begin":
                self.books.begun(found)
            elif found.step == "part":
                self.books.record(found)
            elif found.step == "end":
                self.books.ended(found)
            else:
                self.books.settle(found)

    # -- looking

    def _transfers(self) -> list[tuple[int, str, dict[str, str]]]:
        found = []
        for number in JOBS:
            for n in range(int(self.books.job(number)["transfers"])):
                found.append((number, tid(number, n), self.books.transfer(tid(number, n))))
        return found

    def _hash(self, key: str) -> Mapping[str, Any]:
        flat = self.server.twin.execute("HGETALL", PREFIX + key)
        assert isinstance(flat, list)
        return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(
    max_examples=120,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
