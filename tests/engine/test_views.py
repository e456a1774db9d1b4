"""What clients see of a job: built from the ledger's own fields, at every stage of its life."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.models import JOB_OVER, JOB_STATES, JobSpec, dumps
from engine.records import JobRecord, TransferRecord, pack_receipt
from engine.views import failures_view, job_view, moment, parts_view

JOB = "01940c9e-0000-7000-8000-000000000001"
NOON = 1_795_435_200_120  # 2026-11-23T12:00:00.120Z
SPEC = JobSpec(
    id=JOB, created_ms=NOON, name="holiday.mp4", key="2026/holiday.mp4", key_template="{yyyy}/{name}",
    destinations=["archive"], content_type="video/mp4", labels={"team": "blue"},
)  # fmt: skip
THROTTLED = {
    "code": "throttled", "title": "The provider asked us to slow down", "detail": "SlowDown.", "retryable": True,
    "attempt": 2, "since": NOON, "at": NOON,
}  # fmt: skip


def transfer(
    *, recorded: int = 0, leased: tuple[int, ...] = (), failing: int = 0, due: int | None = None,
    failure: dict[str, Any] | None = None, **fields: str,
) -> TransferRecord:  # fmt: skip
    """A transfer of 44 bytes in parts of 10."""
    known = {
        "destination": "archive", "backend": "s3", "url": "s3://acme/2026/holiday.mp4", "state": "uploading",
        "size": "44", "part_size": "10", "total": "5", "whole": "0", "sent": "0", "floor": "0", "attempts": "0",
    }  # fmt: skip
    return TransferRecord(known | fields, recorded, list(leased), failing, due, failure)


def job(*transfers: TransferRecord, **fields: str) -> dict[str, Any]:
    known = {"spec": dumps(SPEC).decode(), "state": "running", "run": "1", "rev": "7", "size": "44", "received": "44"}
    return job_view(JobRecord(known | fields, list(transfers), NOON))


# -- moments ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (NOON, "2026-11-23T12:00:00.120Z"),
        (str(NOON), "2026-11-23T12:00:00.120Z"),
        ("1795435200000", "2026-11-23T12:00:00.000Z"),
        (0, None),
        ("0", None),
        ("", None),
        (None, None),
    ],
)
def test_moments_are_rfc_3339_in_utc(ms: int | str | None, text: str | None) -> None:
    assert moment(ms) == text


# -- a job on its way -------------------------------------------------------------------------------------------------


def test_a_job_that_is_being_received_has_no_transfers_yet() -> None:
    seen = job(state="receiving", size="", received="12")

    assert (seen["size"], seen["received"], seen["sent"], seen["transfers"]) == (None, 12, 0, [])
    assert seen["eta_seconds"] is None
    assert seen["checksums"] == {"crc32c": None, "sha256": None}


def test_a_job_in_the_middle_of_its_parts() -> None:
    seen = job(
        transfer(recorded=2, leased=(3, 5), failing=1, due=NOON, sent="20", attempts="6", failure=THROTTLED),
        rate="12.7",
        crc32c="yZRlqg==",
        updated=str(NOON),
    )
    (one,) = seen["transfers"]

    assert (seen["sent"], seen["in_flight"], seen["rate"], seen["eta_seconds"]) == (20, 14, 12, 2)
    assert one["parts"] == {"total": 5, "sent": 2, "in_flight": 2, "failing": 1}
    assert (one["attempts"], one["next_attempt_at"]) == (6, "2026-11-23T12:00:00.120Z")
    assert one["error"] == {name: THROTTLED[name] for name in ("code", "title", "detail", "retryable", "attempt")}
    assert seen["checksums"]["crc32c"] == "yZRlqg=="
    assert (seen["created_at"], seen["updated_at"], seen["finished_at"]) == (moment(NOON), moment(NOON), None)


@pytest.mark.parametrize(("state", "leased"), [("pending", (0,)), ("completing", (0,)), ("uploading", (0,))])
def test_begin_complete_and_end_carry_no_bytes(state: str, leased: tuple[int, ...]) -> None:
    seen = job(transfer(state=state, leased=leased))

    assert seen["in_flight"] == 0
    assert seen["transfers"][0]["parts"]["in_flight"] == 0


def test_a_small_file_on_its_way_is_one_part_in_flight() -> None:
    seen = job(transfer(whole="1", total="1", part_size="44", leased=(0,)))

    assert seen["in_flight"] == 44
    assert seen["transfers"][0]["parts"]["in_flight"] == 1


def test_what_is_sent_is_the_least_of_the_transfers_that_have_not_failed() -> None:
    seen = job(
        transfer(destination="a", sent="30"),
        transfer(destination="b", sent="20"),
        transfer(destination="c", sent="0", state="failed"),
    )

    assert seen["sent"] == 20


def test_what_was_shown_as_sent_is_never_taken_back() -> None:
    """A transfer that began again counts from nothing; its floor is what clients have seen already."""
    assert job(transfer(sent="10", floor="40"))["sent"] == 40


def test_nothing_is_sent_when_every_transfer_failed() -> None:
    assert job(transfer(sent="30", state="failed"), state="failed")["sent"] == 0


# -- a job that is over -----------------------------------------------------------------------------------------------


def test_a_job_that_succeeded_says_how_it_was_verified_and_has_no_error() -> None:
    old = msgspec.json.encode(THROTTLED).decode()
    seen = job(
        transfer(state="succeeded", sent="44", attempts="7", etag="abc", version="v1", checksum="crc32c:yZRlqg==",
                 verified_by="checksum", error=old),
        state="succeeded", finished=str(NOON), satisfied=str(NOON), until="0", rate="99",
    )  # fmt: skip
    (one,) = seen["transfers"]

    assert one["parts"] == {"total": 5, "sent": 5, "in_flight": 0, "failing": 0}
    assert (one["etag"], one["version"], one["verified_by"]) == ("abc", "v1", "checksum")
    assert (one["error"], seen["error"]) == (None, None)
    assert seen["satisfied_at"] == seen["finished_at"] == moment(NOON)
    assert (seen["rate"], seen["eta_seconds"]) == (0, None)
    assert seen["source"] == {"kind": "body", "available_until": None}


def test_a_job_that_failed_says_why_and_until_when_it_can_be_retried() -> None:
    why = msgspec.json.encode(THROTTLED).decode()
    seen = job(transfer(state="failed", error=why), state="failed", error=why, until=str(NOON))

    assert seen["error"]["code"] == seen["transfers"][0]["error"]["code"] == "throttled"
    assert seen["source"]["available_until"] == moment(NOON)


@pytest.mark.parametrize("state", JOB_STATES)
def test_the_links_are_the_commands_that_this_state_allows(state: str) -> None:
    links = job(state=state)["links"]

    assert {"self", "events", "parts"} <= set(links)
    assert ("retry" in links) == (state in ("failed", "partially_succeeded"))
    assert ("cancel" in links) == (state not in JOB_OVER)
    assert ("resume" in links) == (state == "paused")
    assert ("pause" in links) == (state in ("queued", "running"))
    assert all(link.startswith(f"/v1/jobs/{JOB}") for link in links.values())


@pytest.mark.parametrize("state", JOB_STATES)
def test_every_job_fits_into_json_without_secrets_of_the_ledger(state: str) -> None:
    seen = job(transfer(session='{"upload_id":"geheim"}', fingerprint="f", claim="c"), state=state, owner="o")

    text = msgspec.json.encode(seen).decode()
    assert "geheim" not in text
    assert msgspec.json.decode(text) == seen


# -- parts ------------------------------------------------------------------------------------------------------------


def parts(run: int = 1, **found: Any) -> list[dict[str, Any]]:
    known: dict[str, Any] = {"receipts": {}, "leases": {}, "due": {}, "tries": {}, "errors": {}, "failed": []}
    fields = found.pop("transfer", transfer()).fields
    return parts_view(known | {"transfer": fields} | found, run)


def test_the_parts_are_those_of_the_plan() -> None:
    found = parts()

    assert [(one["number"], one["offset"], one["size"]) for one in found] == [
        (1, 0, 10), (2, 10, 10), (3, 20, 10), (4, 30, 10), (5, 40, 4),
    ]  # fmt: skip
    assert {one["state"] for one in found} == {"pending"}


def test_each_part_says_where_it_stands() -> None:
    found = parts(
        receipts={"1": pack_receipt("abc", "crc32c:yZRlqg==", 0xC99465AA, 3)},
        leases={"2": str(NOON)},
        due={"3": str(NOON), "4": str(NOON)},
        tries={"2": "1", "3": "2"},
        errors={"3": msgspec.json.encode(THROTTLED).decode()},
    )

    assert [one["state"] for one in found] == ["sent", "in_flight", "failing", "pending", "pending"]
    assert [one["attempts"] for one in found] == [3, 1, 2, 0, 0]
    assert (found[0]["etag"], found[0]["checksum"]) == ("abc", "crc32c:yZRlqg==")
    assert found[2]["error"]["code"] == "throttled"
    assert found[2]["next_attempt_at"] == found[3]["next_attempt_at"] == moment(NOON)


def test_a_receipt_keeps_another_checksum_than_ours() -> None:
    (first, *_) = parts(receipts={"1": pack_receipt("abc", "sha256:00", 1, 1)})

    assert first["checksum"] == "sha256:00"


def test_the_one_part_of_a_small_file_says_where_it_stands() -> None:
    small = transfer(whole="1", total="1", part_size="44")

    (flying,) = parts(transfer=small, leases={"0": str(NOON)}, tries={"0": "2"})
    (failing,) = parts(transfer=small, due={"0": str(NOON)}, errors={"0": msgspec.json.encode(THROTTLED).decode()})

    assert (flying["state"], flying["attempts"]) == ("in_flight", 2)
    assert (failing["state"], failing["error"]["code"]) == ("failing", "throttled")


def failed(number: int, attempt: int, run: int = 1, step: str = "part") -> dict[str, Any]:
    why = {"code": "throttled", "title": "", "detail": "", "retryable": True}
    return {"at": NOON, "run": run, "step": step, "number": number, "attempt": attempt, **why}


def test_after_the_end_every_part_was_sent_in_the_attempt_behind_those_that_failed() -> None:
    tried = [failed(2, 1), failed(2, 2), failed(0, 1, step="begin"), failed(3, 4, run=1)]

    found = parts(transfer=transfer(state="succeeded"), failed=tried)
    again = parts(2, transfer=transfer(state="succeeded"), failed=tried)
    lost = parts(transfer=transfer(state="failed"), failed=tried)

    assert [(one["state"], one["attempts"]) for one in found] == [
        ("sent", 1), ("sent", 3), ("sent", 5), ("sent", 1), ("sent", 1),
    ]  # fmt: skip
    assert [one["attempts"] for one in again] == [1, 1, 1, 1, 1]
    assert [(one["state"], one["attempts"]) for one in lost][:3] == [("failed", 0), ("failed", 2), ("failed", 4)]


def test_what_is_one_part_has_the_etag_of_its_object() -> None:
    small = transfer(whole="1", total="1", part_size="44", state="succeeded", etag="abc", checksum="crc32c:yZRlqg==")

    (only,) = parts(transfer=small, failed=[failed(0, 1, step="whole")])

    assert (only["state"], only["attempts"], only["etag"], only["checksum"]) == ("sent", 2, "abc", "crc32c:yZRlqg==")


def test_a_failed_attempt_says_what_failed_and_when() -> None:
    why = {"code": "throttled", "title": "Slow down", "detail": "Not so fast.", "retryable": True}
    part = {"at": NOON, "run": 2, "step": "part", "number": 3, "attempt": 1, **why}
    small = {**part, "step": "whole", "number": 0}
    lost = {"at": NOON, "run": 1, "step": "begin", "number": 0, "attempt": 4, "code": "worker_lost", "retryable": True}

    found = failures_view({"failed": [lost, small, part]})

    assert found[2] == {"at": moment(NOON), "run": 2, "step": "part", "part": 3, "attempt": 1, **why}
    assert [one["part"] for one in found] == [None, 1, 3]
    assert "not heard of" in found[0]["title"]
    assert "lease ran out" in found[0]["detail"]


@pytest.mark.parametrize(("state", "shown"), [("succeeded", "sent"), ("failed", "failed"), ("cancelled", "cancelled")])
def test_after_the_end_only_the_plan_is_left(state: str, shown: str) -> None:
    found = parts(transfer=transfer(state=state))

    assert {one["state"] for one in found} == {shown}
    assert {one["etag"] for one in found} == {None}
