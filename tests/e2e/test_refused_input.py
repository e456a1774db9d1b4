"""What must not become a job does not: cut bodies, wrong checksums, forms that do not fit. Nothing of it is kept."""

from __future__ import annotations

import hashlib
import socket
import struct
from base64 import b64encode
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.stack import Json, Stack
from tests.servers import eventually

LOCAL = 'default = "disk"\n[destinations.disk]\nbackend = "local"\nroot = "objects"\nlimits = { part_size = "1MiB" }\n'
HEAD = "POST /v1/jobs?name={name} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
KIB_64 = bytes(65_536)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(LOCAL) as one:
        yield one.start()


def connect(stack: Stack) -> socket.socket:
    url = httpx.URL(stack.talk.url)
    return socket.create_connection((url.host, url.port or 80), timeout=20)


def jobs_named(stack: Stack, name: str) -> list[Json]:
    found = stack.talk.http.get("/v1/jobs", params={"q": name, "limit": "100"})
    assert found.status_code == 200, found.text
    return list(found.json()["items"])


def nothing_of(stack: Stack, name: str) -> bool:
    return not jobs_named(stack, name) and stack.spooled() == [] and not stack.keys("jobs:receiving")


def answer_of(connection: socket.socket) -> bytes:
    data = b""
    while chunk := connection.recv(65_536):
        data += chunk
    return data


@pytest.mark.parametrize("share", [0, 50, 99])
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_a_body_that_ends_before_its_length(share: int, large: bool, stack: Stack) -> None:
    size = (8 << 20) if large else 4096
    name = f"cut-{share}-{size}"
    with connect(stack) as connection:
        connection.sendall((HEAD.format(name=name) + f"Content-Length: {size}\r\n\r\n").encode())
        connection.sendall(bytes(size * share // 100))
        connection.shutdown(socket.SHUT_WR)
        answer = answer_of(connection)
    assert b" 202 " not in answer[:15]
    eventually(lambda: nothing_of(stack, name), "no job and no bytes", 30)


@pytest.mark.parametrize("how", ["no last chunk", "amid a chunk"])
def test_a_chunked_body_that_never_ends(how: str, stack: Stack) -> None:
    name = f"chunked {how}".replace(" ", "-")
    with connect(stack) as connection:
        connection.sendall((HEAD.format(name=name) + "Transfer-Encoding: chunked\r\n\r\n").encode())
        for _ in range(40):
            connection.sendall(b"10000\r\n" + KIB_64 + b"\r\n")
        if how == "amid a chunk":
            connection.sendall(b"10000\r\n" + KIB_64[:1000])
        connection.shutdown(socket.SHUT_WR)
        answer = answer_of(connection)
    assert b" 202 " not in answer[:15]
    eventually(lambda: nothing_of(stack, name), "no job and no bytes", 30)


@pytest.mark.parametrize("leave", ["half", "close", "reset"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("kind", ["raw", "form"])
def test_a_client_that_leaves_right_after_its_last_words(kind: str, framing: str, leave: str, stack: Stack) -> None:
    """All that it sent is there before anybody looks at it, a form with its final boundary too; only the end is not."""
    name = f"last-words-{kind}-{framing}-{leave}"
    head, body = HEAD.format(name=name), b"x" * 300_000
    if kind == "form":
        head = head.replace(f"?name={name}", "").replace("application/octet-stream", "multipart/form-data; boundary=b")
        part = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body = part.encode() + body + b"\r\n--b--\r\n"
    if framing == "chunked":
        head, body = f"{head}Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%b\r\n" % (len(body), body)
    else:
        head = f"{head}Content-Length: {len(body) + 1}\r\n\r\n"
    with connect(stack) as connection:
        connection.sendall(head.encode() + body)
        if leave == "half":
            connection.shutdown(socket.SHUT_WR)
            assert b" 202 " not in answer_of(connection)[:15]
        elif leave == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stack.check_end(stack.talk.submit(body, name="afterwards")["id"])  # by now the API knows that the client left
    eventually(lambda: nothing_of(stack, name), "no job and no bytes", 30)


def test_a_client_that_vanishes(stack: Stack) -> None:
    with connect(stack) as connection:
        connection.sendall((HEAD.format(name="vanished") + f"Content-Length: {64 << 20}\r\n\r\n").encode())
        connection.sendall(bytes(16 << 20))
        eventually(lambda: len(jobs_named(stack, "vanished")) == 1, "the reception can be seen", 30)
        assert jobs_named(stack, "vanished")[0]["state"] == "receiving"
    eventually(lambda: nothing_of(stack, "vanished"), "no job and no bytes", 30)


def wrong(content: bytes) -> dict[str, dict[str, str]]:
    digest = b64encode(hashlib.sha256(content + b"!").digest()).decode()
    long = b64encode(hashlib.sha512(content + b"!").digest()).decode()
    return {
        "sha256": {"Bucketline-Checksum": f"sha256:{hashlib.sha256(content + b'!').hexdigest()}"},
        "crc32c": {"Bucketline-Checksum": "crc32c:AAAAAA=="},
        "content-digest": {"Content-Digest": f"sha-256=:{digest}:"},
        "repr-digest": {"Repr-Digest": f"sha-512=:{long}:"},
    }


@pytest.mark.parametrize("kind", ["sha256", "crc32c", "content-digest", "repr-digest"])
@pytest.mark.parametrize("size", [100, 3 << 20])
def test_a_wrong_checksum(kind: str, size: int, stack: Stack) -> None:
    content = b"x" * size
    headers = {"Content-Type": "application/octet-stream", **wrong(content)[kind]}
    answer = stack.talk.http.post("/v1/jobs", params={"name": f"wrong-{kind}-{size}"}, content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "checksum_mismatch")
    assert nothing_of(stack, f"wrong-{kind}-{size}")


def test_several_files_of_which_one_cannot_be_taken(stack: Stack) -> None:
    """All at the final boundary, or none."""
    files = [("file", ("all-or-none-1", b"one")), ("file", ("all-or-none-2", b"two"))]
    answer = stack.talk.http.post("/v1/jobs", data={"on_conflict": "nonsense"}, files=files)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert nothing_of(stack, "all-or-none")


def test_a_form_that_is_cut(stack: Stack) -> None:
    boundary = b'--b\r\nContent-Disposition: form-data; name="file"; filename="cut-form"\r\n\r\n'
    body = boundary + b"first\r\n" + boundary + b"second, and then noth"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = stack.talk.http.post("/v1/jobs", content=body, headers=headers)
    assert 400 <= answer.status_code < 500
    assert nothing_of(stack, "cut-form")


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"key": "../etc/passwd"}, "/key"),
        ({"key": "/absolute"}, "/key"),
        ({"key": "a/../b"}, "/key"),
        ({"key": "nul\0"}, "/key"),
        ({"key": "line\nbreak"}, "/key"),
        ({"key": "k" * 1025}, "/key"),
        ({"destinations": "disc"}, "/destinations/0"),
        ({"on_conflict": "explode"}, "/on_conflict"),
        ({"onconflict": "fail"}, "/onconflict"),
        ({"content_type": "text/plain\r\nX-Evil: 1"}, "/content_type"),
        ({"name": "a\r\nX-Evil: 1"}, "/name"),
        ({"key_template": "{nmae}"}, "/key_template"),
    ],
)
def test_an_option_that_cannot_be(options: dict[str, str], pointer: str, stack: Stack) -> None:
    answer = stack.talk.try_to_submit(b"content", **options)
    problem = answer.json()
    assert answer.status_code == 422, problem
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert stack.spooled() == []


def test_a_word_that_is_nearly_right(stack: Stack) -> None:
    problem = stack.talk.try_to_submit(b"content", destinations="disc").json()
    assert "disk" in problem["detail"]
    problem = stack.talk.try_to_submit(b"content", onconflict="fail").json()
    assert "on_conflict" in problem["errors"][0]["detail"]


def test_what_does_not_exist(stack: Stack) -> None:
    assert stack.talk.http.get("/v1/jobs/01940c9e-0000-7000-8000-000000000000").status_code == 404
    assert stack.talk.http.put("/v1/objects/nowhere/key", content=b"x").status_code == 404
    done = stack.talk.submit(b"x", key="over")["id"]
    stack.check_end(done)
    for command in ("cancel", "pause", "retry"):
        answer = stack.talk.http.post(f"/v1/jobs/{done}/{command}")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict"), command
