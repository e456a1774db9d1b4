"""tus 1.0.0 on real API processes: each rule, breaks of every kind, and a stock client."""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.tus_headers import capabilities
from tests.backends.proxy import Proxy
from tests.e2e.stack import PATIENCE, Stack
from tests.servers import eventually, needs, program

CHUNK = "application/offset+octet-stream"
V = {"Tus-Resumable": "1.0.0"}
MAX = 4 << 20
Bucket = tuple[Stack, Path]


def _plugins(root: Path) -> str:
    return f'default = "disk"\n[destinations.disk]\nbackend = "local"\nroot = "{root}"\n'


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """Two API processes, a worker, and a directory as the destination."""
    root = tmp_path_factory.mktemp("tus")
    with Stack(_plugins(root), BUCKETLINE_API_PROCESSES="2", BUCKETLINE_MAX_SIZE=str(MAX)) as stack:
        yield stack.start(), root


@pytest.fixture
def http(bucket: Bucket) -> httpx.Client:
    return bucket[0].talk.http


def create(http: httpx.Client, length: int | None = None, content: bytes = b"", **headers: str) -> httpx.Response:
    if length is not None:
        headers["Upload-Length"] = str(length)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post("/v1/tus", headers=V | headers, content=content)


def made(http: httpx.Client, length: int | None = None, **headers: str) -> str:
    answer = create(http, length, **headers)
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"]


def patch(http: httpx.Client, url: str, offset: object, content: Any, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.patch(url, headers=V | {"Content-Type": CHUNK, "Upload-Offset": str(offset)} | named, content=content)


def offset(http: httpx.Client, url: str) -> int:
    answer = http.head(url, headers=V)
    assert answer.status_code == 200
    return int(answer.headers["Upload-Offset"])


def meta(**pairs: str) -> str:
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in pairs.items())


def raw(stack: Stack, url: str, offset: int, promised: int, content: bytes, *more: str) -> socket.socket:
    """A PATCH whose body stops after `content`."""
    address = urlsplit(stack.talk.url)
    wire = socket.create_connection((address.hostname, address.port))
    head = f"PATCH {url} HTTP/1.1\r\nHost: {address.netloc}\r\nTus-Resumable: 1.0.0\r\nContent-Type: {CHUNK}\r\n"
    head += "".join(f"{line}\r\n" for line in (f"Upload-Offset: {offset}", f"Content-Length: {promised}", *more))
    wire.sendall(f"{head}\r\n".encode() + content)
    return wire


# -- what the server says of itself -----------------------------------------------------------------------------------


def test_options(http: httpx.Client) -> None:
    answer = http.options("/v1/tus")
    assert answer.status_code == 204
    _says_what_it_can(answer)
    assert "Access-Control-Allow-Origin" not in answer.headers, "only sites that are named"


def _says_what_it_can(answer: httpx.Response) -> None:
    assert answer.headers["Tus-Version"] == answer.headers["Tus-Resumable"] == "1.0.0"
    assert answer.headers["Tus-Max-Size"] == str(MAX)
    assert answer.headers["Tus-Checksum-Algorithm"] == "sha1,sha256,md5,crc32c"
    assert {"creation-with-upload", "concatenation"} <= set(answer.headers["Tus-Extension"].split(","))


def test_without_a_limit_the_largest_there_can_be_is_told() -> None:
    assert capabilities(None)["Tus-Max-Size"] == str(1 << 62)


@pytest.mark.parametrize("length", ["9223372036854775807", "9" * 30])
def test_a_length_that_no_file_has(http: httpx.Client, length: str) -> None:
    assert http.post("/v1/tus", headers=V | {"Upload-Length": length}).status_code == 413


def test_a_slash_behind_the_address(http: httpx.Client) -> None:
    assert http.options("/v1/tus/").status_code == 204
    answer = http.post("/v1/tus/", headers=V | {"Upload-Length": "3", "Content-Type": CHUNK}, content=b"abc")
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (201, "3")


@pytest.mark.parametrize("version", [None, "0.2.2"])
def test_another_version_is_refused(http: httpx.Client, version: str | None) -> None:
    url = made(http, 3)
    given = {"Tus-Resumable": version} if version else {}
    body = {"Content-Type": CHUNK, "Upload-Offset": "0"}
    for answer in (
        http.patch(url, headers=given | body, content=b"abc"),
        http.post("/v1/tus", headers=given | {"Upload-Length": "3"}),
        http.delete(url, headers=given),
    ):
        assert answer.status_code == 412
        assert answer.headers["Tus-Version"] == answer.headers["Tus-Resumable"] == "1.0.0"
    assert offset(http, url) == 0
    assert http.head(url).status_code == 200, "looking needs no version"


def test_pages_of_the_sites_that_are_named_may_upload(tmp_path: Path) -> None:
    """The preflight needs no key, everything else does; a refusal can be read as well."""
    page = {"Origin": "https://films.example"}
    named = {"BUCKETLINE_API_KEY": "k" * 32, "BUCKETLINE_CORS_ORIGINS": page["Origin"]}
    with Stack(_plugins(tmp_path), BUCKETLINE_MAX_SIZE=str(MAX), **named) as stack:
        stack.start(workers=0)
        http, wanted = (
            stack.talk.http,
            "authorization,tus-resumable,upload-length,x-http-method-override,x-requested-with",
        )
        asks = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": wanted}
        preflight = http.options("/v1/tus/some", headers=page | asks)
        assert preflight.status_code == 204
        _says_what_it_can(preflight)
        assert preflight.headers["Access-Control-Allow-Origin"] == page["Origin"]
        assert {"HEAD", "PATCH", "DELETE"} <= set(preflight.headers["Access-Control-Allow-Methods"].split(", "))
        assert preflight.headers["Access-Control-Allow-Headers"] == wanted
        _says_what_it_can(http.options("/v1/tus", headers=page))
        stranger = http.options("/v1/tus", headers=asks | {"Origin": "https://other.example"})
        assert "Access-Control-Allow-Origin" not in stranger.headers
        refused = http.post("/v1/tus", headers=V | page | {"Upload-Length": "1"})
        assert (refused.status_code, refused.headers["Tus-Resumable"]) == (401, "1.0.0")
        assert refused.headers["Access-Control-Allow-Origin"] == page["Origin"]
        key = {"Authorization": "Bearer " + "k" * 32}
        answer = http.post("/v1/tus", headers=V | page | key | {"Upload-Length": "1"})
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (201, page["Origin"])
        exposed = set(answer.headers["Access-Control-Expose-Headers"].split(", "))
        assert {name for name in answer.headers if name.startswith(("tus-", "upload-"))} <= {
            it.lower() for it in exposed
        }
        assert {"Location", "Bucketline-Job", "Upload-Offset", "Upload-Concat"} <= exposed


# -- creation ---------------------------------------------------------------------------------------------------------


def test_creation(http: httpx.Client) -> None:
    answer = create(http, 5)
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/tus/{answer.headers['Bucketline-Job']}"
    assert answer.headers["Upload-Expires"].endswith("GMT")
    assert http.get(f"/v1/jobs/{answer.headers['Bucketline-Job']}").json()["state"] == "receiving"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 400),
        ({"Upload-Length": "1", "Upload-Defer-Length": "1"}, 400),
        ({"Upload-Length": "-1"}, 400),
        ({"Upload-Length": "many"}, 400),
        ({"Upload-Defer-Length": "2"}, 400),
        ({"Upload-Length": str(MAX + 1)}, 413),
        ({"Upload-Length": "1", "Upload-Metadata": meta(destinations="nowhere")}, 422),
        ({"Upload-Length": "1", "Upload-Metadata": meta(on_conflict="perhaps")}, 422),
    ],
)
def test_refused_creation(http: httpx.Client, headers: dict[str, str], status: int) -> None:
    answer = create(http, **headers)
    assert answer.status_code == status, answer.text
    assert "Location" not in answer.headers
    assert answer.headers["Tus-Resumable"] == "1.0.0"


def test_nothing_is_complete_at_once(http: httpx.Client, bucket: Bucket) -> None:
    answer = create(http, 0, Upload_Metadata=meta(key="nothing"))
    assert answer.status_code == 201
    assert "Upload-Expires" not in answer.headers
    bucket[0].talk.until(answer.headers["Bucketline-Job"], "succeeded")
    assert (bucket[1] / "nothing").read_bytes() == b""


def test_creation_with_upload(http: httpx.Client, bucket: Bucket) -> None:
    answer = create(http, 5, b"he", Content_Type=CHUNK, Upload_Metadata=meta(key="with"))
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (201, "2")
    assert patch(http, answer.headers["Location"], 2, b"llo").headers["Upload-Offset"] == "5"
    bucket[0].talk.until(answer.headers["Bucketline-Job"], "succeeded")
    assert (bucket[1] / "with").read_bytes() == b"hello"


@pytest.mark.parametrize("media_type", ["text/plain", "application/json"])
def test_a_body_of_another_type_is_ignored(http: httpx.Client, media_type: str) -> None:
    answer = create(http, 5, b"hello" * 20_000, Content_Type=media_type)
    assert answer.status_code == 201
    assert "Upload-Offset" not in answer.headers
    assert offset(http, answer.headers["Location"]) == 0


def test_creation_with_too_much_leaves_nothing(http: httpx.Client) -> None:
    answer = create(http, 2, b"hello", Content_Type=CHUNK)
    assert answer.status_code == 413
    assert "Location" not in answer.headers


def test_metadata(http: httpx.Client, bucket: Bucket) -> None:
    given = meta(filename="a film.mp4", filetype="video/mp4", relativePath="x", labels="a=b") + ", bare, bad %%%"
    url = made(http, 1, Upload_Metadata=given)
    assert http.head(url, headers=V).headers["Upload-Metadata"] == given
    assert patch(http, url, 0, b"x").status_code == 204
    job = bucket[0].talk.until(url.rpartition("/")[2], "succeeded")
    assert (job["name"], job["content_type"], job["labels"]) == ("a film.mp4", "video/mp4", {"a": "b"})
    assert create(http, 1, Upload_Metadata="").status_code == 201, "tuspy sends an empty one"


def test_deferred_length(http: httpx.Client) -> None:
    url = made(http, Upload_Defer_Length="1")
    looked = http.head(url, headers=V).headers
    assert looked["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in looked
    assert patch(http, url, 0, b"abc").status_code == 204
    assert patch(http, url, 3, b"", Upload_Length="2").status_code == 413
    assert patch(http, url, 3, b"", Upload_Length=str(MAX + 1)).status_code == 413
    assert patch(http, url, 3, b"d", Upload_Length="5").status_code == 204
    assert patch(http, url, 4, b"", Upload_Length="6").status_code == 400, "accepted once"
    assert patch(http, url, 4, b"e").status_code == 204
    assert http.head(url, headers=V).headers["Upload-Length"] == "5"


# -- chunks -----------------------------------------------------------------------------------------------------------


def test_chunks_become_a_job(http: httpx.Client, bucket: Bucket) -> None:
    content = bytes(range(256)) * 12_000
    checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
    url = made(http, len(content), Upload_Metadata=meta(key="chunks", checksum=checksum))
    for start in range(0, len(content), 1_000_000):
        answer = patch(http, url, start, content[start : start + 1_000_000])
        assert answer.status_code == 204, answer.text
        assert ("Upload-Expires" in answer.headers) == (start + 1_000_000 < len(content))
    assert offset(http, url) == len(content)
    bucket[0].talk.until(url.rpartition("/")[2], "succeeded")
    assert (bucket[1] / "chunks").read_bytes() == content
    assert http.head(url, headers=V).headers["Cache-Control"] == "no-store"
    assert offset(http, url) == len(content), "also when its bytes have left the spool"


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"Content-Type": "text/plain"}, b"x", 415),
        ({"Upload-Offset": "x"}, b"x", 400),
        ({"Upload-Offset": "-1"}, b"x", 400),
        ({"Upload-Offset": "3"}, b"x", 409),
        ({"Upload-Offset": "0"}, b"x", 409),
        ({}, b"12345", 413),
        ({}, iter([b"12", b"345"]), 413),
        ({"Upload-Checksum": "sha999 AAAA"}, b"x", 400),
        ({"Upload-Checksum": "sha1 ?"}, b"x", 400),
        ({"Upload-Checksum": "md5 " + base64.b64encode(bytes(16)).decode()}, b"x", 460),
        ({"Content-Digest": "sha-256=::"}, b"x", 400),
        ({"Content-Digest": f"sha-256=:{base64.b64encode(bytes(32)).decode()}:"}, b"x", 422),
        ({"Content-Digest": f"sha-512=:{base64.b64encode(bytes(64)).decode()}:"}, b"bcde", 422),
    ],
)
def test_refused_chunk(http: httpx.Client, headers: dict[str, str], content: Any, status: int) -> None:
    url = made(http, 5)
    assert patch(http, url, 0, b"a").status_code == 204
    answer = patch(http, url, 1, content, **headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert offset(http, url) == 1


def test_a_chunk_needs_an_offset(http: httpx.Client) -> None:
    assert http.patch(made(http, 1), headers=V | {"Content-Type": CHUNK}, content=b"x").status_code == 400


def test_the_digest_of_a_chunk(http: httpx.Client) -> None:
    url = made(http, 5)
    for at, text in ((0, b"ab"), (2, b"cde")):
        digest = base64.b64encode(hashlib.sha256(text).digest()).decode()
        assert patch(http, url, at, text, Content_Digest=f"sha-256=:{digest}:").status_code == 204
    assert offset(http, url) == 5

    wrong = {"Content-Digest": f"sha-256=:{base64.b64encode(bytes(32)).decode()}:", "Content-Type": CHUNK}
    answer = http.post("/v1/tus", headers=V | {"Upload-Length": "5"} | wrong, content=b"abcde")
    assert (answer.status_code, answer.json()["code"]) == (422, "checksum_mismatch")
    assert "Location" not in answer.headers


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5", "crc32c"])
def test_checksums(http: httpx.Client, algorithm: str) -> None:
    text = b"123456789"
    digest = bytes.fromhex("e3069283") if algorithm == "crc32c" else hashlib.new(algorithm, text).digest()
    url = made(http, 10)
    answer = patch(http, url, 0, text, Upload_Checksum=f"{algorithm} {base64.b64encode(digest).decode()}")
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, "9")


def test_the_checksum_of_the_whole_is_an_option(http: httpx.Client) -> None:
    url = made(http, 1, Upload_Metadata=meta(checksum="sha256:" + "0" * 64))
    assert patch(http, url, 0, b"x").status_code == 422
    assert http.head(url, headers=V).status_code == 410


@pytest.mark.parametrize("name", ["00000000-0000-0000-0000-000000000000", "..", "%2e%2e%2fjobs"])
def test_unknown(http: httpx.Client, name: str) -> None:
    assert http.head(f"/v1/tus/{name}", headers=V).status_code == 404
    assert patch(http, "/v1/tus/00000000-0000-0000-0000-000000000000", 0, b"x").status_code == 404


def test_termination(http: httpx.Client, bucket: Bucket) -> None:
    url = made(http, 5)
    assert patch(http, url, 0, b"abc").status_code == 204
    assert http.delete(url, headers=V).status_code == 204
    assert http.delete(url, headers=V).status_code == 410
    assert http.head(url, headers=V).status_code == 410
    job = bucket[0].talk.job(url.rpartition("/")[2])
    assert (job["state"], job["received"]) == ("cancelled", 3)
    assert not (bucket[0].spool / "tus" / job["id"]).exists()
    assert patch(http, url, 3, b"de").status_code == 410


def test_method_override(http: httpx.Client) -> None:
    url = made(http, 3)
    headers = V | {"Content-Type": CHUNK, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert http.post(url, headers=headers, content=b"ab").headers["Upload-Offset"] == "2"
    assert http.post(url, headers=V | {"X-HTTP-Method-Override": "DELETE"}).status_code == 204
    assert http.post(url, headers=V).status_code == 405


# -- concatenation ----------------------------------------------------------------------------------------------------


def part(http: httpx.Client, content: bytes, length: int | None = None) -> str:
    url = made(http, len(content) if length is None else length, Upload_Concat="partial")
    assert patch(http, url, 0, content).status_code == 204
    return url


def test_partial_uploads_are_joined(http: httpx.Client, bucket: Bucket) -> None:
    """They are no jobs; sent in any order, joined in the order that is said, by relative or absolute addresses."""
    stack, root = bucket
    contents = [bytes([number]) * (300_000 + number) for number in range(3)]
    urls = [part(http, content) for content in reversed(contents)][::-1]
    for url in urls:
        looked = http.head(url, headers=V).headers
        assert (looked["Upload-Concat"], looked["Upload-Length"]) == ("partial", looked["Upload-Offset"])
        assert "Bucketline-Job" not in looked
        assert http.get(f"/v1/jobs/{url.rpartition('/')[2]}").status_code == 404
    whole = b"".join(contents)
    sums = f"sha256:{hashlib.sha256(whole).hexdigest()}"
    concat = f"final;{urls[0]} {stack.talk.url}{urls[1]} https://proxy.example/files{urls[2]}"
    answer = create(http, Upload_Concat=concat, Upload_Metadata=meta(key="joined", checksum=sums))
    assert answer.status_code == 201, answer.text
    final = answer.headers["Location"]
    looked = http.head(final, headers=V).headers
    assert (looked["Upload-Concat"], looked["Upload-Length"]) == (concat, str(len(whole)))
    assert looked["Upload-Offset"] == str(len(whole))
    assert patch(http, final, len(whole), b"").status_code == 403
    assert stack.talk.until(answer.headers["Bucketline-Job"], "succeeded")["size"] == len(whole)
    assert (root / "joined").read_bytes() == whole
    assert not [one for one in (stack.spool / "tus").iterdir() if one.name in {url[8:] for url in urls}]

    again = create(http, Upload_Concat=concat, Upload_Metadata=meta(key="joined"))
    assert (again.status_code, again.headers["Location"]) == (201, final), "the answer may have been lost"
    reordered = create(http, Upload_Concat=f"final;{urls[1]} {urls[0]} {urls[2]}")
    assert reordered.status_code == 422, "they are used up"


def test_one_part_may_be_there_twice_and_another_be_empty(http: httpx.Client, bucket: Bucket) -> None:
    url, nothing = part(http, b"abc"), part(http, b"")
    answer = create(http, Upload_Concat=f"final;{url} {nothing} {url}", Upload_Metadata=meta(key="twice"))
    bucket[0].talk.until(answer.headers["Bucketline-Job"], "succeeded")
    assert (bucket[1] / "twice").read_bytes() == b"abcabc"


def test_the_parts_that_are_not_ready_are_named(http: httpx.Client, bucket: Bucket) -> None:
    ready, half, whole, gone = part(http, b"abc"), part(http, b"abc", 5), made(http, 3), part(http, b"x")
    deferred = made(http, Upload_Defer_Length="1", Upload_Concat="partial")
    assert http.delete(gone, headers=V).status_code == 204
    unknown = "/v1/tus/00000000-0000-0000-0000-000000000000"
    urls = [ready, half, whole, gone, deferred, unknown]
    answer = create(http, Upload_Concat="final;" + " ".join(urls), Upload_Metadata=meta(labels="of=unready"))
    assert (answer.status_code, "Location" in answer.headers) == (422, False)
    faults = {error["pointer"]: error["detail"] for error in answer.json()["errors"]}
    assert sorted(faults) == [f"/concat/{number}" for number in range(1, 6)]
    words = ["3 of 5 bytes", "no partial upload", "terminated", "0 of ? bytes", "unknown"]
    for (pointer, detail), word in zip(sorted(faults.items()), words, strict=True):
        assert word in detail, pointer
        assert urls[int(pointer[-1])][8:] in detail
    assert offset(http, ready) == 3, "it is still there"
    assert http.get("/v1/jobs?label.of=unready").json()["items"] == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Concat": "final"}, 400),
        ({"Upload-Concat": "final;"}, 400),
        ({"Upload-Concat": "whole"}, 400),
        ({"Upload-Concat": "final;/v1/jobs/x"}, 400),
        ({"Upload-Concat": "final;/v1/tus/../x"}, 400),
        ({"Upload-Concat": "final;/v1/tus/%2e%2e"}, 422),
        ({"Upload-Concat": "final;PART", "Upload-Length": "1"}, 400),
        ({"Upload-Concat": "final;PART", "Upload-Metadata": meta(destinations="nowhere")}, 422),
        ({"Upload-Concat": "final;PART", "Upload-Metadata": meta(checksum="sha256:" + "0" * 64)}, 422),
        ({"Upload-Concat": "final;PART PART PART PART PART"}, 413),
        ({"Upload-Concat": "partial"}, 400),
        ({"Upload-Concat": "partial", "Upload-Length": str(MAX + 1)}, 413),
    ],
)
def test_refused_concatenation(http: httpx.Client, bucket: Bucket, headers: dict[str, str], status: int) -> None:
    url = part(http, bytes(1 << 20)) if "PART" in headers["Upload-Concat"] else ""
    answer = create(http, **{name: value.replace("PART", url) for name, value in headers.items()})
    assert answer.status_code == status, answer.text
    assert "Location" not in answer.headers
    if url:
        receiving = http.get("/v1/jobs?state=receiving&limit=500").json()["items"]
        assert not [one for one in receiving if one["size"] == 1 << 20]
        assert offset(http, url) == 1 << 20
        answer = create(http, Upload_Concat=f"final;{url}")
        assert answer.status_code == 201, "it can be joined otherwise"


def test_a_final_upload_takes_no_bytes(http: httpx.Client) -> None:
    answer = create(http, None, b"more", Content_Type=CHUNK, Upload_Concat=f"final;{part(http, b'abc')}")
    assert (answer.status_code, "Location" in answer.headers) == (400, False)


def test_partial_uploads_break_and_go_on_like_others(http: httpx.Client, bucket: Bucket) -> None:
    url = made(http, 1000, Upload_Concat="partial")
    raw(bucket[0], url, 0, 1000, b"x" * 700).close()
    eventually(lambda: offset(http, url) == 700, "what came is kept")
    assert patch(http, url, 700, b"y" * 300).status_code == 204
    assert "Upload-Expires" in http.head(url, headers=V).headers
    assert http.delete(url, headers=V).status_code == 204
    assert http.head(url, headers=V).status_code == 410


@pytest.mark.parametrize("there", ["one note", "both notes", "half of the bytes", "all"])
def test_killed_while_joining(tmp_path: Path, there: str) -> None:
    """The job is made, once, and whoever asks again for it gets the same."""
    with Stack(_plugins(tmp_path)) as stack:
        stack.valkey.start()
        stack.environ["BUCKETLINE_REDIS_URL"] = stack.valkey.url
        wire = stack.wire()
        api = stack.api(**wire.environ)
        concat = f"final;{part(stack.talk.http, b'ab')} {part(stack.talk.http, b'cd')}"
        headers = {"Upload_Concat": concat, "Upload_Metadata": meta(key="joined")}
        gate = wire.stop_at("call", "accept")
        with ThreadPoolExecutor() as threads:
            answer = threads.submit(create, stack.talk.http, **headers)
            gate.wait("the file is durable")
            api.kill()
            with pytest.raises(httpx.TransportError):
                answer.result()
        gate.drop()
        uploads = stack.spool / "tus"
        if there != "all":
            _earlier(stack.spool, there)
        stack.api()
        stack.worker()
        again = create(stack.talk.http, **headers)
        assert again.status_code == 201
        stack.talk.until(again.headers["Bucketline-Job"], "succeeded")
        assert (tmp_path / "joined").read_bytes() == b"abcd"
        eventually(lambda: len(stack.talk.http.get("/v1/jobs").json()["items"]) == 1, "there is one job", PATIENCE)
        assert [path.name for path in uploads.iterdir() if path.suffix != ".json"] == []


def _earlier(spool: Path, there: str) -> None:
    """What is on the disk, put back to what was `there` earlier in the same join, and that a while ago."""
    uploads, jobs = spool / "tus", spool / "jobs"
    notes = {path: json.loads(path.read_bytes()) for path in uploads.glob("*.json")}
    (final,) = [path.stem for path, note in notes.items() if note.get("concat", "").startswith("final")]
    (jobs / f"{final}.data").rename(uploads / final)
    (jobs / f"{final}.json").unlink()
    os.truncate(uploads / final, {"half of the bytes": 2}.get(there, 0))
    if there == "one note":
        path, note = next((path, note) for path, note in notes.items() if note.pop("joined", ""))
        path.write_text(json.dumps(note))
    os.utime(uploads / final, times=(time.time() - 60,) * 2)


def test_joining_is_refused_where_there_is_no_room(tmp_path: Path) -> None:
    with Stack(_plugins(tmp_path), BUCKETLINE_SPOOL_LIMIT="5MiB") as stack:
        stack.start(workers=0)
        http = stack.talk.http
        urls = [part(http, bytes(3 << 19)) for _ in range(2)]
        assert create(http, Upload_Concat="final;" + " ".join(urls)).status_code == 507
        assert [offset(http, url) for url in urls] == [3 << 19, 3 << 19]
        assert http.get("/v1/jobs").json()["items"] == []


# -- breaks -----------------------------------------------------------------------------------------------------------


def test_a_disconnect_keeps_what_came(http: httpx.Client, bucket: Bucket) -> None:
    url = made(http, 1000)
    raw(bucket[0], url, 0, 1000, b"x" * 700).close()
    eventually(lambda: offset(http, url) == 700, "what came is kept")


def test_a_chunk_with_a_checksum_is_kept_whole_or_not_at_all(http: httpx.Client, bucket: Bucket) -> None:
    url = made(http, 3 << 20)
    file = bucket[0].spool / "tus" / url.rpartition("/")[2]
    checksum = f"Upload-Checksum: md5 {base64.b64encode(bytes(16)).decode()}"
    with raw(bucket[0], url, 0, 3 << 20, bytes(2 << 20), checksum):
        eventually(lambda: file.stat().st_size > 0, "bytes are in the file")
    assert offset(http, url) == 0


@pytest.mark.parametrize("verb", ["HEAD", "PATCH", "DELETE"])
def test_a_newer_request_interrupts_an_older_one(http: httpx.Client, bucket: Bucket, verb: str) -> None:
    """Whichever of the two processes has the older one."""
    url = made(http, 1000)
    with raw(bucket[0], url, 0, 1000, b"x" * 700) as older:
        eventually(lambda: bool(bucket[0].keys("tus:*:lock")), "the older one has begun")
        with httpx.Client(base_url=bucket[0].talk.url, trust_env=False, timeout=30) as newer:
            if verb == "PATCH":
                assert offset(newer, url) == 700
                assert patch(newer, url, 700, b"y" * 300).status_code == 204
            else:
                assert newer.request(verb, url, headers=V).status_code in (200, 204)
        older.settimeout(30)
        assert older.recv(100).startswith(b"HTTP/1.1 423 ")


def test_two_at_once_leave_the_file_whole(http: httpx.Client, bucket: Bucket) -> None:
    content = bytes(range(256)) * 4096
    url = made(http, len(content), Upload_Metadata=meta(key="race"))

    def send(_: int) -> None:
        with httpx.Client(base_url=bucket[0].talk.url, trust_env=False, timeout=60) as client:
            for _ in range(200):
                at = offset(client, url)
                if at == len(content):
                    return
                status = patch(client, url, at, content[at : at + 100_000]).status_code
                assert status in (204, 409, 423)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(send, range(4)))
    assert offset(http, url) == len(content)
    bucket[0].talk.until(url.rpartition("/")[2], "succeeded")
    assert (bucket[1] / "race").read_bytes() == content


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["right", "proved", "wrong sum", "wrong offset", "too long", "chunked too long", "cut", "look"]
        ),
        st.integers(0, 400),
    ),
    max_size=12,
)


@settings(max_examples=25)
@given(steps=STEPS)
def test_any_order_of_good_and_bad_chunks(bucket: Bucket, steps: list[tuple[str, int]]) -> None:
    """The offset is always what a model of the rules says; the file, in the end, what was sent."""
    stack, root = bucket
    http, content, at = stack.talk.http, bytes(i % 251 for i in range(1000)), 0
    url = made(http, len(content), Upload_Metadata=meta(key="model"))
    for step, size in [*steps, ("right", len(content))]:
        chunk = content[at : at + size]
        proof = hashlib.sha1(chunk if step == "proved" else chunk + b"!").digest()
        sums = {"Upload-Checksum": f"sha1 {base64.b64encode(proof).decode()}"}
        whole = at == len(content)
        if step in ("right", "proved"):
            answer = patch(http, url, at, chunk, **(sums if step == "proved" else {}))
            at += len(chunk)
            assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(at))
        elif step == "wrong sum":
            assert patch(http, url, at, chunk, **sums).status_code == (204 if whole else 460)
        elif step == "wrong offset":
            assert patch(http, url, at + 1 + size, b"").status_code == 409
        elif step == "too long":
            assert patch(http, url, at, bytes(len(content) - at + 1)).status_code == 413
        elif step == "chunked too long" and not whole:
            assert patch(http, url, at, iter([bytes(len(content) - at), b"!"])).status_code == 413
        elif step == "cut" and not whole:
            raw(stack, url, at, len(content) - at, content[at : at + min(size, len(content) - at - 1)]).close()
            at += min(size, len(content) - at - 1)
            eventually(lambda at=at: offset(http, url) == at, "what came before the cut is kept")  # type: ignore[misc]
        assert offset(http, url) == at
    stack.talk.until(url.rpartition("/")[2], "succeeded")
    assert (root / "model").read_bytes() == content


def test_a_killed_api_costs_nothing_that_arrived(tmp_path: Path) -> None:
    content = bytes(range(256)) * 16_384
    with Stack(_plugins(tmp_path)) as stack:
        stack.start()
        url = made(stack.talk.http, len(content), Upload_Metadata=meta(key="killed"))
        file = stack.spool / "tus" / url.rpartition("/")[2]
        with raw(stack, url, 0, len(content), content[: 3 << 20]):
            eventually(lambda: file.stat().st_size > 1 << 20, "bytes are in the file")
            stack.processes[-1].kill()
        stack.api()
        at = offset(stack.talk.http, url)
        assert at >= 1 << 20
        assert patch(stack.talk.http, url, at, content[at:]).status_code == 204
        stack.talk.until(url.rpartition("/")[2], "succeeded")
        assert (tmp_path / "killed").read_bytes() == content


def test_a_stock_client(bucket: Bucket, tmp_path: Path) -> None:
    """tuspy sends in chunks, is thrown away, and another one goes on."""
    needs(importlib.util.find_spec("tusclient") is not None, "tuspy")
    client: Any = importlib.import_module("tusclient.client")
    stack, root = bucket
    file = tmp_path / "film.bin"
    file.write_bytes(bytes(range(256)) * 8192)
    tus = client.TusClient(f"{stack.talk.url}/v1/tus")
    with file.open("rb") as stream:  # it leaves open what it opens itself
        first = tus.uploader(file_stream=stream, chunk_size=300_000, metadata={"key": "tuspy"}, upload_checksum=True)
        first.upload_chunk()
        again = tus.uploader(file_stream=stream, chunk_size=500_000, url=first.url)
        assert again.offset == 300_000
        again.upload()
        bare = tus.uploader(file_stream=stream)
        bare.upload()
    stack.talk.until(first.url.rpartition("/")[2], "succeeded")
    assert (root / "tuspy").read_bytes() == file.read_bytes()
    assert stack.talk.until(bare.url.rpartition("/")[2], "succeeded")["size"] == file.stat().st_size


CHUNKS = {"chunkSize": 5 << 20}


@pytest.mark.parametrize(
    ("package", "options"),
    [
        pytest.param("tus-js-client", {}, id="one"),
        pytest.param("tus-js-client", CHUNKS, id="chunks"),
        pytest.param("tus-js-client", {"parallelUploads": 3}, id="parts"),
        pytest.param("@uppy/tus", {}, id="uppy"),
        pytest.param("@uppy/tus", CHUNKS, id="uppy-chunks"),
    ],
)
def test_the_client_of_browsers_goes_on_after_every_cut(tmp_path: Path, package: str, options: dict[str, Any]) -> None:
    """tus-js-client, alone or inside of Uppy, behind a line that breaks twice."""
    modules = Path(sys.prefix) / "node" / "node_modules"
    needs((modules / package).is_dir(), package)
    node, file = program("node"), tmp_path / "film.bin"
    with file.open("wb") as stream:
        for number in range(48):
            stream.write(hashlib.sha256(bytes([number])).digest() * (1 << 15))
    with Stack(_plugins(tmp_path)) as stack:
        stack.start()
        size, key = file.stat().st_size, "/".join(["js", *options])
        with Proxy(urlsplit(stack.talk.url).port or 0) as proxy:
            told = json.dumps({"metadata": {"key": key, "filename": "film.bin"}, **options})
            script = "uppy_client.mjs" if package == "@uppy/tus" else "tus_client.cjs"
            command = [node, str(Path(__file__).with_name(script))]
            proxy.cut_after(size // 8, size // 4)
            done = subprocess.run(
                [*command, f"http://127.0.0.1:{proxy.port}/v1/tus", str(file), told],
                capture_output=True, text=True, env={**os.environ, "NODE_PATH": str(modules)}, timeout=PATIENCE,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert proxy.has_cut
        jobs = stack.talk.http.get("/v1/jobs").json()["items"]
        assert [(one["key"], one["size"]) for one in jobs] == [(key, size)]
        stack.talk.until(jobs[0]["id"], "succeeded")
        assert (tmp_path / key).read_bytes() == file.read_bytes()


def test_expiration(tmp_path: Path) -> None:
    with Stack(_plugins(tmp_path), BUCKETLINE_TUS_EXPIRE_SECONDS="1") as stack:
        stack.start()
        http = stack.talk.http
        url = made(http, 5)
        patch(http, url, 0, b"abc")
        job = url.rpartition("/")[2]
        file = stack.spool / "tus" / job
        eventually(lambda: http.head(url, headers=V).status_code == 410, "it expires")
        eventually(lambda: not file.exists(), "its bytes are removed")
        found = stack.check_end(job, "expired")
        assert (found["received"], found["size"]) == (3, 5)
        assert [one["id"] for one in http.get("/v1/jobs", params={"state": "expired"}).json()["items"]] == [job]
        eventually(lambda: http.head(url, headers=V).status_code == 404, "its address is forgotten")
        assert list((stack.spool / "tus").iterdir()) == []
        assert stack.talk.state(job) == "expired", "the job is not"
        assert http.delete(f"/v1/jobs/{job}").status_code == 204


def test_the_ledger_ends_what_its_node_no_longer_can(tmp_path: Path) -> None:
    """The spool is lost; the job does not stay `receiving` for ever."""
    with Stack(_plugins(tmp_path), BUCKETLINE_TUS_EXPIRE_SECONDS="1") as stack:
        stack.start()
        job = made(stack.talk.http, 5).rpartition("/")[2]
        stack.processes[-1].kill()
        with stack.valkey.client() as client:
            client.zadd("bucketline:receiving", {job: 1})  # hours later
        stack.api()
        stack.check_end(job, "expired")


def test_a_request_at_another_node_is_told_so(tmp_path: Path) -> None:
    with Stack(_plugins(tmp_path)) as stack:
        stack.start(workers=0)
        here = stack.talk.http
        url = made(here, 5)
        stack.api(BUCKETLINE_NODE="there", BUCKETLINE_SPOOL=str(stack.directory / "there"))
        there = stack.talk.http
        for answer in (there.head(url, headers=V), patch(there, url, 0, b"abc"), there.delete(url, headers=V)):
            assert (answer.status_code, answer.headers["Tus-Resumable"]) == (421, "1.0.0")
        problem = patch(there, url, 0, b"abc").json()
        assert problem["code"] == "wrong_node"
        assert "'here'" in problem["detail"]
        assert there.head("/v1/tus/00000000-0000-0000-0000-000000000000", headers=V).status_code == 404
        assert patch(here, url, 0, b"abc").status_code == 204


def test_a_cancelled_job_ends_its_upload(http: httpx.Client, bucket: Bucket) -> None:
    """While a chunk is coming, and between two of them."""
    url = made(http, 3 << 20)
    job = url.rpartition("/")[2]
    with raw(bucket[0], url, 0, 3 << 20, bytes(2 << 20)) as wire:
        eventually(lambda: bucket[0].talk.job(job)["received"] > 0, "its progress shows")
        bucket[0].talk.tell(job, "cancel")
        wire.sendall(bytes(1 << 19))
        wire.settimeout(30)
        wire.sendall(bytes(1 << 19))
        assert wire.recv(100).startswith(b"HTTP/1.1 410 ")
    assert http.head(url, headers=V).status_code == 410
    url = made(http, 5)
    bucket[0].talk.tell(url.rpartition("/")[2], "cancel")
    assert http.head(url, headers=V).status_code == 410
    assert patch(http, url, 0, b"x").status_code == 410


def test_killed_between_the_last_byte_and_the_job(tmp_path: Path) -> None:
    """Before the ledger hears of it: the file is in its place, so it becomes a job, once, and the client is told so."""
    with Stack(_plugins(tmp_path)) as stack:
        stack.valkey.start()
        stack.environ["BUCKETLINE_REDIS_URL"] = stack.valkey.url
        wire = stack.wire()
        api = stack.api(**wire.environ)
        url = made(stack.talk.http, 5, Upload_Metadata=meta(key="late"))
        gate = wire.stop_at("call", "accept")
        with ThreadPoolExecutor() as threads:
            answer = threads.submit(patch, stack.talk.http, url, 0, b"hello")
            gate.wait("the file is durable")
            api.kill()
            with pytest.raises(httpx.TransportError):
                answer.result()
        gate.drop()
        stack.api()
        stack.worker()
        assert offset(stack.talk.http, url) == 5
        stack.talk.until(url.rpartition("/")[2], "succeeded")
        assert (tmp_path / "late").read_bytes() == b"hello"


def test_an_orderly_stop_keeps_what_came(tmp_path: Path) -> None:
    with Stack(_plugins(tmp_path)) as stack:
        stack.start(workers=0)
        url = made(stack.talk.http, 1000)
        with raw(stack, url, 0, 1000, b"x" * 700) as wire:
            eventually(lambda: bool(stack.keys("tus:*:lock")), "the chunk is coming")
            stack.processes[-1].ask_to_leave()
            wire.settimeout(30)
            assert wire.recv(100).startswith(b"HTTP/1.1 503 ")
            stack.processes[-1].wait()
        stack.api()
        assert offset(stack.talk.http, url) == 700


def test_the_same_room_is_promised_once(tmp_path: Path) -> None:
    """A chunk that comes has the room of its whole length, and gives back what it did not use."""
    with Stack(_plugins(tmp_path), BUCKETLINE_SPOOL_LIMIT="6MiB") as stack:
        stack.start(workers=0)
        http = stack.talk.http
        first, second = made(http, 4 << 20), made(http, 4 << 20)
        file = stack.spool / "tus" / first.rpartition("/")[2]
        with raw(stack, first, 0, 4 << 20, bytes(1000)):
            eventually(lambda: http.get("/v1/stats").json()["spool"]["used"] >= 4 << 20, "the room is counted")
            assert patch(http, second, 0, bytes(4 << 20)).status_code == 507
            assert create(http, 4 << 20).status_code == 507
            assert patch(http, second, 0, bytes(1 << 20)).status_code == 204
        assert offset(http, first) == 1000
        assert file.stat().st_blocks * 512 < 1 << 20
        eventually(lambda: http.get("/v1/stats").json()["spool"]["used"] < 2 << 20, "the rest is given back")
        assert patch(http, second, 1 << 20, bytes(3 << 20)).status_code == 204


def test_a_full_spool_and_a_silent_redis_are_told_and_cost_nothing(tmp_path: Path) -> None:
    with Stack(_plugins(tmp_path), BUCKETLINE_SPOOL_LIMIT="3MiB") as stack:
        stack.start()
        http = stack.talk.http
        refused = create(http, 4 << 20)
        assert (refused.status_code, "Location" in refused.headers) == (507, False)
        url = made(http, Upload_Defer_Length="1", Upload_Metadata=meta(key="tight"))
        assert patch(http, url, 0, bytes(2 << 20)).status_code == 204
        assert patch(http, url, 2 << 20, bytes(2 << 20)).status_code == 507, "by its declared length"
        assert patch(http, url, 2 << 20, iter([bytes(1 << 20)] * 3)).status_code == 507, "when it happens"
        at = offset(http, url)
        assert 2 << 20 <= at <= 3 << 20
        stack.valkey.kill()
        assert patch(http, url, at, b"", Upload_Length=str(at)).status_code == 503
        stack.valkey.start()
        assert patch(http, url, at, b"", Upload_Length=str(at)).status_code == 204
        stack.talk.until(url.rpartition("/")[2], "succeeded")
        assert (tmp_path / "tight").read_bytes() == bytes(at)
