"""Submissions: what can be known to fail is refused before the body, all faults at once, each with its pointer."""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends import checksums
from backends.base import Properties
from backends.config import Configuration, load
from engine.announced import wanted_digests
from engine.attributes import MAX_LABELS
from engine.config import Settings
from engine.digests import Digest, Digester
from engine.errors import ChecksumMismatch, Invalid, TooLarge
from engine.models import JobSpec, SubmitOptions
from engine.submission import MAX_DESTINATIONS, Desk

NOON = 1_795_435_200.0  # 2026-11-23T12:00:00Z
PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)
PLUGINS = """
default = "media"

[destinations.media]
backend = "memory"
prefix  = "uploads/"

[destinations.archive]
backend      = "memory"
space        = "archive"
key_template = "{yyyy}/{name}"
limits       = { part_size = "64KiB", concurrency = 3 }

[destinations.small]
backend      = "memory"
space        = "small"
capabilities = { max_object = "1MiB", create_only = false, parallel_parts = false }

[destinations.plain]
backend      = "memory"
space        = "plain"
capabilities = { metadata = false, properties = [] }

[destinations.s3]
backend = "s3"
bucket  = "bucket"

[routes.everywhere]
mirror = ["archive", "media"]

[actors.thumbnail]

[actors.apologize]
"""


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    (tmp_path / "plugins.toml").write_text(PLUGINS)
    return load(tmp_path / "plugins.toml", {})


@pytest.fixture
def desk_with(tmp_path: Path, configuration: Configuration) -> Callable[..., Desk]:
    def make(**settings: Any) -> Desk:
        known = Settings(data=tmp_path, spool=tmp_path / "spool", node="n1", **settings)
        return Desk(configuration, known, clock=lambda: NOON)

    return make


@pytest.fixture
def desk(desk_with: Callable[..., Desk]) -> Desk:
    return desk_with()


def prepared(desk: Desk, *, size: int | None = None, **options: Any) -> JobSpec:
    return desk.prepare(SubmitOptions(**options), size=size, owner="bootstrap")


def pointers(desk: Desk, *, size: int | None = None, **options: Any) -> list[str]:
    with pytest.raises(Invalid) as refused:
        prepared(desk, size=size, **options)
    assert refused.value.detail == refused.value.errors[0]["detail"]
    assert all(error["detail"].endswith((".", "?")) for error in refused.value.errors)
    return [error["pointer"] for error in refused.value.errors]


def digest_of(data: bytes, *algorithms: str) -> Digest:
    digester = Digester(len(data), algorithms)
    digester.update(data)
    return digester.digest()


# -- what a plain submission becomes ----------------------------------------------------------------------------------


def test_with_no_option_at_all_there_is_a_job(desk: Desk) -> None:
    spec = prepared(desk)

    assert spec.destinations == ["media"]
    assert spec.name == "upload"
    assert spec.key == f"{spec.id}/upload"
    assert spec.content_type is None, "only its bytes can tell"
    assert (spec.owner, spec.node, spec.created_ms) == ("bootstrap", "n1", int(NOON * 1000))
    assert spec.retain_seconds == 604_800


def test_ids_sort_by_time(desk: Desk) -> None:
    ids = [prepared(desk).id for _ in range(3)]

    assert ids == sorted(ids)
    assert all(id[14] == "7" for id in ids)


def test_a_route_stands_for_its_destinations_each_once(desk: Desk) -> None:
    assert prepared(desk, destinations=["media", "everywhere"]).destinations == ["media", "archive"]


def test_the_key_follows_the_first_template_among_its_destinations(desk: Desk) -> None:
    assert prepared(desk, destinations=["media", "archive"], name="a.txt").key == "2026/a.txt"
    assert prepared(desk, destinations=["archive"], name="a.txt", key_template="{stem}").key == "a"
    assert prepared(desk, destinations=["archive"], key="x/y").key == "x/y"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"name": "a.txt", "key": "x/y.png"}, "a.txt"),
        ({"key": "x/y.png"}, "y.png"),
        ({"key": "фото/写真.jpg"}, "写真.jpg"),
        ({"key": "k" * 300}, "upload"),  # too long for a name, and only a guess anyway
    ],
)
def test_where_the_name_comes_from(desk: Desk, options: dict[str, Any], name: str) -> None:
    assert prepared(desk, **options).name == name


def test_the_content_type_is_guessed_only_when_it_is_not_given(desk: Desk) -> None:
    assert prepared(desk, name="a.png").content_type == "image/png"
    assert prepared(desk, name="a.png", content_type="text/plain; q=1").content_type == "text/plain; q=1"
    assert prepared(desk, name="a.tar.gz").content_type == "application/gzip", "it is no tar before it is unpacked"


@pytest.mark.parametrize(
    ("head", "content_type"),
    [
        (PNG, "image/png"),
        (b"%PDF-1.7 ...", "application/pdf"),
        (b"PK\x03\x04 what is in it stands further behind", "application/zip"),
        (b"<html><script>alert(1)</script>", "application/octet-stream"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "application/octet-stream"),
        (b"just text", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_bytes_tell_the_content_type_where_the_name_does_not(desk: Desk, head: bytes, content_type: str) -> None:
    """But nothing that a browser would run: who uploads a page must not have it served as one."""
    finished, _ = desk.planning.finish(prepared(desk), digest_of(head), head)
    assert finished.content_type == content_type


def test_bytes_have_no_say_where_the_name_tells(desk: Desk) -> None:
    finished, _ = desk.planning.finish(prepared(desk, name="a.txt"), digest_of(PNG), PNG)
    assert finished.content_type == "text/plain"


PROPERTIES: dict[str, Any] = {
    "content_disposition": "attachment",
    "cache_control": "no-store",
    "storage_class": "COLD",
    "acl": "private",
    "encryption": "AES256",
    "tags": {"team": "blue"},
}


def test_properties_of_the_object_are_kept_for_the_worker(desk: Desk) -> None:
    spec = prepared(desk, content_type="text/plain", metadata={"a": "b"}, **PROPERTIES)
    assert spec.properties == Properties(content_type="text/plain", metadata={"a": "b"}, **PROPERTIES)


@pytest.mark.parametrize("name", PROPERTIES)
def test_what_a_destination_does_not_keep_is_refused(desk: Desk, name: str) -> None:
    assert pointers(desk, destinations=["plain"], **{name: PROPERTIES[name]}) == [f"/{name}"]


def test_metadata_is_refused_where_it_would_be_lost(desk: Desk) -> None:
    assert pointers(desk, destinations=["plain"], metadata={"a": "b"}) == ["/metadata"]
    assert prepared(desk, destinations=["plain"], content_type="text/plain").content_type == "text/plain"


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"cache_control": "a\r\nX-Evil: 1"}, "/cache_control"),
        ({"content_disposition": "x" * 1025}, "/content_disposition"),
        ({"tags": {"a": "b\0"}}, "/tags"),
        ({"acl": "\ud800"}, "/acl"),
    ],
)
def test_properties_are_text_of_some_length(desk: Desk, options: dict[str, Any], pointer: str) -> None:
    assert pointer in pointers(desk, **options)


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"key": "a\x7fb"}, "/key"),
        ({"storage_class": "cold"}, "/storage_class"),
        ({"tags": {str(number): "" for number in range(11)}}, "/tags"),
        ({"metadata": {"a": "ü" * 1000}}, "/metadata"),
        ({"key_template": "{sha256}", "encryption": "rot13"}, "/encryption"),
    ],
)
def test_what_the_provider_would_refuse_is_refused_before_the_body(
    desk: Desk, options: dict[str, Any], pointer: str
) -> None:
    assert pointer in pointers(desk, destinations=["s3"], **options)


def test_metadata_names_become_lower_case_as_stores_make_them(desk: Desk) -> None:
    assert prepared(desk, metadata={"Author": "Änne"}).metadata == {"author": "Änne"}


def test_a_revised_submission_keeps_its_id(desk: Desk) -> None:
    spec = desk.prepare(SubmitOptions(), size=None, owner="", job="01940c9e-0000-7000-8000-000000000001")

    assert spec.id == "01940c9e-0000-7000-8000-000000000001"


# -- every fault has its pointer --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"name": "../x"}, "/name"),
        ({"name": "a\r\nb"}, "/name"),
        ({"key": "../x"}, "/key"),
        ({"key": ""}, "/key"),
        ({"key": "k" * 1017}, "/key"),  # 1,024 with the prefix would be the most
        ({"key_template": "{nope}"}, "/key_template"),
        ({"key_template": "{label.team}"}, "/key_template"),
        ({"key_template": "{name"}, "/key_template"),
        ({"key_template": "/{name}"}, "/key_template"),
        ({"key_template": "{label.dir}/x", "labels": {"dir": ".."}}, "/key_template"),
        ({"key_template": "{label.a}" * 5, "labels": {"a": "a" * 250}}, "/key_template"),
        ({"key": "a", "key_template": "{name}"}, "/key_template"),
        ({"content_type": "image"}, "/content_type"),
        ({"content_type": "text/plain\r\nX-Injected: 1"}, "/content_type"),
        ({"content_type": "text/plain; name=é"}, "/content_type"),
        ({"content_type": "a/" + "b" * 254}, "/content_type"),
        ({"metadata": {"bucketline-job": "x"}}, "/metadata/bucketline-job"),
        ({"metadata": {"Bucketline-Job": "x"}}, "/metadata/Bucketline-Job"),
        ({"metadata": {"a": "x\r\ny"}}, "/metadata/a"),
        ({"metadata": {"a b": "x"}}, "/metadata"),
        ({"metadata": {"a": "x" * 2048}}, "/metadata"),
        ({"metadata": {"Author": "x", "author": "y"}}, "/metadata"),
        ({"labels": {"a/b": "x"}}, "/labels"),
        ({"labels": {"a": "x" * 257}}, "/labels/a"),
        ({"labels": {"a": "x\0"}}, "/labels/a"),
        ({"labels": {f"l{n}": "" for n in range(MAX_LABELS + 1)}}, "/labels"),
        ({"retain_seconds": -1}, "/retain_seconds"),
        ({"retain_seconds": 10**9}, "/retain_seconds"),
        ({"checksum": "md5:abc"}, "/checksum"),
        ({"on_success": "apologise"}, "/on_success"),
        ({"on_failure": ""}, "/on_failure"),
        ({"checksum": "sha256:" + "F" * 64}, "/checksum"),
        ({"checksum": "crc32c:AAA="}, "/checksum"),
        ({"checksum": "crc32c"}, "/checksum"),
        ({"destinations": ["small"], "on_conflict": "fail"}, "/on_conflict"),
        ({"source": {"url": "https://example.org", "key": "x"}}, "/source"),
        ({"source": {"url": 7}}, "/source/url"),
        ({"source": {"url": "https://127.1/x"}}, "/source/url"),
        ({"source": {"destination": "nowhere", "key": "x"}}, "/source/destination"),
        ({"source": {"path": ""}}, "/source/path"),
        ({"source": {"path": 7}}, "/source/path"),
        ({"source": {"path": "/etc\0/passwd"}}, "/source/path"),
        ({"source": {"path": "/etc/passwd"}}, "/source/path"),
    ],
)
def test_a_fault_points_at_its_option(desk: Desk, options: dict[str, Any], pointer: str) -> None:
    assert pointers(desk, **options) == [pointer]


def test_an_actor_that_is_not_allowed_comes_with_those_that_are(desk: Desk) -> None:
    with pytest.raises(Invalid) as refused:
        prepared(desk, on_success="make_thumbnail", on_failure="apologize")

    (error,) = refused.value.errors
    assert error["detail"].endswith("allows no actor 'make_thumbnail'; it allows: apologize, thumbnail.")
    assert prepared(desk, on_success="thumbnail").on_success == "thumbnail"


def test_all_faults_are_told_at_once(desk: Desk) -> None:
    found = pointers(desk, name="..", key="/x", content_type="?", metadata={"bucketline-x": ""}, checksum="nonsense")

    assert sorted(found) == ["/checksum", "/content_type", "/key", "/metadata/bucketline-x", "/name"]


def test_an_unknown_destination_comes_with_the_nearest_word(desk: Desk) -> None:
    with pytest.raises(Invalid) as refused:
        prepared(desk, destinations=["media", "archiv", "nowhere"])

    assert refused.value.code == "unknown_destination"
    assert [error["pointer"] for error in refused.value.errors] == ["/destinations/1", "/destinations/2"]
    assert "Did you mean 'archive'?" in refused.value.detail


def test_a_job_has_a_bounded_number_of_destinations(desk: Desk) -> None:
    assert pointers(desk, destinations=["media"] * (MAX_DESTINATIONS + 1)) == ["/destinations"]


# -- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [0, 1])
def test_the_servers_own_limit(desk_with: Callable[..., Desk], off: int) -> None:
    desk = desk_with(max_size=100)
    if off:
        with pytest.raises(TooLarge, match="at most 100"):
            prepared(desk, size=100 + off)
    else:
        prepared(desk, size=100)


@pytest.mark.parametrize("off", [0, 1])
def test_the_destinations_limit(desk: Desk, off: int) -> None:
    if off:
        assert pointers(desk, size=(1 << 20) + off, destinations=["media", "small"]) == ["/destinations/1"]
    else:
        prepared(desk, size=1 << 20, destinations=["media", "small"])


def test_a_body_of_unknown_length_is_judged_when_it_is_there(desk: Desk) -> None:
    spec = prepared(desk, destinations=["small"])

    with pytest.raises(Invalid) as refused:
        desk.planning.finish(spec, digest_of(bytes((1 << 20) + 1)), b"")

    assert refused.value.errors[0]["pointer"] == "/destinations/0"


# -- paths ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    folder = tmp_path / "allowed"
    folder.mkdir()
    (folder / "film.mp4").write_bytes(b"film")
    return folder


def test_a_path_below_an_allowed_root_is_pinned(desk_with: Callable[..., Desk], allowed: Path) -> None:
    desk = desk_with(allowed_roots=[allowed])
    found = (allowed / "film.mp4").stat()

    spec = prepared(desk, source={"path": str(allowed / "film.mp4")})

    assert spec.name == "film.mp4"
    assert (spec.source.kind, spec.source.path) == ("path", str(allowed / "film.mp4"))
    assert (spec.source.mtime_ns, spec.source.inode) == (found.st_mtime_ns, found.st_ino)


def test_a_link_that_leads_out_is_refused(desk_with: Callable[..., Desk], allowed: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (allowed / "innocent").symlink_to(tmp_path / "secret")
    (allowed / "folder").symlink_to(tmp_path)
    desk = desk_with(allowed_roots=[allowed])

    for path in ("innocent", "folder/secret", "../secret", "folder/../../secret"):
        assert pointers(desk, source={"path": str(allowed / path)}) == ["/source/path"]


def test_a_link_that_stays_inside_is_followed(desk_with: Callable[..., Desk], allowed: Path) -> None:
    (allowed / "latest.mp4").symlink_to(allowed / "film.mp4")

    spec = prepared(desk_with(allowed_roots=[allowed]), source={"path": str(allowed / "latest.mp4")})

    assert (spec.name, spec.source.path) == ("latest.mp4", str(allowed / "film.mp4"))


def test_what_is_no_readable_file_is_refused(desk_with: Callable[..., Desk], allowed: Path) -> None:
    os.mkfifo(allowed / "pipe")
    desk = desk_with(allowed_roots=[allowed])

    for path in (allowed, allowed / "pipe", allowed / "absent", "film.mp4", f"{allowed}-evil/film.mp4"):
        assert pointers(desk, source={"path": str(path)}) == ["/source/path"]


def test_a_link_loop_is_refused(desk_with: Callable[..., Desk], allowed: Path) -> None:
    (allowed / "loop").symlink_to("loop")
    desk = desk_with(allowed_roots=[allowed])

    for path in ("loop", "loop/film.mp4"):
        assert pointers(desk, source={"path": str(allowed / path)}) == ["/source/path"]


@pytest.mark.parametrize("what", ["a link", "a folder that is a link", "a pipe"])
def test_what_is_put_behind_the_look_is_refused(
    desk_with: Callable[..., Desk], allowed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Whoever may write below the root swaps a file just when the path was found to lead to one."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "film.mp4").write_text("secret")
    (allowed / "in").mkdir()
    film = allowed / "in" / "film.mp4"
    film.write_bytes(b"film")
    look = os.path.realpath

    def swapped(path: Any) -> str:
        found = look(path)
        if path == str(film):
            (film.parent if what.startswith("a folder") else film).rename(tmp_path / "away")
            if what == "a pipe":
                os.mkfifo(film)
            elif what == "a link":
                film.symlink_to(tmp_path / "outside" / "film.mp4")
            else:
                film.parent.symlink_to(tmp_path / "outside")
        return found

    monkeypatch.setattr(os.path, "realpath", swapped)

    assert pointers(desk_with(allowed_roots=[allowed]), source={"path": str(film)}) == ["/source/path"]


def test_a_link_that_goes_while_it_is_looked_at_is_refused(
    desk_with: Callable[..., Desk], allowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (allowed / "latest.mp4").symlink_to("film.mp4")
    read = os.readlink

    def swapped(path: Any, **options: Any) -> Any:
        if os.path.islink(allowed / "latest.mp4"):
            (allowed / "latest.mp4").unlink()
            (allowed / "latest.mp4").mkdir()
        return read(path, **options)

    monkeypatch.setattr(os, "readlink", swapped)

    desk = desk_with(allowed_roots=[allowed])
    assert pointers(desk, source={"path": str(allowed / "latest.mp4")}) == ["/source/path"]


# -- when all bytes are there -----------------------------------------------------------------------------------------


def test_every_destination_gets_its_plan(desk: Desk) -> None:
    spec = prepared(desk, destinations=["archive", "media", "small"], key="a/b")

    _, plans = desk.planning.finish(spec, digest_of(bytes(200_000)), b"")

    assert [(plan.destination, plan.key, plan.total, plan.whole) for plan in plans] == [
        ("archive", "a/b", 4, False),
        ("media", "uploads/a/b", 1, True),
        ("small", "a/b", 1, True),
    ]
    assert [plan.window for plan in plans] == [3, 8, 1]  # concurrency of the destination; one by one where it must be
    assert [plan.url for plan in plans] == [
        "memory://archive/a/b",
        "memory://default/uploads/a/b",
        "memory://small/a/b",
    ]


def test_a_key_made_of_the_content_is_known_at_the_end(desk: Desk) -> None:
    spec = prepared(desk, name="a.txt", key_template="{sha256}/{crc32c}.{ext}")
    assert spec.key is None
    assert wanted_digests(spec) == {"sha256"}

    finished, plans = desk.planning.finish(spec, digest_of(b"content", "sha256"), b"")

    expected = f"{hashlib.sha256(b'content').hexdigest()}/{checksums.crc32c(b'content'):08x}.txt"
    assert finished.key == expected
    assert plans[0].key == f"uploads/{expected}"


def test_a_key_made_of_labels_and_content_is_checked_at_the_end(desk: Desk) -> None:
    spec = prepared(desk, key_template="{label.dir}/{crc32c}", labels={"dir": ".."})

    with pytest.raises(Invalid) as refused:
        desk.planning.finish(spec, digest_of(b"content"), b"")

    assert refused.value.errors[0]["pointer"] == "/key"


@pytest.mark.parametrize(
    "checksum",
    [
        f"sha256:{hashlib.sha256(b'content').hexdigest()}",
        f"crc32c:{b64encode(checksums.crc32c(b'content').to_bytes(4, 'big')).decode()}",
    ],
)
def test_the_announced_checksum_must_be_that_of_the_bytes(desk: Desk, checksum: str) -> None:
    spec = prepared(desk, checksum=checksum)
    wanted = wanted_digests(spec)

    desk.planning.finish(spec, digest_of(b"content", *wanted), b"")
    with pytest.raises(ChecksumMismatch, match="nothing was kept"):
        desk.planning.finish(spec, digest_of(b"c0ntent", *wanted), b"")


def test_a_destination_that_went_away_meanwhile(desk: Desk) -> None:
    spec = msgspec.structs.replace(prepared(desk), destinations=["gone"])

    with pytest.raises(Invalid) as refused:
        desk.planning.finish(spec, digest_of(b""), b"")

    assert refused.value.code == "unknown_destination"
