"""What a job costs in Redis: bounded while it is carried, next to nothing when it is over."""

from __future__ import annotations

import pytest
import redis

from engine import leases
from engine.ledger import PREFIX
from engine.records import pack_receipt
from tests.engine.books import PART, Books, job_id, tid

MIB = 1 << 20
ETAG = '"0123456789abcdef0123456789abcdef"'


def memory(client: redis.Redis, pattern: str) -> int:
    # SAMPLES 0 looks at every element instead of guessing from five.
    return sum(int(client.memory_usage(key, samples=0) or 0) for key in client.scan_iter(PREFIX + pattern, count=1000))


def receipt(number: int) -> bytes:
    return pack_receipt(ETAG, f"crc32c:{number}", number * 429_000, 1)


def test_ten_thousand_parts_stay_under_a_mebibyte(books: Books, client: redis.Redis) -> None:
    books.accept(parts=10_000, window=64)
    books.begin()
    for number in range(1, 101):
        held = books.lease()
        books.run(leases.record(held, PART, receipt(number), True))
    # The rest as the scripts would have written it, in one go.
    client.hset(f"{PREFIX}t:{tid()}:receipts", mapping={str(n): receipt(n) for n in range(101, 9_937)})
    client.hset(f"{PREFIX}t:{tid()}", "next", "9937")
    for _ in range(32):
        books.fail(books.lease(), "retry", seconds=60)
    held_at_once = [books.lease() for _ in range(32)]

    assert len(held_at_once) == 32
    assert books.one().recorded == 9_936
    assert memory(client, f"t:{tid()}*") < MIB


def test_a_finished_job_s_record_is_about_two_kibibytes(books: Books, client: redis.Redis) -> None:
    books.accept(
        parts=3, name="holiday.mp4", content_type="video/mp4", metadata={"album": "summer"}, labels={"team": "blue"},
        request_id="5f" * 16, traceparent=f"00-{'4b' * 16}-{'a1' * 8}-01",
    )  # fmt: skip
    books.finish()

    hashes = memory(client, f"job:{job_id()}") + memory(client, f"t:{tid()}*")
    assert hashes < 2560
    assert memory(client, f"t:{tid()}:*") == 0


@pytest.mark.parametrize("how", ["finish", "lose"])
def test_two_hundred_finished_jobs_leave_nothing_but_their_records(books: Books, client: redis.Redis, how: str) -> None:
    for number in range(1, 201):
        books.accept(number, parts=1)
        (books.finish if how == "finish" else books.lose)(tid(number))

    kinds = {key.decode().removeprefix(PREFIX).split(":")[0] for key in client.keys("*") if b":01940c9e" not in key}
    assert kinds == {"jobs", "owner", "feed", "totals", "releasing", "expiring"}
    assert memory(client, "feed") < MIB
