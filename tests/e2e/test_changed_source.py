"""The source is not what was accepted: the spool file changed, or a file that stays at its path. It never succeeds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.e2e.provider import PART, Provider
from tests.e2e.stack import MakeStack, Stack


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(1)
        file.seek(at)
        file.write(bytes([old[0] ^ 1]))


def cut(path: Path, at: int) -> None:
    os.truncate(path, at)


@pytest.mark.parametrize("spoil", [flip, cut])
@pytest.mark.parametrize("large", [True, False], ids=["in parts", "small"])
def test_a_spool_file_that_changed_after_it_was_accepted(
    large: bool, spoil: Callable[[Path, int], None], make_stack: MakeStack, provider: Provider, five_parts: bytes
) -> None:
    stack = make_stack('default = "s3"\n' + provider.table("s3")).start(workers=0)
    content = five_parts if large else b"small"
    job = stack.talk.submit(content, key="film")["id"]
    path = stack.spool / "jobs" / f"{job}.data" if large else stack.packs()[0]
    spoil(path, path.read_bytes().index(content) + len(content) // 2)
    stack.worker()
    found = stack.check_end(job, "failed")
    assert found["error"]["code"] in ("source_corrupt", "source_gone"), found["error"]
    assert large or spoil is cut or found["error"]["code"] == "source_corrupt"
    assert found["error"]["retryable"] is False
    assert not provider.path("film").exists()
    assert provider.sessions() == []


def test_a_spool_file_that_vanished(make_stack: MakeStack, provider: Provider, five_parts: bytes) -> None:
    stack = make_stack('default = "s3"\n' + provider.table("s3")).start(workers=0)
    job = stack.talk.submit(five_parts, key="film")["id"]
    (stack.spool / "jobs" / f"{job}.data").unlink()
    stack.worker()
    found = stack.check_end(job, "failed")
    assert found["error"]["code"] in ("source_gone", "source_corrupt"), found["error"]
    assert provider.sessions() == []


class TestAFileThatStaysAtItsPath:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = tmp_path / "uploads"
        root.mkdir()
        return root

    @pytest.fixture
    def stack(self, make_stack: MakeStack, provider: Provider, root: Path) -> Stack:
        return make_stack('default = "s3"\n' + provider.table("s3"), BUCKETLINE_SOURCE_ROOTS=str(root)).start()

    def submit(self, stack: Stack, path: Path | str, **options: str) -> httpx.Response:
        return stack.talk.http.post("/v1/jobs", json={"source": {"path": str(path)}, **options})

    def test_it_is_sent_from_where_it_is(self, stack: Stack, provider: Provider, root: Path, five_parts: bytes) -> None:
        film = root / "film.mp4"
        film.write_bytes(five_parts)
        answer = self.submit(stack, film, key="film")
        assert answer.status_code == 202, answer.text
        found = stack.check_end(answer.json()["id"])
        assert (found["name"], found["source"]["kind"]) == ("film.mp4", "path")
        assert provider.read("film") == film.read_bytes() == five_parts
        assert stack.spooled() == []

    def test_it_changes_midway(self, stack: Stack, provider: Provider, root: Path, five_parts: bytes) -> None:
        film = root / "film.mp4"
        film.write_bytes(five_parts)
        gates = [provider.stop_at("before", "part", number) for number in (1, 2)]
        answer = self.submit(stack, film, key="film")
        for gate in gates:
            gate.wait("both threads are busy")
        film.write_bytes(five_parts[: 3 * PART] + bytes(len(five_parts) - 3 * PART))
        for gate in gates:
            gate.open()
        found = stack.check_end(answer.json()["id"], "failed")
        assert found["error"]["code"] == "source_changed"
        assert not provider.path("film").exists()
        assert provider.sessions() == []

    def test_paths_that_may_not_be_read(self, stack: Stack, root: Path, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"secret")
        (root / "link").symlink_to(tmp_path / "secret")
        (root / "folder").mkdir()
        os.mkfifo(root / "pipe")
        paths = ["/etc/passwd", root / ".." / "secret", root / "link", root / "folder", root / "pipe", "relative"]
        for path in [*paths, root / "missing"]:
            answer = self.submit(stack, path)
            assert answer.status_code == 422, path
            assert answer.json()["errors"][0]["pointer"] == "/source/path", path
            assert b"secret" not in answer.content.replace(os.fsencode(path), b"")
        assert stack.spooled() == []
