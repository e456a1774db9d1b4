"""The local backend: conforming, never outside its root, and with nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends import conformance, errors, local_paths
from backends.base import Properties, Receipt, Session
from backends.body import BytesBody
from backends.conformance.subject import Subject
from backends.local import LocalBackend, LocalOptions, LocalPlugin
from backends.registry import Destination
from tests.backends import narrowed

globals().update(conformance.tests())

PLAIN: dict[str, Any] = {"properties": Properties()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def backend(root: Path) -> LocalBackend:
    return LocalBackend(LocalOptions(root=root))


@pytest.fixture
def subject(root: Path, request: pytest.FixtureRequest) -> Iterator[Subject]:
    options = LocalOptions(root=root)
    claims = narrowed.for_check(request.node.name, LocalPlugin().capabilities(options))
    destination = Destination("local", LocalPlugin(), options, claims)
    with Subject(destination, look=lambda key: (root / key).read_bytes()) as subject:
        yield subject
    assert list(root.rglob("*")) == [], "the suite left something behind"


def begun(backend: LocalBackend, key: str, data: bytes, **options: Any) -> tuple[Session, list[Any]]:
    session = backend.begin(key, size=len(data), part_size=4, **{**PLAIN, **options})
    parts = range(0, len(data), 4)
    return session, [
        backend.put_part(session, number, BytesBody(data[start : start + 4])) for number, start in enumerate(parts, 1)
    ]


def test_an_unfinished_upload_is_a_hidden_file_beside_its_target(backend: LocalBackend, root: Path) -> None:
    begun(backend, "folder/name.txt", b"12345678")
    [unfinished] = (root / "folder").iterdir()
    assert unfinished.name.startswith(".name.txt.")
    assert unfinished.name.endswith(".bucketline-part")


def test_aborting_removes_the_file_and_the_folders_made_for_it(backend: LocalBackend, root: Path) -> None:
    (root / "kept").mkdir(parents=True)
    (root / "kept" / "other").touch()
    session, _ = begun(backend, "kept/a/b/name", b"1234")
    backend.abort(session)
    assert [str(path.relative_to(root)) for path in root.rglob("*")] == ["kept", "kept/other"]


def test_a_put_that_fails_leaves_nothing(backend: LocalBackend, root: Path) -> None:
    (root / "taken").mkdir(parents=True)
    with pytest.raises(errors.InvalidRequest):
        backend.put_whole("taken", BytesBody(b"x"), **PLAIN)
    assert [path.name for path in root.iterdir()] == ["taken"]


def test_a_key_below_an_object_is_refused(backend: LocalBackend) -> None:
    backend.put_whole("name", BytesBody(b"x"), **PLAIN)
    with pytest.raises(errors.InvalidRequest):
        backend.put_whole("name/below", BytesBody(b"y"), **PLAIN)
    assert backend.stat("name/below") is None
    backend.delete("name/below")
    assert backend.stat("name") is not None


@pytest.mark.parametrize("target", ["outside", "inside"])
def test_a_folder_that_is_a_link_is_never_followed(
    backend: LocalBackend, root: Path, tmp_path: Path, target: str
) -> None:
    elsewhere = tmp_path / "elsewhere" if target == "outside" else root / "elsewhere"
    elsewhere.mkdir(parents=True)
    (elsewhere / "secret").write_text("secret")
    root.mkdir(exist_ok=True)
    (root / "link").symlink_to(elsewhere)
    calls: list[Callable[[], object]] = [
        lambda: backend.begin("link/new", size=1, part_size=1, **PLAIN),
        lambda: backend.put_whole("link/new", BytesBody(b"x"), **PLAIN),
        lambda: backend.stat("link/secret"),
        lambda: list(backend.read_range("link/secret", 0, 6)),
        lambda: backend.delete("link/secret"),
        lambda: backend.list_sessions("link/"),
    ]
    for call in calls:
        with pytest.raises(errors.InvalidRequest):
            call()
    assert [path.name for path in elsewhere.iterdir()] == ["secret"]


def test_a_file_that_is_a_link_is_replaced_and_never_followed(
    backend: LocalBackend, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("outside")
    root.mkdir()
    (root / "name").symlink_to(outside)
    with pytest.raises(errors.InvalidRequest):
        list(backend.read_range("name", 0, 7))
    backend.put_whole("name", BytesBody(b"new"), **PLAIN)
    assert not (root / "name").is_symlink()
    assert outside.read_text() == "outside"


def test_a_folder_swapped_for_a_link_midway_is_not_followed(backend: LocalBackend, root: Path, tmp_path: Path) -> None:
    session, receipts = begun(backend, "folder/name", b"1234")
    (root / "folder").rename(tmp_path / "moved")
    (root / "folder").symlink_to(tmp_path / "moved")
    with pytest.raises(errors.BackendError):
        backend.complete(session, receipts)
    assert not (tmp_path / "moved" / "name").exists()


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    LocalBackend(LocalOptions(root=tmp_path / "root")).put_whole("name", BytesBody(b"x"), **PLAIN)
    assert (tmp_path / "real" / "name").read_bytes() == b"x"


def test_what_is_no_file_is_no_object(backend: LocalBackend, root: Path) -> None:
    (root / "folder").mkdir(parents=True)
    os.mkfifo(root / "pipe")
    for key in ("folder", "pipe", "missing", "missing/too"):
        assert backend.stat(key) is None


@pytest.mark.parametrize("size", [220, 250, 255])
def test_names_as_long_as_the_file_system_takes_work(backend: LocalBackend, root: Path, size: int) -> None:
    key = "ü" * (size // 2) + "x" * (size % 2)
    session, receipts = begun(backend, key, b"12345678")
    backend.complete(session, receipts)
    assert (root / key).read_bytes() == b"12345678"


def test_longer_names_are_refused_for_good(backend: LocalBackend) -> None:
    with pytest.raises(errors.PermanentError, match="256 bytes; the file system takes at most 255"):
        backend.begin("x" * 256, size=1, part_size=1, **PLAIN)


def test_the_names_of_unfinished_uploads_are_no_keys(backend: LocalBackend) -> None:
    with pytest.raises(errors.InvalidRequest):
        backend.put_whole(".name.0123.bucketline-part", BytesBody(b"x"), **PLAIN)


def test_an_object_that_does_not_fit_is_refused_at_once(backend: LocalBackend, root: Path) -> None:
    with pytest.raises(errors.StoreFull):
        backend.begin("folder/name", size=2**60, part_size=2**40, **PLAIN)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, errors.StoreFull),
        (errno.EDQUOT, errors.StoreFull),
        (errno.EROFS, errors.AccessDenied),
        (errno.EACCES, errors.AccessDenied),
        (errno.EIO, errors.Unavailable),
        (errno.EMFILE, errors.Unavailable),
        (errno.ENOENT, errors.SessionLost),
    ],
)
def test_system_errors_have_their_own_kind(number: int, kind: type[errors.BackendError]) -> None:
    with pytest.raises(kind, match=r"\(at 'the key'\)"), local_paths.classified("the key", errors.SessionLost):
        raise OSError(number, os.strerror(number))


def run_elsewhere(root: Path, code: str) -> str:
    """What a process of its own prints, which has a backend at `root` and then runs `code`."""
    script = f"""
        from pathlib import Path
        from backends.base import Properties
        from backends.body import BytesBody
        from backends.local import LocalBackend, LocalOptions
        backend = LocalBackend(LocalOptions(root=Path({str(root)!r})))
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script) + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return ran.stdout + ran.stderr


def test_a_file_beyond_the_limit_of_the_process_is_a_full_store(root: Path) -> None:
    said = run_elsewhere(
        root,
        """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try: backend.put_whole("name", BytesBody(b"x" * 100_000), properties=Properties())
        except Exception as error: print(type(error).__name__)
        """,
    )
    assert said.strip() == "StoreFull"
    assert list(root.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without rights")
def test_a_root_that_may_not_be_written_is_access_denied(root: Path, tmp_path: Path) -> None:
    root.mkdir()
    for folder in (root, *root.parents):
        if folder.stat().st_uid == 0 and folder != Path(folder.anchor):
            folder.chmod(folder.stat().st_mode | 0o055)
    said = run_elsewhere(
        root,
        """
        import os
        os.seteuid(65534)
        try: backend.begin("name", size=1, part_size=1, properties=Properties())
        except Exception as error: print(type(error).__name__, error)
        """,
    )
    assert said.startswith("AccessDenied Permission denied")


def test_what_a_killed_process_began_can_be_completed_and_found(backend: LocalBackend, root: Path) -> None:
    code = """
        import json, os, signal, msgspec
        session = backend.begin("name", size=8, part_size=4, properties=Properties(content_type="text/plain"))
        receipt = backend.put_part(session, 1, BytesBody(b"1234"))
        print(json.dumps(session), msgspec.json.encode(receipt).decode(), sep="\\n", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    session, receipt = run_elsewhere(root, code).splitlines()
    found = backend.list_sessions("name")
    assert [info.id for info in found] == [json.loads(session)["id"]]
    second = backend.put_part(json.loads(session), 2, BytesBody(b"5678"))
    info = backend.complete(json.loads(session), [second, msgspec.json.decode(receipt, type=Receipt)])
    assert (info.size, info.content_type) == (8, "text/plain")
    assert (root / "name").read_bytes() == b"12345678"


def test_completing_again_after_a_crash_finds_its_own_object(backend: LocalBackend) -> None:
    session, receipts = begun(backend, "name", b"12345678", create_only=True)
    first = backend.complete(session, receipts)
    assert backend.complete(session, receipts) == first


def test_a_crash_between_link_and_unlink_is_mended(backend: LocalBackend, root: Path) -> None:
    session, receipts = begun(backend, "name", b"12345678", create_only=True)
    [unfinished] = root.iterdir()
    os.link(unfinished, root / "name")
    info = backend.complete(session, receipts)
    assert info.size == 8
    assert [path.name for path in root.iterdir()] == ["name"]


def test_bytes_lost_on_the_disk_are_found_when_completing(backend: LocalBackend, root: Path) -> None:
    session, receipts = begun(backend, "name", b"12345678")
    [unfinished] = root.iterdir()
    with unfinished.open("r+b") as file:
        file.write(b"\0")
    with pytest.raises(errors.IntegrityError, match="Part 1 on disk"):
        backend.complete(session, receipts)
    assert not (root / "name").exists()


def test_a_checksum_is_not_told_of_a_file_that_changed(backend: LocalBackend, root: Path) -> None:
    told = backend.put_whole("name", BytesBody(b"1234"), **PLAIN)
    assert told.checksum is not None
    (root / "name").write_bytes(b"5678")
    found = backend.stat("name")
    assert found is not None
    assert found.checksum is None


def test_objects_made_by_others_are_objects(backend: LocalBackend, root: Path) -> None:
    root.mkdir()
    (root / "name").write_bytes(b"made by hand")
    found = backend.stat("name")
    assert found is not None
    assert (found.size, found.content_type, found.metadata) == (12, None, {})


def test_metadata_that_does_not_fit_is_refused_when_the_upload_begins(backend: LocalBackend) -> None:
    with pytest.raises(errors.InvalidRequest, match="metadata"):
        backend.begin("name", size=1, part_size=1, properties=Properties(metadata={"x": "y" * 70_000}))
    assert backend.list_sessions() == []


def test_files_have_the_rights_of_ordinary_files(backend: LocalBackend, root: Path) -> None:
    backend.put_whole("name", BytesBody(b"x"), **PLAIN)
    (root / "ordinary").touch()
    assert (root / "name").stat().st_mode == (root / "ordinary").stat().st_mode


def test_the_root_of_the_file_system_is_refused() -> None:
    with pytest.raises(ValueError, match="root must not be"):
        LocalOptions(root=Path("/tmp/.."))


def test_addresses_are_quoted(root: Path) -> None:
    assert LocalPlugin().url(LocalOptions(root=Path("/data")), "a b/ü?") == "file:///data/a%20b/%C3%BC%3F"
