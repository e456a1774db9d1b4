"""The states and their legal steps: a closed table, and the ledger's scripts say the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from engine import models
from engine.digests import Digester
from engine.models import JOB_OVER, JOB_STATES, JOB_TRANSITIONS, TRANSFER_OVER, TRANSFER_TRANSITIONS

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "engine" / "scripts"
TABLES = {"job": JOB_TRANSITIONS, "transfer": TRANSFER_TRANSITIONS}
ENDS = {"job": JOB_OVER, "transfer": TRANSFER_OVER}
NEXT_RUN = {"job": {state: {"queued"} for state in ("failed", "partially_succeeded", "succeeded")},
            "transfer": {"failed": {"pending"}, "cancelled": {"pending"}}}  # fmt: skip
FIRST = {"job": "receiving", "transfer": "pending"}

each = pytest.mark.parametrize("what", TABLES)


def reachable(table: dict[str, frozenset[str]], start: str) -> set[str]:
    seen, ahead = {start}, [start]
    while ahead:
        found = table[ahead.pop()] - seen
        seen |= found
        ahead += found
    return seen


# -- the table --------------------------------------------------------------------------------------------------------


def test_the_states_are_named_once() -> None:
    assert get_args(models.JobState) == JOB_STATES
    assert set(JOB_TRANSITIONS) == set(JOB_STATES)
    assert set(TRANSFER_TRANSITIONS) == set(get_args(models.TransferState))
    assert set(JOB_OVER) <= set(JOB_STATES)


@each
def test_every_step_leads_to_a_state_of_the_table(what: str) -> None:
    table = TABLES[what]

    assert set().union(*table.values()) <= set(table)
    assert all(state not in after for state, after in table.items()), "staying is no step"


@each
def test_every_state_can_be_reached(what: str) -> None:
    assert reachable(TABLES[what], FIRST[what]) == set(TABLES[what])


@each
def test_every_state_has_a_way_to_an_end(what: str) -> None:
    for state in TABLES[what]:
        assert reachable(TABLES[what], state) & ENDS[what], f"{state} is a trap"


@each
def test_an_end_is_left_only_by_the_next_run(what: str) -> None:
    for state in ENDS[what]:
        assert TABLES[what][state] == NEXT_RUN[what].get(state, set())


@each
def test_nothing_returns_to_the_beginning_of_a_reception(what: str) -> None:
    assert all("receiving" not in after for after in TABLES[what].values())


def test_what_was_cancelled_and_what_is_stored_stays_so() -> None:
    assert not JOB_TRANSITIONS["cancelled"]
    assert not TRANSFER_TRANSITIONS["succeeded"]


# -- the scripts -------------------------------------------------------------------------------------------------------


def test_the_scripts_know_the_same_ends() -> None:
    prelude = (SCRIPTS / "prelude.lua").read_text()
    for name, ends in (("OVER", TRANSFER_OVER), ("JOB_OVER", JOB_OVER)):
        found = re.search(rf"^local {name} = {{(.*)}}$", prelude, re.MULTILINE)
        assert found
        assert set(re.findall(r"(\w+) = true", found[1])) == ends


def test_the_scripts_set_only_states_that_there_are() -> None:
    text = "".join(path.read_text() for path in sorted(SCRIPTS.glob("*.lua")))
    for state in re.findall(r"set_state\(id, '(\w+)'\)", text):
        assert state in JOB_STATES
    for state in re.findall(r"finish_transfer\(tid, '(\w+)'\)", text):
        assert state in TRANSFER_OVER
    for state in re.findall(r"redis\.call\('HSET', t, .*?'state', '(\w+)'", text):
        assert state in TRANSFER_TRANSITIONS


# -- what is written down ---------------------------------------------------------------------------------------------


SPEC = models.JobSpec(
    id="01940c9e-0000-7000-8000-000000000001", created_ms=1, name="фото.jpg", key=None, key_template="{sha256}",
    destinations=["media", "archive"], metadata={"a": "é"}, labels={"team": "blue"}, priority="high",
    source=models.Source(kind="path", path="/data/x", mtime_ns=1 << 60, inode=3),
)  # fmt: skip
PLAN = models.TransferPlan(
    destination="media", backend="local", key="k", claim="p/k", url="file:///k", fingerprint="0", part_size=5, total=2,
    window=8, whole=False,
)  # fmt: skip


def test_a_sidecar_brings_everything_back() -> None:
    digester = Digester(7)
    digester.update(b"content")
    sidecar = models.Sidecar(spec=SPEC, digest=digester.digest(), run=2, accepted_ms=3, transfers=[PLAN])

    assert msgspec.json.decode(models.dumps(sidecar), type=models.Sidecar) == sidecar


def test_a_tombstone_brings_everything_back() -> None:
    tombstone = models.Tombstone(
        id=SPEC.id, run=2, ended_ms=3, job={"state": "failed"}, transfers=[{"state": "failed"}]
    )

    assert msgspec.json.decode(models.dumps(tombstone), type=models.Tombstone) == tombstone


def test_a_sidecar_of_a_later_version_can_still_be_read() -> None:
    """What a newer version adds is passed over, so that going back to this one loses no job."""
    sidecar = models.Sidecar(spec=SPEC, digest=Digester(0).digest())
    document = msgspec.json.decode(models.dumps(sidecar))
    document["spec"]["later"] = "https://example.org"

    assert msgspec.json.decode(msgspec.json.encode(document), type=models.Sidecar) == sidecar


def test_unset_fields_cost_no_bytes_in_a_source() -> None:
    assert models.dumps(models.Source()) == b"{}"
