"""Server-sent events are read as the standard says."""

from hypothesis import given
from hypothesis import strategies as st

from bucketline.sse import Parser, ServerSent


def events(text: str, last: str = "") -> list[ServerSent]:
    return list(Parser(last).feed(text.encode()))


def test_an_event_ends_with_an_empty_line() -> None:
    assert events("id: 1-0\nevent: state\ndata: {}\n\n") == [ServerSent("1-0", "state", "{}")]


def test_an_unfinished_event_is_not_an_event() -> None:
    assert events("id: 1-0\nevent: state\ndata: {}\n") == []


def test_comments_and_retry_are_not_events() -> None:
    assert events("retry: 3000\n\n: ping\n\ndata: x\n\n") == [ServerSent("", "message", "x")]


def test_the_last_id_is_carried_on_until_the_next() -> None:
    assert [event.id for event in events("id: 7\ndata: a\n\ndata: b\n\nid: 8\ndata: c\n\n", "5")] == ["7", "7", "8"]


def test_data_of_several_lines_is_joined_and_only_one_space_is_dropped() -> None:
    assert events("data:  a\ndata:b\ndata\n\n") == [ServerSent("", "message", " a\nb\n")]


def test_crlf_ends_a_line_too_but_a_unicode_separator_does_not() -> None:
    assert events("data: a\u2028b\x85c\r\n\r\n") == [ServerSent("", "message", "a\u2028b\x85c")]


def test_an_event_without_data_is_none() -> None:
    assert events("event: state\n\n") == []


@given(st.lists(st.integers(1, 60), max_size=30))
def test_how_the_bytes_are_cut_does_not_matter(cuts: list[int]) -> None:
    text = 'id: 1\nevent: état\ndata: {"n": "日本"}\n\n: ping\n\ndata: 2\n\n'.encode()
    chunks, at = [], 0
    for cut in cuts:
        chunks.append(text[at : at + cut])
        at += cut
    chunks.append(text[at:])
    parser = Parser()
    assert [event for chunk in chunks for event in parser.feed(chunk)] == events(text.decode())
