"""`bucketline copy`: what a word on the command line names, and what a mistake says. Carrying is in tests/e2e."""

from collections.abc import Callable

import pytest

from bucketline.copying import shown, source_of
from tests.command.conftest import Outcome
from tests.command.fake import FakeServer

Command = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("text", "source", "name"),
    [
        ("archive:2026/film.mp4", {"destination": "archive", "key": "2026/film.mp4"}, "film.mp4"),
        ("archive:a:b", {"destination": "archive", "key": "a:b"}, "archive:a:b"),
        ("/srv/in/f:1", {"path": "/srv/in/f:1"}, "f:1"),
        ("https://files.example/a%20b?key=hush", {"url": "https://files.example/a%20b?key=hush"}, "a b"),
        ("http://files.example", {"url": "http://files.example"}, "http://files.example"),
    ],
)
def test_a_word_is_one_kind_of_source(text: str, source: dict[str, str], name: str) -> None:
    assert source_of(text) == source
    assert shown(text) == name


def test_credentials_are_named_for_a_url() -> None:
    assert source_of("https://files.example/x", "partner") == {
        "url": "https://files.example/x",
        "credentials": "partner",
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["film.mp4"], "'film.mp4' is no source"),
        (["./in:1"], "`bucketline put` sends files of this machine"),
        (["archive:"], "is no source"),
        (["ftp://files.example/x"], "is no source"),
        (["archive:x", "--credentials", "partner"], "--credentials is for URLs"),
        (["archive:x", "archive:y", "--key", "z"], "--key and --name are for one file"),
        (["archive:x", "--metadata", "novalue"], "--metadata takes K=V"),
        ([], "required: SOURCE"),
    ],
)
def test_a_mistake_is_exit_code_2_before_anything_is_asked(
    command: Command, server: FakeServer, words: list[str], expected: str
) -> None:
    done = command("copy", *words)
    assert done.code == 2
    assert expected in done.err
    assert len(done.err.splitlines()) <= 2
    assert server.uploads == []


def test_a_source_is_sent_as_json_with_its_options(command: Command, server: FakeServer) -> None:
    done = command("copy", "archive:film.mp4", "--to", "media", "--label", "a=b, c", "--retain-seconds", "0")
    assert done.code == 0
    (sent,) = server.uploads
    assert sent.headers["Content-Type"] == "application/json"
    assert sent.json() == {
        "source": {"destination": "archive", "key": "film.mp4"},
        "destinations": ["media"],
        "labels": {"a": "b, c"},
        "retain_seconds": 0,
    }
    assert "film.mp4: job 01940c9e-" in done.err
