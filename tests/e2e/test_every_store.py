"""256 MiB to each kind of store, with a worker killed in the middle: byte-identical, and nothing left behind."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests import servers
from tests.backends import azure_servers, gcs_servers, generic_servers
from tests.backends.generic_servers import FileServer
from tests.e2e.stack import MakeStack, Stack
from tests.servers import eventually

SIZE = 256 << 20
KEY = "films/夏 holiday.mp4"

Look = Callable[[], tuple[str, list[str]]]
"""The SHA-256 of the object, behind everybody's back, and the names of whatever else is there."""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film"
    block = random.Random(1).randbytes(1 << 20)
    with path.open("wb") as file:
        for number in range(SIZE >> 20):
            file.write(number.to_bytes(8, "big") + block[8:])
    return path


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def in_folder(root: Path) -> Look:
    def look() -> tuple[str, list[str]]:
        others = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path != root / KEY]
        return digest(root / KEY), others

    return look


@contextmanager
def of_files(server: FileServer) -> Iterator[tuple[str, Look]]:
    yield server.toml("store"), in_folder(server.root)


@contextmanager
def s3(folder: Path) -> Iterator[tuple[str, Look]]:
    with servers.rclone(folder) as server:
        bucket = server.make_bucket("films")
        assert server.root is not None
        yield server.toml("store", bucket), in_folder(server.root / bucket)


@contextmanager
def gcs(folder: Path) -> Iterator[tuple[str, Look]]:
    with gcs_servers.fake_gcs(folder) as url:

        def look() -> tuple[str, list[str]]:
            listed = httpx.get(f"{url}/storage/v1/b/{gcs_servers.BUCKET}/o", trust_env=False).json().get("items", [])
            whole = hashlib.sha256()
            [address] = [one["mediaLink"] for one in listed if one["name"] == KEY]
            with httpx.stream("GET", address, trust_env=False, timeout=60) as answer:
                for block in answer.iter_bytes(1 << 20):
                    whole.update(block)
            return whole.hexdigest(), [one["name"] for one in listed if one["name"] != KEY]

        table = f'endpoint_url = "{url}"\nbucket = "{gcs_servers.BUCKET}"\ntoken = "anon"\n'
        yield f'[destinations.store]\nbackend = "gcs"\n{table}', look


@contextmanager
def azure(folder: Path) -> Iterator[tuple[str, Look]]:
    with azure_servers.azurite(folder) as url:

        def look() -> tuple[str, list[str]]:
            with azure_servers.container(url) as client:
                names = [blob.name for blob in client.list_blobs(include=["uncommittedblobs"])]
                whole = hashlib.sha256()
                for block in client.download_blob(KEY).chunks():
                    whole.update(block)
            return whole.hexdigest(), [name for name in names if name != KEY]

        lines = [f'{name} = "{value}"' for name, value in azure_servers.options(url).items()]
        yield "\n".join(["[destinations.store]", 'backend = "azure"', *lines, ""]), look


@pytest.fixture(params=["s3", "gcs", "azure", "sftp", "sshfs", "smb", "ftp", "webdav"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Look]]:
    """The table of a destination, and how to look at it."""
    folder = tmp_path / "store"
    with ExitStack() as ending:
        if request.param in ("s3", "gcs", "azure"):
            yield ending.enter_context({"s3": s3, "gcs": gcs, "azure": azure}[request.param](folder))
            return
        make = {
            "sftp": generic_servers.sshd,
            "sshfs": generic_servers.sshd,
            "smb": generic_servers.smbd,
            "ftp": generic_servers.ftpd,
            "webdav": generic_servers.wsgidav,
        }[request.param]
        server = ending.enter_context(make(folder))
        if request.param == "sshfs":
            server = generic_servers.as_sshfs(server)
        yield ending.enter_context(of_files(server))


def midway(stack: Stack, job: str) -> bool:
    """A quarter is stored; or, where a file goes in one piece, it is on its way."""
    [transfer] = stack.talk.job(job)["transfers"]
    if transfer["parts"]["total"] == 1:
        return bool(transfer["parts"]["in_flight"] == 1)
    return bool(transfer["sent"] >= SIZE // 4)


def test_a_worker_killed_midway_costs_only_what_it_had_in_hand(
    make_stack: MakeStack, store: tuple[str, Look], film: Path
) -> None:
    table, look = store
    stack = make_stack(table, BUCKETLINE_THREADS="4").start()
    with film.open("rb") as file:
        job = stack.talk.submit(iter(lambda: file.read(1 << 20), b""), key=KEY)["id"]
    eventually(lambda: midway(stack, job), "the upload is under way", 60)
    stack.processes[0].kill()
    stack.worker()

    found = stack.check_end(job)
    found_digest, others = look()
    assert found_digest == digest(film)
    assert others == [], "something is left behind"
    [transfer] = found["transfers"]
    assert transfer["verified_by"] in ("checksum", "part_checksums", "read_back")
    total = transfer["parts"]["total"]
    assert transfer["attempts"] <= (total + 2 if total > 1 else 1) + 4 + 2, "more than what was in hand was sent again"
    assert os.path.getsize(film) == found["size"]


def test_where_the_size_is_enough_the_job_says_so_and_shows_no_checksum(make_stack: MakeStack, tmp_path: Path) -> None:
    with generic_servers.sshd(tmp_path / "store") as plain:
        server = replace(plain, more={"verify": "size"})
        stack = make_stack(server.toml("store")).start()
        data = os.urandom(3 << 20)

        found = stack.check_end(stack.talk.submit(data, key=KEY)["id"])

        [transfer] = found["transfers"]
        assert (transfer["verified_by"], transfer["checksum"]) == ("size", None)
        assert (server.root / KEY).read_bytes() == data
