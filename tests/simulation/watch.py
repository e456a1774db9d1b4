"""The invariants of the design, looked at after every change of the ledger and every request to a provider."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from engine.models import JOB_OVER, JOB_TRANSITIONS, TRANSFER_OVER, TRANSFER_TRANSITIONS
from engine.operations import Operation
from engine.runtime import current
from tests.simulation.kernel import Violation
from tests.simulation.provider import MARK, Provider

if TYPE_CHECKING:
    from tests.simulation.people import Case
    from tests.simulation.world import World

#: Scripts whose first argument names the one job (or transfer) that they change.
ONE_JOB = frozenset(
    [
        "accept",
        "add",
        "begun",
        "choose",
        "command",
        "discard",
        "early",
        "ended",
        "expire",
        "fail",
        "forget",
        "lease",
        "receive",
        "received",
        "record",
        "restore",
        "seen",
        "settle",
        "taken",
    ]
)
READ_ONLY = frozenset(["dump", "states", "read", "receipts", "parts", "page", "stats", "renew"])
MOST_TOKENS_PER_THREAD = 12


def _closure(table: Mapping[str, frozenset[str]], start: str, stops: frozenset[str]) -> frozenset[str]:
    """What can be reached from `start` within one script, not going on from an end."""
    found: set[str] = set()
    agenda = [start]
    while agenda:
        for state in table.get(agenda.pop(), frozenset()):
            if state not in found:
                found.add(state)
                if state not in stops:
                    agenda.append(state)
    return frozenset(found)


JOB_REACH = {state: _closure(JOB_TRANSITIONS, state, JOB_OVER) for state in JOB_TRANSITIONS}
TRANSFER_REACH = {state: _closure(TRANSFER_TRANSITIONS, state, TRANSFER_OVER) for state in TRANSFER_TRANSITIONS}


@dataclass(slots=True)
class Seen:
    """How a job stood when it was last looked at."""

    state: str
    run: int
    transfers: list[str] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)


class Watch:
    """Ends the run at the first thing that must not be.

    It also raises Violation there; but the engine, which expects any error, may swallow that.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.seen: dict[str, Seen] = {}
        self.tainted: set[str] = set()
        """Jobs that a rollback of Redis took back: what had been shown of them may be shown again, differently."""
        self.doubtful = False
        """Whether Redis was rolled back and no worker has looked at that yet: what is asked of it meanwhile is lost."""
        self.blind: set[str] = set()
        """Jobs that ended in such a moment, or while Redis had taken them for running again."""
        self.ends: dict[tuple[str, int], str] = {}

    def rolled_back(self) -> None:
        self.tainted.update(self.world.cases)
        self.seen.clear()
        self.doubtful = True

    # -- after every script

    def after(self, operation: Operation[Any]) -> None:
        with self._fatal():
            self._after(operation)

    @contextlib.contextmanager
    def _fatal(self) -> Iterator[None]:
        try:
            yield
        except Violation as violation:
            self.world.kernel.fail(violation)
            raise

    def _after(self, operation: Operation[Any]) -> None:
        if operation.script in READ_ONLY:
            return
        if operation.script in ("suspect", "epoch"):
            self.doubtful = False
        if operation.script in ONE_JOB:
            self._look(str(operation.args[0]).partition("/")[0], operation)
        else:
            for job in self.world.cases:
                self._look(job, operation)
        if operation.script == "lease":
            self._window(str(operation.args[0]))

    def _look(self, job: str, operation: Operation[Any]) -> None:
        server = self.world.redises.server
        case, before = self.world.cases[job], self.seen.get(job)
        fields = server.fields(f"job:{job}")
        if "state" not in fields:
            if before is not None and case.accepted and operation.script != "forget" and job not in self.tainted:
                raise Violation(f"job {job} was accepted, and vanished")
            self.seen.pop(job, None)
            return
        now = Seen(fields["state"], int(fields.get("run") or 1))
        records = [server.fields(f"t:{job}/{n}") for n in range(int(fields.get("transfers") or 0))]
        for record in records:
            now.transfers.append(record.get("state", ""))
            now.shown.append(max(int(record.get("sent") or 0), int(record.get("floor") or 0)))
        self._compare(job, before, now)
        self._told(job, fields, now)
        for n, record in enumerate(records):
            if operation.script == "restore":
                continue  # an end that is put back says what was, not what is
            if record.get("state") == "succeeded" and (before is None or before.transfers[n : n + 1] != ["succeeded"]):
                self._stored(case, n, record)
        if now.state == "succeeded" and not records:
            raise Violation(f"job {job} succeeded without a transfer")
        ended = now.state in JOB_OVER and (before is None or before.state not in JOB_OVER)
        if ended and (self.doubtful or operation.script == "restore"):
            self.blind.add(job)
        self.seen[job] = now

    def _told(self, job: str, fields: Mapping[str, str], now: Seen) -> None:
        """Who asked for it is owed exactly one delivery for each run that ended, from the moment of its end."""
        hooks = self.world.redises.server.fields(f"job:{job}:hooks")
        mine = [name for name in hooks if name.startswith(f"{job}.{now.run}.")]
        actor = '"on_success"' if now.state == "succeeded" else '"on_failure"'
        end = f"{job}.{now.run}.{now.state}"
        asked = {end: '"webhook"', f"{end}.theirs": actor}
        wanted = [one for one, word in asked.items() if now.state in JOB_OVER and word in fields["spec"]]
        if sorted(mine) != wanted:
            raise Violation(f"job {job} is {now.state} in run {now.run}, and its deliveries are {mine}, not {wanted}")

    def _compare(self, job: str, before: Seen | None, now: Seen) -> None:
        if now.state in JOB_OVER and job not in self.tainted:
            first = self.ends.setdefault((job, now.run), now.state)
            if first != now.state:
                raise Violation(f"job {job} ended twice in run {now.run}: {first}, then {now.state}")
        if before is None or before.run != now.run or job in self.tainted:
            return
        if now.state != before.state and now.state not in JOB_REACH[before.state]:
            raise Violation(f"job {job} went from {before.state} to {now.state}")
        for n, (old, new) in enumerate(zip(before.transfers, now.transfers, strict=False)):
            if old != new and new not in TRANSFER_REACH.get(old, frozenset()):
                raise Violation(f"transfer {job}/{n} went from {old} to {new}")
            given_up = old == "cancelled" and before.state == "receiving"  # too early: its file came after all
            if old != new and old in TRANSFER_OVER and not given_up:
                raise Violation(f"transfer {job}/{n} ended as {old} and went on to {new} in the same run")
        for n, (old_sent, new_sent) in enumerate(zip(before.shown, now.shown, strict=False)):
            if new_sent < old_sent:
                raise Violation(f"transfer {job}/{n} showed {old_sent} bytes sent, then {new_sent}")

    def _stored(self, case: Case, n: int, record: Mapping[str, str]) -> None:
        shared = sum(other.options.key == case.options.key for other in self.world.cases.values()) > 1
        if shared and case.id in self.tainted:
            return  # two jobs that Redis forgot may write the same key, each believing it is its turn
        stored = self.world.providers[record["destination"]].objects.get(record["key"])
        if stored is None or stored.data != case.data:
            what = "nothing" if stored is None else f"{len(stored.data)} other bytes"
            raise Violation(f"transfer {case.id}/{n} succeeded, and at {record['key']} is {what}")

    def _window(self, transfer: str) -> None:
        server = self.world.redises.server
        window = int(server.fields(f"t:{transfer}").get("window") or 1)
        leases = server.count_leases(transfer)
        if leases > window:
            raise Violation(f"transfer {transfer} has {leases} leases, and a window of {window}")
        threads = self.world.settings.threads * max(len(self.world.workers), 1)
        if len(self.world.redises.queue) > 100 + MOST_TOKENS_PER_THREAD * threads:
            raise Violation(f"{len(self.world.redises.queue)} tokens are in the queue for {threads} threads")

    def _can_be_found(self, case: Case, provider: Provider, key: str, known: str) -> bool:
        """Whether the engine can know of a session: it lists those at the key that Redis still knows."""
        return "ListsSessions" in provider.habits.abilities and (key == known or case.id not in self.tainted)

    def _is_known(self, case: Case, provider: Provider) -> bool:
        """Whether the engine can tell that an object at another key is its own, though Redis forgot the key."""
        return provider.habits.tidy and (provider.habits.metadata or case.id not in self.tainted)

    def _reason(self, case: Case, n: int, record: Mapping[str, str]) -> list[str]:
        """A transfer fails only for reasons that this world has."""
        if record["state"] != "failed" or not record.get("error") or case.id in self.tainted:
            return []
        code = str(msgspec.json.decode(record["error"]).get("code"))
        provider = self.world.providers[record["destination"]]
        troubled = provider.had
        reasons = {
            "invalid_request": False,
            "unexpected": False,
            "source_gone": False,
            "integrity_failed": troubled.corrupt > 0 or self.world.rotten,
            "source_corrupt": self.world.rotten,
            "session_lost": troubled.session_killed > 0 or not provider.habits.metadata,
        }
        return [] if reasons.get(code, True) else [f"transfer {case.id}/{n} failed with {code}, for no reason"]

    def _replaced_in_vain(self, case: Case, record: Mapping[str, str]) -> bool:
        """Whether another job may have replaced the object, been dissatisfied with what was stored, and removed it."""
        return any(
            other is not case and other.options.key == case.options.key
            for other in self.world.cases.values()
            if record["destination"] in {plan.destination for plan in other.plans}
        )

    # -- before every request to a provider

    def sent(self, provider: Provider, verb: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        with self._fatal():
            self._sent(provider, verb, args, kwargs)

    def _sent(self, provider: Provider, verb: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        errand = current.get()
        if verb == "delete" and errand is not None:
            stored = provider.objects.get(args[0])
            if stored is not None and stored.properties.metadata.get(MARK) not in (None, errand.lease.job):
                raise Violation(f"job {errand.lease.job} deletes the object of another at {args[0]}")
        if verb not in ("begin", "put_part", "complete", "put_whole"):
            return
        job = kwargs["properties"].metadata[MARK] if "properties" in kwargs else provider.owners.get(args[0]["id"], "")
        if job in self.tainted or job not in self.world.cases:
            return
        server = self.world.redises.server
        n = self._places(job).index(provider.name)
        record = server.fields(f"t:{job}/{n}")
        if record.get("state") in TRANSFER_OVER:
            raise Violation(f"{verb} is sent for transfer {job}/{n}, which is {record['state']}")
        if (
            verb == "put_part"
            and args[0]["id"] in record.get("session", "")
            and server.has_receipt(f"{job}/{n}", args[1])
        ):
            raise Violation(f"part {args[1]} of transfer {job}/{n} is sent again, though it is recorded")

    def _places(self, job: str) -> list[str]:
        """The destinations of a job's transfers."""
        server = self.world.redises.server
        count = int(server.fields(f"job:{job}").get("transfers") or 0)
        return [server.fields(f"t:{job}/{n}").get("destination", "") for n in range(count)]

    # -- in the end

    def at_rest(self) -> list[str]:
        """What is not as it must be in the end; empty when all is well. Asked again until the patience runs out."""
        faults: list[str] = []
        for case in self.world.cases.values():
            fields = self.world.redises.server.fields(f"job:{case.id}")
            faults += self._ended(case, fields)
            if fields.get("state") in JOB_OVER:
                faults += self._left(case, fields)
        return faults

    def _ended(self, case: Case, fields: Mapping[str, str]) -> list[str]:
        state, end = fields.get("state"), self.world.disk.end_of(case.id)
        if state is not None and end is not None and end.forgotten and case.id not in self.tainted:
            return [f"job {case.id} was forgotten by its user, and is back"]
        if state in (None, "receiving") and not case.accepted and (left := self._unwanted(case)):
            return left
        if state is None:
            if case.accepted and case.id not in self.world.forgotten:
                return [f"job {case.id} was accepted, and is lost"]
            return [f"sidecar of {case.id} waits for its job"] if self._waits(case) else []
        if state == "receiving" and not case.accepted and case.id not in self.world.disk.sidecars:
            return []
        if state in JOB_OVER or state == "paused" or (state in ("queued", "running") and self._behind_a_paused(case)):
            return []
        return [f"job {case.id} is still {state}"]

    def _unwanted(self, case: Case) -> list[str]:
        """What was sent of a file that never came: its sessions are closed, where they can be found."""
        return [
            f"session {name} of job {case.id}, which never was, is open at its provider"
            for provider in self.world.providers.values()
            for name, upload in provider.uploads.items()
            if upload.properties.metadata.get(MARK) == case.id
            and case.id not in self.tainted
            and "ListsSessions" in provider.habits.abilities
        ] + [
            f"job {case.id} never was, and its object is at {key}"
            for provider in self.world.providers.values()
            for key, found in provider.objects.items()
            if found.properties.metadata.get(MARK) == case.id and case.id not in self.tainted
        ]

    def _behind_a_paused(self, case: Case) -> bool:
        """One key has one writer at a time, and a paused one keeps its turn."""
        others = (other for other in self.world.cases.values() if other.options.key == case.options.key)
        return any(self.world.redises.server.fields(f"job:{other.id}").get("state") == "paused" for other in others)

    def _waits(self, case: Case) -> bool:
        return case.id in self.world.disk.sidecars and self.world.disk.end_of(case.id) is None

    def _left(self, case: Case, fields: Mapping[str, str]) -> list[str]:
        """Nothing may be left of a job that is over."""
        world, faults = self.world, []
        kept = (
            fields["state"] in ("failed", "partially_succeeded")
            and float(fields.get("until") or 0) > world.kernel.now_us / 1000
        )
        disk = world.disk
        if not kept and (case.id in disk.data or case.id in disk.sidecars or case.id in disk.more):
            faults.append(f"the spool still has the file of job {case.id}, which is {fields['state']}")
        if case.plans and world.disk.end_of(case.id) is None:
            faults.append(f"job {case.id} ended without a tombstone")
        places = self._places(case.id)
        if len(places) > len(set(places)):
            faults.append(f"job {case.id} has two transfers to one destination: {places}")
        if not case.added <= set(places) and not world.turned_back:
            faults.append(f"job {case.id} was to go to {case.added}, too, and went to {places}")
        for n in range(len(places)):
            faults += self._leavings(case, n, world.redises.server.fields(f"t:{case.id}/{n}"))
        return faults

    def _leavings(self, case: Case, n: int, record: Mapping[str, str]) -> list[str]:
        provider = self.world.providers[record["destination"]]
        if case.id in self.blind or f"{case.id}/{n}" in self.world.redises.server.orphans():
            return []
        faults = self._reason(case, n, record)
        faults += [
            f"session {name} of transfer {case.id}/{n} ({record['state']}) is open at its provider"
            for name, upload in provider.uploads.items()
            if upload.properties.metadata.get(MARK) == case.id
            and self._can_be_found(case, provider, upload.key, record["key"])
        ]
        faults += [
            f"transfer {case.id}/{n} has left an object at {key}, which is not its key {record['key']}"
            for key, found in provider.objects.items()
            if found.properties.metadata.get(MARK) == case.id
            and key != record["key"]
            and self._is_known(case, provider)
        ]
        stored = provider.objects.get(record["key"])
        ours = stored is not None and stored.properties.metadata.get(MARK) == case.id
        failed_after = stored is None and self._replaced_in_vain(case, record)
        wrong = stored is None or (stored.properties.metadata.get(MARK) == case.id and stored.data != case.data)
        if record["state"] == "succeeded" and wrong and not failed_after:
            faults.append(f"transfer {case.id}/{n} succeeded, and its object is not there")
        # Without a mark on it, only whoever knows the checksum recognises it; nobody has read what is only named.
        knows = provider.habits.metadata or not case.distant
        if record["state"] == "cancelled" and ours and provider.habits.tidy and knows:
            faults.append(f"transfer {case.id}/{n} is cancelled, and its object is there")
        return faults
