"""Pages of jobs: every job once, whatever is asked for, and never more than a bounded look."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from engine import arrivals, listing, operations
from engine.errors import EngineError
from engine.service import AsyncService
from engine.submission import Desk
from tests.engine.books import accept_of, job_id, spec_of, tid
from tests.engine.rig import Rig

ANYTHING: dict[str, Any] = {
    "state": None, "destination": None, "labels": {}, "q": None, "limit": 100, "cursor": None, "owner": None,
}  # fmt: skip


def ids(page: dict[str, Any]) -> list[str]:
    return [item["id"] for item in page["items"]]


async def pages(service: AsyncService, **asked: Any) -> list[list[str]]:
    """All pages, one after the other."""
    found: list[list[str]] = []
    cursor = None
    while True:
        page = await service.jobs(**{**ANYTHING, **asked, "cursor": cursor})
        found.append(ids(page))
        cursor = page["next_cursor"]
        if cursor is None:
            return found
        assert len(found) < 200, "no end in sight"


@pytest.fixture
def jobs(rig: Rig) -> Rig:
    """Thirty jobs: every third of team blue, every fifth of ben, every tenth failed."""
    for number in range(1, 31):
        owner = "ben" if number % 5 == 0 else "anna"
        labels = {"team": "blue", "n": str(number)} if number % 3 == 0 else {"n": str(number)}
        to = ["archive"] if number % 2 else ["media", "archive"]
        name = f"{'photo' if number % 4 == 0 else 'film'}-{number}"
        rig.books.run(accept_of(number, parts=1, owner=owner, labels=labels, to=to, name=name))
        if number % 10 == 0:
            rig.books.command("cancel", number)
    return rig


def numbers(*wanted: int) -> list[str]:
    return [job_id(number) for number in sorted(wanted, reverse=True)]


@pytest.mark.parametrize("limit", [1, 7, 29, 30, 31, 100])
async def test_every_job_once_from_the_newest(service: AsyncService, jobs: Rig, limit: int) -> None:
    found = await pages(service, limit=limit)

    assert [job for page in found for job in page] == numbers(*range(1, 31))
    assert all(len(page) == limit for page in found[:-1])
    assert found[-1], "no empty page at the end"


@pytest.mark.parametrize("limit", [2, 100])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"state": "cancelled"}, {10, 20, 30}),
        ({"state": "succeeded"}, set()),
        ({"owner": "ben"}, {5, 10, 15, 20, 25, 30}),
        ({"owner": "ben", "state": "queued"}, {5, 15, 25}),
        ({"labels": {"team": "blue"}}, set(range(3, 31, 3))),
        ({"labels": {"team": "blue", "n": "9"}}, {9}),
        ({"labels": {"team": "red"}}, set()),
        ({"destination": "media"}, set(range(2, 31, 2))),
        ({"destination": "nowhere"}, set()),
        ({"q": "photo-"}, {4, 8, 12, 16, 20, 24, 28}),
        ({"q": "photo-2"}, {20, 24, 28}),
        ({"q": "hoto"}, set()),
        ({"destination": "media", "labels": {"team": "blue"}, "owner": "anna", "q": "film"}, {6, 18}),
    ],
)
async def test_filters_find_what_fits_and_nothing_else(
    service: AsyncService, jobs: Rig, asked: dict[str, Any], expected: set[int], limit: int
) -> None:
    found = await pages(service, **asked, limit=limit)

    assert [job for page in found for job in page] == numbers(*expected)
    assert all(len(page) <= limit for page in found)


async def test_an_id_is_found_at_once(service: AsyncService, jobs: Rig) -> None:
    assert await pages(service, q=job_id(7)) == [[job_id(7)]]
    assert await pages(service, q=job_id(99)) == [[]]


async def test_an_id_is_found_only_by_who_may_see_it(service: AsyncService, jobs: Rig) -> None:
    assert await pages(service, q=job_id(7), owner="anna") == [[job_id(7)]]
    assert await pages(service, q=job_id(7), owner="ben") == [[]]
    assert await pages(service, q=job_id(7), state="cancelled") == [[]]


async def test_a_page_goes_on_behind_a_job_that_is_deleted(service: AsyncService, jobs: Rig) -> None:
    page = await service.jobs(**{**ANYTHING, "limit": 11})
    assert ids(page)[-1] == job_id(20)
    jobs.books.run(operations.forget(job_id(20)))

    after = await service.jobs(**{**ANYTHING, "limit": 2, "cursor": page["next_cursor"]})

    assert ids(after) == numbers(19, 18)


async def test_new_jobs_do_not_shift_the_pages(service: AsyncService, jobs: Rig) -> None:
    page = await service.jobs(**{**ANYTHING, "limit": 5})
    jobs.books.run(accept_of(31))

    after = await service.jobs(**{**ANYTHING, "limit": 2, "cursor": page["next_cursor"]})

    assert ids(after) == numbers(25, 24)


async def test_a_look_is_bounded_and_goes_on(service: AsyncService, jobs: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "LOOKED_AT", 8)
    monkeypatch.setattr(listing, "CHUNK", 4)

    found = await pages(service, labels={"n": "2"})

    assert len(found) > 2, "no request looks at everything"
    assert [job for page in found for job in page] == [job_id(2)]


async def test_a_job_that_left_its_index_meanwhile_is_passed_over(
    service: AsyncService, jobs: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the index and the reading, its state changed, or it was deleted."""
    run = service.ledger.run

    async def meddle(operation: operations.Operation[Any]) -> Any:
        if operation.script == "read":
            jobs.books.lease(tid(29))
            jobs.books.command("cancel", 28)
            jobs.books.run(operations.forget(job_id(28)))
            service.ledger.run = run  # type: ignore[method-assign]
        return await run(operation)

    service.ledger.run = meddle  # type: ignore[method-assign, assignment]

    page = await service.jobs(**{**ANYTHING, "state": "queued", "limit": 3})

    assert ids(page) == numbers(27, 26) or ids(page) == numbers(27, 26, 25)
    rest = await service.jobs(**{**ANYTHING, "state": "queued", "cursor": page["next_cursor"]})
    assert set(ids(page)) | set(ids(rest)) == set(numbers(*(n for n in range(1, 28) if n % 10)))


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "!!!!",
        "é",
        base64.urlsafe_b64encode(b"no id").decode(),
        base64.urlsafe_b64encode(b"\xff" * 36).decode(),
    ],
)
async def test_a_cursor_that_did_not_come_from_here_is_refused(service: AsyncService, cursor: str) -> None:
    with pytest.raises(EngineError) as refused:
        await service.jobs(**{**ANYTHING, "cursor": cursor})
    assert refused.value.code == "bad_cursor"


async def test_nothing_is_an_empty_page(service: AsyncService) -> None:
    assert await service.jobs(**ANYTHING) == {"items": [], "next_cursor": None}


async def test_receptions_are_listed_too(service: AsyncService, rig: Rig) -> None:
    rig.books.run(arrivals.receive(spec_of(1), None, 60))

    (item,) = (await service.jobs(**ANYTHING))["items"]
    assert (item["state"], item["size"], item["transfers"]) == ("receiving", None, [])


async def test_a_route_is_where_all_of_its_destinations_are(service: AsyncService, jobs: Rig) -> None:
    text = jobs.plugins.read_text()
    jobs.plugins.write_text(text + '[routes.both]\nmirror = ["media", "archive"]\n[routes.one]\nmirror = ["media"]\n')
    assert service.plugins.refresh()
    service.desk = Desk(service.plugins.current, service.settings)

    assert await pages(service, destination="both") == [numbers(*range(2, 31, 2))]
    assert await pages(service, destination="one") == [numbers(*range(2, 31, 2))]
