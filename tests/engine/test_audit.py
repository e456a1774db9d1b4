"""The audit log: appended to, read from its end, kept for so long."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from engine.audit import Audit

DAY = 86_400.0
NOON = 1_795_435_200.0  # 2026-11-23T12:00:00Z


class Clock:
    now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Audit:
    return Audit(tmp_path, 30, clock)


def test_the_newest_line_comes_first(log: Audit, clock: Clock) -> None:
    log.note("submit", key="a", job="1", token="")
    clock.now += DAY
    log.note("cancel", key="b", job="1")

    assert log.read(limit=10) == [
        {"at": "2026-11-24T12:00:00.000Z", "action": "cancel", "key": "b", "job": "1"},
        {"at": "2026-11-23T12:00:00.000Z", "action": "submit", "key": "a", "job": "1"},
    ]
    assert [one["action"] for one in log.read(limit=10, key="a")] == ["submit"]
    assert [one["action"] for one in log.read(limit=1, job="1")] == ["cancel"]
    assert log.read(limit=10, job="2") == []


def test_lines_of_several_processes_and_hosts_are_one_log(log: Audit, tmp_path: Path, clock: Clock) -> None:
    other, far = Audit(tmp_path, 30, clock), Audit(tmp_path, 30, clock)
    far._host = "far"
    for number, one in enumerate([log, far, other] * 5):
        clock.now = NOON + number
        one.note("submit", job=str(number))

    assert [one["job"] for one in log.read(limit=100)] == [str(number) for number in reversed(range(15))]
    assert len(list((tmp_path / "audit").iterdir())) == 2


def test_a_long_log_is_read_from_its_end(log: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.audit._BLOCK", 50)
    for number in range(100):
        log.note("submit", job=f"{number}", remote="é" * (number % 7))

    assert [one["job"] for one in log.read(limit=1000)] == [str(number) for number in reversed(range(100))]


def test_names_cannot_forge_lines(log: Audit) -> None:
    log.note("submit", forwarded='1.2.3.4\n{"action": "forged"}\u2028\x1b[2J')

    (line,) = log.read(limit=10)
    (file,) = log.directory.iterdir()
    assert line["forwarded"].startswith("1.2.3.4\n")
    assert file.read_bytes().count(b"\n") == 1
    assert b"\x1b" not in file.read_bytes()


def test_a_torn_line_is_passed_over(log: Audit) -> None:
    log.note("submit", job="1")
    (file,) = log.directory.iterdir()
    with file.open("ab") as end:
        end.write(b'{"at": "2026-')

    assert [one["job"] for one in log.read(limit=10)] == ["1"]


def test_nobody_else_may_read_it(log: Audit) -> None:
    log.note("submit")

    (file,) = log.directory.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.directory.stat().st_mode) == 0o700


def test_old_days_are_forgotten(log: Audit, clock: Clock) -> None:
    log.note("submit", job="1")
    (log.directory / "notes.txt").write_text("somebody's own")
    clock.now += 30 * DAY
    log.note("submit", job="2")
    assert len(log.read(limit=10)) == 2
    clock.now += DAY
    log.note("submit", job="3")

    assert [one["job"] for one in log.read(limit=10)] == ["3", "2"]
    assert (log.directory / "notes.txt").exists()


def test_no_log_is_a_choice(tmp_path: Path) -> None:
    log = Audit(tmp_path, 0)
    log.note("submit")

    assert log.read(limit=10) == []
    assert not log.directory.exists()


def test_a_disk_that_refuses_is_told_and_stops_nobody(log: Audit) -> None:
    log.directory.write_text("in the way")
    log.note("submit", job="1")
    log.directory.unlink()
    log.note("submit", job="2")

    assert [one["job"] for one in log.read(limit=10)] == ["2"]
