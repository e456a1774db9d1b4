"""The pieces of the `fsspec` backend that need no server: options, families, keys, errors."""

from __future__ import annotations

import errno
from ftplib import error_perm, error_temp
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends import errors
from backends.base import Properties
from backends.body import BytesBody
from backends.errors import InvalidRequest
from backends.generic import KINDS, REFUSED, FsspecOptions, FsspecPlugin, check_key
from backends.generic_backend import GenericBackend
from backends.generic_errors import from_exception, missing
from backends.generic_sftp import told_apart
from backends.generic_webdav import Refused

PLUGIN = FsspecPlugin()


def options(url: str = "sftp://files.example/in", **more: Any) -> FsspecOptions:
    return msgspec.convert({"url": url, **more}, FsspecOptions)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"url": "files.example/in"}, "protocol://host/path"),
        ({"url": "zip::sftp://x/y"}, "with `::`: name the store"),
        ({"url": "simplecache::s3://x/y"}, "with `::`: name the store"),
        ({"url": "simplecache://x/y"}, "simplecache:// keeps copies .*: name the store behind it"),
        ({"url": "filecache://x/y"}, "name the store behind it"),
        ({"url": "blockcache://x/y"}, "name the store behind it"),
        ({"url": "dir://x/y"}, "name that one itself"),
        ({"url": "zip://x.zip"}, "is one archive file"),
        ({"url": "tar://x.tar"}, "is one archive file"),
        ({"url": "reference://x"}, "can only be read"),
        ({"url": "github://org:repo@main/x"}, "can only be read"),
        ({"url": "data://x"}, "can only be read"),
        ({"url": "https://dav.example/x"}, "can only be read: .* webdavs://"),
        ({"file_system": "fsspec.implementations.cached.SimpleCacheFileSystem"}, "SimpleCacheFileSystem keeps copies"),
        ({"file_system": "fsspec.implementations.dirfs.DirFileSystem"}, "name that one itself"),
        ({"file_system": "fsspec.generic.GenericFileSystem"}, "name that one itself"),
        ({"url": "sftp://u:secret@x/y"}, "holds a password"),
        ({"url": "sftp://x/y?z=1"}, "ends with its path"),
        ({"file_system": "sshfs"}, "path of a class"),
        ({"file_system": "os.system('x').y"}, "path of a class"),
        ({"options": {"target_options": {}}}, "target_options"),
        ({"options": {"proxy_command": "rm -rf /"}}, "proxy_command"),
        ({"read_timeout_seconds": 0}, "positive"),
    ],
)
def test_options_that_cannot_be(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises((ValueError, msgspec.ValidationError), match=why) as raised:
        options(**{"url": "sftp://x/y", **wrong})
    assert "secret" not in str(raised.value)


def test_every_class_of_fsspec_is_refused_where_its_protocol_is() -> None:
    from fsspec.registry import known_implementations

    for protocol in REFUSED.keys() & known_implementations.keys():
        path = known_implementations[protocol]["class"]
        if path.startswith("fsspec."):
            with pytest.raises(ValueError, match=path.rpartition(".")[2]):
                options("sftp://x/y", file_system=path)


def test_a_class_of_ones_own_may_have_any_address() -> None:
    assert options("https://files.example/x", file_system="acme.storage.AcmeFileSystem").kind.family == "whole"


@pytest.mark.parametrize(
    ("url", "more", "family", "parts", "create_only", "invisible"),
    [
        ("sftp://x/y", {}, "offset", 100_000, True, True),
        ("sftp://x/y", {"file_system": "sshfs.SSHFileSystem"}, "offset", 100_000, True, True),
        ("smb://x/share", {}, "offset", 100_000, True, True),
        ("ftp://x/y", {}, "ordered", 100_000, False, True),
        ("webdavs://x/y", {}, "whole", 1, False, True),
        ("file:///srv", {}, "offset", 100_000, True, True),
        ("hf://datasets/x", {}, "whole", 1, False, False),
        ("nobody+knows://x", {}, "whole", 1, False, False),
        ("nobody+knows://x", {"family": "offset"}, "offset", 100_000, False, False),
        ("sftp://x/y", {"family": "whole"}, "whole", 1, False, True),
    ],
)
def test_what_a_file_system_is_said_to_give(
    url: str, more: dict[str, Any], family: str, parts: int, create_only: bool, invisible: bool
) -> None:
    given = options(url, **more)
    claimed = PLUGIN.capabilities(given)
    assert given.kind.family == family
    assert (claimed.max_parts, claimed.create_only, claimed.invisible) == (parts, create_only, invisible)
    assert claimed.parallel_parts == (family == "offset")
    assert not claimed.metadata


@pytest.mark.parametrize("key", ["a", "a/b", "ünï/日本", "two words", "100%", "{}$*?#", "-rf", "$(id)", ".hidden"])
def test_keys_that_are_kept(key: str) -> None:
    assert "/".join(check_key(key, KINDS["sftp"])) == key
    assert list(PLUGIN.object_faults(options(), key, Properties())) == []


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", "../a", "a/./b", "a\0", "a\r\nb", "a::b", "s3://x", "a ", " a/b", "x" * 256, "\ud800"],
)
def test_keys_that_are_refused(key: str) -> None:
    with pytest.raises(InvalidRequest):
        check_key(key, KINDS["sftp"])
    assert [name for name, _ in PLUGIN.object_faults(options(), key, Properties())] == ["key"]


@pytest.mark.parametrize("key", ["a\\b", "a:b", "what?", "CON", "nul.txt", "a.", "x/lpt1/y", "a|b"])
def test_keys_that_windows_does_not_keep(key: str) -> None:
    with pytest.raises(InvalidRequest):
        check_key(key, KINDS["smb"])
    check_key(key, KINDS["sftp"])


def test_addresses_show_where_and_no_secret() -> None:
    given = options("sftp://acme@x:22/in/", options={"password": "hidden"})
    assert PLUGIN.url(given, "a/b") == "sftp://acme@x:22/in/a/b"
    assert PLUGIN.secrets == {"options"}


def named(name: str, base: type[Exception] = Exception, module: str = "somewhere", **more: Any) -> Exception:
    """An error of a library that is not installed."""
    made = type(name, (base,), {"__module__": module})("what it said")
    for field, value in more.items():
        setattr(made, field, value)
    return made  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError("x"), errors.DestinationMissing),
        (OSError(errno.ENOENT, "x"), errors.DestinationMissing),
        (PermissionError(errno.EACCES, "x"), errors.AccessDenied),
        (OSError(errno.ENOSPC, "x"), errors.StoreFull),
        (OSError(errno.EDQUOT, "x"), errors.StoreFull),
        (NotADirectoryError(errno.ENOTDIR, "x"), errors.InvalidRequest),
        (TimeoutError("x"), errors.TimedOut),
        (ConnectionResetError("x"), errors.ConnectionFailed),
        (EOFError("x"), errors.ConnectionFailed),
        (OSError("Socket is closed"), errors.ConnectionFailed),
        (OSError("Failure"), errors.TransientError),
        (OSError(errno.EBADF, "x"), errors.ConnectionFailed),
        (OSError(errno.EHOSTUNREACH, "x"), errors.ConnectionFailed),
        (named("SMBOSError", OSError, ntstatus=0xC0000043), errors.Unavailable),
        (named("SMBOSError", OSError, ntstatus=0xC000007F), errors.StoreFull),
        (named("SFTPNoConnection"), errors.ConnectionFailed),
        (named("HostKeyUnknown"), errors.AccessDenied),
        (named("AuthenticationException"), errors.AccessDenied),
        (named("NoValidConnectionsError"), errors.ConnectionFailed),
        (named("SSHException"), errors.ConnectionFailed),
        (named("PermissionDenied"), errors.AccessDenied),
        (named("LogonFailure"), errors.AccessDenied),
        (named("BadNetworkName"), errors.DestinationMissing),
        (named("ConnectTimeout", type("TimeoutException", (Exception,), {"__module__": "httpx"})), errors.TimedOut),
        (named("ReadError", type("TransportError", (Exception,), {"__module__": "httpx"})), errors.ConnectionFailed),
        (error_perm("530 Login incorrect."), errors.AccessDenied),
        (error_perm("550 No such file or directory."), errors.DestinationMissing),
        (error_perm("550 Permission denied."), errors.AccessDenied),
        (error_perm("552 Quota exceeded."), errors.StoreFull),
        (error_perm("553 Name not allowed."), errors.InvalidRequest),
        (error_perm("500 What?"), errors.InvalidRequest),
        (error_temp("421 Too many connections."), errors.Unavailable),
        (Refused("PUT", 401), errors.AccessDenied),
        (Refused("PUT", 404), errors.DestinationMissing),
        (Refused("MOVE", 412), errors.ObjectExists),
        (Refused("PUT", 423), errors.Throttled),
        (Refused("PUT", 507), errors.StoreFull),
        (Refused("PUT", 502), errors.Unavailable),
        (Refused("PUT", 418), errors.InvalidRequest),
        (RuntimeError("nobody knows"), errors.TransientError),
    ],
)
def test_what_an_error_means(error: Exception, kind: type[errors.BackendError]) -> None:
    told = from_exception(error, "send part 3")
    assert type(told) is kind
    assert told.detail.startswith("Cannot send part 3: ")


def test_a_cause_tells_more_than_what_hides_it() -> None:
    try:
        try:
            raise named("AuthenticationException")
        except Exception as cause:
            raise OSError("something went wrong") from cause
    except OSError as error:
        assert type(from_exception(error, "connect")) is errors.AccessDenied


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("SSHException", "No existing session", errors.TimedOut),
        ("SSHException", "Error reading SSH protocol banner", errors.ConnectionFailed),
        ("AuthenticationException", "Authentication timeout.", errors.TimedOut),
        ("AuthenticationException", "Authentication failed.", errors.AccessDenied),
        ("DisconnectError", "Login timeout expired", errors.TimedOut),
        ("SMBException", "Connection timeout of 1.0 seconds exceeded", errors.TimedOut),
        ("LogonFailure", "user timeout", errors.AccessDenied),
    ],
)
def test_silence_is_told_by_words_where_a_library_has_no_class_for_it(
    name: str, text: str, kind: type[errors.BackendError]
) -> None:
    assert type(from_exception(type(name, (Exception,), {"__module__": "library"})(text), "connect")) is kind


@pytest.mark.parametrize(
    ("room", "kind"),
    [(0, errors.StoreFull), (9, errors.StoreFull), (10, errors.TransientError), (None, errors.TransientError)],
)
def test_a_failure_by_sftp_is_a_full_disk_where_the_server_has_no_room(
    room: int | None, kind: type[errors.BackendError]
) -> None:
    class Server:
        spoiled = False

        def room(self, path: str) -> int:
            if room is None:
                raise OSError("Operation unsupported")
            return room

    server = Server()
    with pytest.raises(OSError) as raised, told_apart(server, "/x", BytesBody(bytes(10))):
        raise OSError("Failure")
    assert type(from_exception(raised.value, "send part 1")) is kind
    assert server.spoiled


def test_a_banner_that_did_not_come_in_time_is_silence() -> None:
    banner = type("SSHException", (Exception,), {"__module__": "paramiko"})("Error reading SSH protocol banner")
    banner.__context__ = TimeoutError()
    assert type(from_exception(banner, "connect")) is errors.TimedOut


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"url": "nobody+knows://x"}, "fsspec knows no protocol 'nobody\\+knows'"),
        ({"file_system": "fsspec.implementations.ftp.Nothing"}, "no class Nothing"),
    ],
)
def test_a_file_system_that_there_is_not_is_told_when_it_is_built(more: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        PLUGIN.build(options(**{"url": "sftp://x/y", **more}))


def test_an_error_of_ours_stays_what_it_is() -> None:
    mine = errors.SessionLost("gone")
    assert from_exception(mine, "x") is mine


def test_no_password_is_repeated() -> None:
    told = from_exception(RuntimeError("login failed: password=hunter2 for acme\r\nSet-Cookie: 1"), "connect")
    assert "hunter2" not in told.detail
    assert told.detail.isprintable()


def test_what_is_not_there_is_known_in_every_library() -> None:
    assert missing(named("ResourceNotFound"))
    assert missing(error_perm("550 File not found"))
    assert not missing(error_perm("550 Permission denied"))
    assert not missing(PermissionError(errno.EACCES, "x"))


def test_a_link_does_not_lead_out_of_a_directory(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    (inside / "folder").mkdir(parents=True)
    outside.mkdir()
    (inside / "out").symlink_to(outside)
    (inside / "in").symlink_to(inside / "folder")
    backend = PLUGIN.build(options(f"file://{inside}"))
    for call in (backend.stat, backend.delete, lambda key: put(backend, key)):
        with pytest.raises(InvalidRequest, match="leads out"):
            call("out/file")
    put(backend, "in/file")
    assert (inside / "folder" / "file").read_bytes() == b"x"
    assert not list(outside.iterdir())


def put(backend: GenericBackend, key: str) -> None:
    backend.put_whole(key, BytesBody(b"x"), properties=Properties())
