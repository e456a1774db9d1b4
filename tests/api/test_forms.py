"""The form parser: the same events however the bytes were cut, and the same as an independent parser."""

from __future__ import annotations

import email
import email.policy
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.forms import FormParser, PartEnd, PartStart, boundary_of, file_name
from api.problems import Problem

BOUNDARY = "b-1"
tricky = st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"\r\n--", b"\r\n--b", b"\r\n--b-", b"b-1", b"x"])
contents = st.lists(tricky | st.binary(max_size=5), max_size=12).map(b"".join).filter(lambda c: b"\r\n--b-1" not in c)
files = st.lists(st.tuples(st.sampled_from(["file", "name", "größe"]), contents), max_size=4)


def built(parts: list[tuple[str, bytes]]) -> bytes:
    body = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in parts
        if not content.startswith(b"--b-1")
    )
    return body + f"--{BOUNDARY}--\r\n".encode()


def parts_of(chunks: list[bytes]) -> list[tuple[str, bytes]]:
    parser, found = FormParser(BOUNDARY.encode()), []
    open_part: tuple[str, bytearray] | None = None
    for chunk in chunks:
        for event in parser.feed(chunk):
            if isinstance(event, PartStart):
                assert open_part is None
                open_part = (event.name, bytearray())
            elif isinstance(event, PartEnd):
                assert open_part is not None
                found.append((open_part[0], bytes(open_part[1])))
                open_part = None
            else:
                assert open_part is not None
                open_part[1].extend(event)
    parser.finish()
    return found


def cut(body: bytes, places: list[int]) -> list[bytes]:
    borders = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    return [body[a:b] for a, b in pairwise(borders)]


@given(files, st.lists(st.integers(0, 10_000), max_size=20))
def test_parts_come_out_as_they_went_in_however_the_body_is_cut(
    parts: list[tuple[str, bytes]], places: list[int]
) -> None:
    parts = [part for part in parts if not part[1].startswith(b"--b-1")]
    body = built(parts)

    assert parts_of(cut(body, places)) == parts_of([body[i : i + 1] for i in range(len(body))]) == parts


@given(
    st.lists(
        st.tuples(st.just("file"), st.binary(max_size=40).filter(lambda c: b"--b-1" not in c)), min_size=1, max_size=4
    )
)
def test_the_standard_library_reads_the_same(parts: list[tuple[str, bytes]]) -> None:
    body = built(parts)
    head = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)

    count = len(list(message.iter_parts()))

    assert count == len(parts_of([body])) == len(parts)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_garbage_is_a_problem_and_nothing_else(body: bytes, places: list[int]) -> None:
    try:
        parts_of(cut(body, places))
    except Problem as problem:
        assert problem.status in (400, 413, 422)


@given(files.filter(bool), st.data())
def test_a_form_that_is_cut_is_never_whole(parts: list[tuple[str, bytes]], data: st.DataObject) -> None:
    body = built(parts)
    end = data.draw(st.integers(0, len(body) - 3))

    with pytest.raises(Problem):
        parts_of([body[:end]])


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('multipart/form-data; charset=utf-8; BOUNDARY="a b=c"', b"a b=c"),
        (
            "multipart/form-data;boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
            b"----WebKitFormBoundary7MA4YWxkTrZu0gW",
        ),
        ("multipart/form-data; boundary=a; x=y", b"a"),
    ],
)
def test_boundaries(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary="a ',
        "multipart/form-data; xboundary=a",
    ],
)
def test_content_types_without_a_boundary(content_type: str) -> None:
    with pytest.raises(Problem):
        boundary_of(content_type)


def started(headers: str) -> PartStart:
    (event, *_) = FormParser(b"b").feed(f"--b\r\n{headers}\r\n\r\n".encode())
    assert isinstance(event, PartStart)
    return event


@pytest.mark.parametrize(
    ("parameters", "filename"),
    [
        ('filename="a.txt"', "a.txt"),
        ("filename=a.txt", "a.txt"),
        ('filename="say %22hi%22.txt"', 'say "hi".txt'),
        ('filename="say \\"hi\\".txt"', 'say "hi".txt'),
        ('filename="C:\\dir\\file.txt"', "C:\\dir\\file.txt"),
        ('filename="100%.txt"', "100%.txt"),
        ('filename="a;b=c.txt"', "a;b=c.txt"),
        ("filename=\"x\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.txt", "größe.txt"),
        ('filename=""', ""),
    ],
)
def test_file_names_as_clients_write_them(parameters: str, filename: str) -> None:
    assert started(f'Content-Disposition: form-data; name="file"; {parameters}').filename == filename


def test_the_parts_own_content_type() -> None:
    part = started('content-disposition: form-data; name=file\r\nContent-Type: image/png;  q="x"')

    assert (part.filename, part.content_type) == (None, 'image/png;  q="x"')


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\a.txt", "a.txt"),
        ("a/", None),
        ("..", None),
        (".", None),
        ("", None),
        (None, None),
        ("CON", "CON"),
        ("日本語.txt", "日本語.txt"),
    ],
)
def test_only_the_last_component_of_a_name_counts(filename: str | None, name: str | None) -> None:
    assert file_name(filename) == name


@pytest.mark.parametrize("filename", ["a\0b", "a\r\nb", "\x1b[2J", "a\x7f", "x/\0"])
def test_control_characters_in_names_are_refused(filename: str) -> None:
    with pytest.raises(Problem) as refused:
        file_name(filename)

    assert refused.value.errors[0]["pointer"] == "/name"
