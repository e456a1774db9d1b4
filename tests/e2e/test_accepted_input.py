"""What must work although it is unusual: empty files, names in any script, several files, keys that are taken."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.provider import Provider
from tests.e2e.stack import Stack

NAMES = [
    "plain.txt",
    "with space and+plus.txt",
    "Žluťoučký kůň.txt",
    "文件 ファイル.bin",
    "ملف.pdf",
    "👩‍👩‍👧 family.jpg",
    "e\u0301 decomposed.txt",
    "100%25 & more?#[x].txt",
    "'quotes\" and;semi=colon.txt",
]


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with Provider(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def stack(provider: Provider) -> Iterator[Stack]:
    tables = '[destinations.disk]\nbackend = "local"\nroot = "objects"\n' + provider.table("s3")
    with Stack(f'default = "both"\n{tables}[routes.both]\nmirror = ["disk", "s3"]\n') as one:
        yield one.start()


def copies(stack: Stack, provider: Provider, key: str) -> list[bytes]:
    return [(stack.directory / "objects" / key).read_bytes(), provider.read(key)]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_any_script(name: str, stack: Stack, provider: Provider) -> None:
    answer = stack.talk.http.put(f"/v1/objects/both/names/{quote(name, safe='')}", content=name.encode())
    assert answer.status_code == 202, answer.text
    found = stack.check_end(answer.json()["id"])
    assert (found["name"], found["key"]) == (name, f"names/{name}")
    assert copies(stack, provider, f"names/{name}") == [name.encode()] * 2


def test_an_empty_file(stack: Stack, provider: Provider) -> None:
    job = stack.talk.submit(b"", key="empty")["id"]
    found = stack.check_end(job)
    assert (found["size"], found["sent"]) == (0, 0)
    assert copies(stack, provider, "empty") == [b"", b""]


def test_an_unknown_length(stack: Stack, provider: Provider) -> None:
    pieces = [bytes([number]) * 300_000 for number in range(40)]
    job = stack.talk.submit(iter(pieces), key="chunked")["id"]
    stack.check_end(job)
    assert copies(stack, provider, "chunked") == [b"".join(pieces)] * 2


def test_a_right_checksum(stack: Stack) -> None:
    content = b"what it says" * 1000
    told = f"sha256:{hashlib.sha256(content).hexdigest()}"
    job = stack.talk.submit(content, key="checked", checksum=told)["id"]
    assert stack.check_end(job)["checksums"]["sha256"] == told.removeprefix("sha256:")


def test_several_files_in_one_form(stack: Stack, provider: Provider) -> None:
    files = [("file", (f"{number}.txt", f"file {number}".encode() * number)) for number in range(1, 6)]
    answer = stack.talk.http.post("/v1/jobs", data={"key_template": "form/{name}", "labels": '{"a": "b"}'}, files=files)
    assert answer.status_code == 202, answer.text
    jobs = answer.json()["jobs"]
    assert [job["name"] for job in jobs] == [f"{number}.txt" for number in range(1, 6)]
    for number, job in enumerate(jobs, 1):
        assert stack.check_end(job["id"])["labels"] == {"a": "b"}
        assert copies(stack, provider, f"form/{number}.txt") == [f"file {number}".encode() * number] * 2


LARGE = 6 << 20  # two parts at S3


@pytest.mark.parametrize("size", [10, LARGE], ids=["small", "in parts"])
@pytest.mark.parametrize("destination", ["disk", "s3"])
class TestAKeyThatIsTaken:
    def first(self, stack: Stack, destination: str, size: int, key: str) -> bytes:
        content = b"1" * size
        stack.check_end(stack.talk.submit(content, key=key, destinations=destination)["id"])
        return content

    def stored(self, stack: Stack, provider: Provider, destination: str, key: str) -> Path:
        return stack.directory / "objects" / key if destination == "disk" else provider.path(key)

    def test_replace(self, destination: str, size: int, stack: Stack, provider: Provider) -> None:
        key = f"replace-{destination}-{size}.bin"
        self.first(stack, destination, size, key)
        stack.check_end(stack.talk.submit(b"2" * size, key=key, destinations=destination)["id"])
        assert self.stored(stack, provider, destination, key).read_bytes() == b"2" * size

    def test_fail(self, destination: str, size: int, stack: Stack, provider: Provider) -> None:
        key = f"fail-{destination}-{size}.bin"
        content = self.first(stack, destination, size, key)
        job = stack.talk.submit(b"2" * size, key=key, destinations=destination, on_conflict="fail")["id"]
        assert stack.check_end(job, "failed")["error"]["code"] == "object_exists"
        assert self.stored(stack, provider, destination, key).read_bytes() == content
        assert provider.sessions() == []

    def test_rename(self, destination: str, size: int, stack: Stack, provider: Provider) -> None:
        key = f"rename-{destination}-{size}.bin"
        content = self.first(stack, destination, size, key)
        job = stack.talk.submit(b"2" * size, key=key, destinations=destination, on_conflict="rename")["id"]
        found = stack.check_end(job)
        assert found["transfers"][0]["url"].endswith(f"rename-{destination}-{size}-1.bin")
        assert self.stored(stack, provider, destination, key).read_bytes() == content
        renamed = self.stored(stack, provider, destination, key.replace(".bin", "-1.bin"))
        assert renamed.read_bytes() == b"2" * size

    def test_skip_same(self, destination: str, size: int, stack: Stack, provider: Provider) -> None:
        key = f"skip-{destination}-{size}.bin"
        content = self.first(stack, destination, size, key)
        stored = self.stored(stack, provider, destination, key)
        made = stored.stat().st_ino
        same = stack.talk.submit(content, key=key, destinations=destination, on_conflict="skip_same")["id"]
        assert stack.check_end(same)["transfers"][0]["verified_by"] == "skip_same"
        assert stored.stat().st_ino == made, "the same bytes were written again"
        other = stack.talk.submit(b"2" * size, key=key, destinations=destination, on_conflict="skip_same")["id"]
        assert stack.check_end(other)["transfers"][0]["verified_by"] != "skip_same"
        assert stored.read_bytes() == b"2" * size
