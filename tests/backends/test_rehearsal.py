"""Any destination can be made to fail: without faults nothing changes, with them exactly what was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from backends import conformance
from backends.base import MIB, Backend, ListsParts, PutsWhole
from backends.base import Properties as P
from backends.body import BytesBody, FileBody
from backends.checksums import crc32c
from backends.config import load
from backends.conformance.subject import Subject
from backends.errors import ConnectionFailed, IntegrityError, PermanentError, Throttled, Unavailable
from backends.local import LocalBackend, LocalOptions, LocalPlugin
from backends.memory import MemoryBackend, MemoryPlugin, space
from backends.memory_faults import MemoryOptions
from backends.registry import Destination
from backends.rehearsal import RehearsalFaults, rehearse

globals().update(conformance.tests())


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    """A destination with faults that never happen: the suite must not see a difference."""
    options = LocalOptions(root=tmp_path)
    plain = Destination("local", LocalPlugin(), options, LocalPlugin().capabilities(options))
    with Subject(replace(plain, faults=RehearsalFaults(seed=1))) as subject:
        assert not isinstance(subject.backend, LocalBackend)
        yield subject


def memory(**faults: Any) -> tuple[Backend, str, list[float]]:
    name, slept = token_hex(4), []  # type: ignore[var-annotated]
    inside = MemoryBackend(MemoryOptions(space=name))
    return rehearse(inside, RehearsalFaults(**faults), slept.append), name, slept


def test_the_wrapper_has_the_abilities_of_what_is_inside_and_no_other() -> None:
    assert isinstance(memory()[0], PutsWhole) and isinstance(memory()[0], ListsParts)
    assert not isinstance(rehearse(LocalBackend(LocalOptions(root=Path("/x"))), RehearsalFaults()), ListsParts)


def test_a_call_fails_before_its_effect() -> None:
    backend, name, _ = memory(error_rate=1.0, error="throttled", retry_after=2.5)
    with pytest.raises(Throttled) as raised:
        backend.put_whole("key", BytesBody(b"x"), properties=P())  # type: ignore[attr-defined]
    assert raised.value.retry_after == 2.5
    assert space(name).objects == {}


def test_an_answer_is_lost_after_the_effect() -> None:
    backend, name, _ = memory(lost_rate=1.0)
    with pytest.raises(ConnectionFailed):
        backend.put_whole("key", BytesBody(b"x"), properties=P())  # type: ignore[attr-defined]
    assert space(name).read("key") == b"x"


def test_about_so_many_calls_fail_as_were_asked_for() -> None:
    backend, _, _ = memory(error_rate=0.3, seed=5)
    failed = 0
    for _ in range(1000):
        try:
            backend.stat("key")
        except Unavailable:
            failed += 1
    assert 250 < failed < 350


def test_a_connection_breaks_at_its_byte_and_nothing_is_stored(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3 * MIB))
    backend, name, _ = memory(cut_rate=1.0, cut_at=MIB + 1)
    with pytest.raises(ConnectionFailed, match=str(MIB + 1)):
        backend.put_whole("key", FileBody(tmp_path / "file", 0, 3 * MIB), properties=P())  # type: ignore[attr-defined]
    assert space(name).objects == {}


def test_a_changed_bit_is_stored_and_told_by_the_receipt() -> None:
    backend, _, _ = memory(corrupt_rate=1.0)
    session = backend.begin("key", size=3, part_size=3, properties=P())
    receipt = backend.put_part(session, 1, BytesBody(b"abc"))
    assert receipt.checksum != f"crc32c:{crc32c(b'abc')}"
    assert backend.complete(session, [receipt]).size == 3


def test_a_line_is_as_slow_as_it_was_asked_to_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(2 * MIB))
    backend, _, slept = memory(throttle=MIB, latency_seconds=0.25)
    backend.put_whole("key", FileBody(tmp_path / "file", 0, 2 * MIB), properties=P())  # type: ignore[attr-defined]
    assert sum(slept) == pytest.approx(2.25)


def test_a_body_that_is_wrong_by_itself_is_still_refused() -> None:
    backend, _, _ = memory(throttle=1)
    body = BytesBody(b"abc")
    body.crc32c = 1
    with pytest.raises(IntegrityError):
        backend.put_whole("key", body, properties=P())  # type: ignore[attr-defined]


def test_faults_are_a_table_of_any_destination(tmp_path: Path) -> None:
    (tmp_path / "plugins.toml").write_text(
        '[destinations.x]\nbackend = "memory"\n'
        'faults = { error_rate = 0.5, cut_at = "1MiB", throttle = "2MiB/s", seed = 1 }\n'
    )
    found = load(tmp_path / "plugins.toml", {}).destinations["x"]
    assert found.faults == RehearsalFaults(error_rate=0.5, cut_at=MIB, throttle=2 * MIB, seed=1)
    assert not isinstance(found.build(), MemoryBackend)
    plain = replace(found, faults=None)
    assert isinstance(plain.build(), MemoryBackend)
    assert plain.fingerprint == found.fingerprint, "a rehearsal is no other place"


def test_memory_is_what_it_was() -> None:
    assert isinstance(MemoryPlugin().build(MemoryOptions()), MemoryBackend)


# -- failures that are ordered one by one -----------------------------------------------------------------------------


def order(folder: Path, **what: Any) -> None:
    (folder / f"{len(list(folder.iterdir())):06}.json").write_text(json.dumps(what))


def test_an_order_is_met_once_by_the_call_that_it_is_for(tmp_path: Path) -> None:
    backend, _, _ = memory(orders=tmp_path)
    order(tmp_path, part=2, error="throttled", retry_after=2.5)
    session = backend.begin("key", size=2, part_size=1, properties=P())
    backend.put_part(session, 1, BytesBody(b"a"))
    with pytest.raises(Throttled) as raised:
        backend.put_part(session, 2, BytesBody(b"b"))
    assert raised.value.retry_after == 2.5
    backend.put_part(session, 2, BytesBody(b"b"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_sent_whole_is_part_1(tmp_path: Path) -> None:
    backend, _, _ = memory(orders=tmp_path)
    order(tmp_path, part=2)
    order(tmp_path, part=1)
    with pytest.raises(Unavailable):
        backend.put_whole("key", BytesBody(b"x"), properties=P())  # type: ignore[attr-defined]
    assert [path.name for path in tmp_path.iterdir()] == ["000000.json"]


@pytest.mark.parametrize("text", ["{", '{"part": "two"}', '{"sort": "throttled"}', '{"error": "trottled"}'])
def test_an_order_that_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    backend, _, _ = memory(orders=tmp_path)
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(PermanentError, match="ordered"):
        backend.put_whole("key", BytesBody(b"x"), properties=P())  # type: ignore[attr-defined]
