"""The `fsspec` backend: any file system that fsspec can reach, by its protocol or the path of its class.

For the operator. Needs: rights to list, read, create, rename and delete below the path of `url`. Makes: each upload is
one file beside its target, `.<name>.<session>.bucketline-part`; completing reads it back, compares every part with its
receipt, and renames it into place; with `verify = "size"`, only its size is compared. Aborting removes it; folders that
were made for it stay. Should a machine be lost for good, `bucketline gc` finds such files.

What a file system can do decides its *family*. `offset`: parts are written where they belong, many at once (SFTP, SMB,
directories). `ordered`: one after the other at the end of the file (FTP). `whole`: the file is sent in one piece, and a
failure sends it again from its start (WebDAV, and everything that nobody has looked at). docs/backends/fsspec.md has
the table of what each gives and does not give.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec

from backends.base import GIB, TIB, Capabilities, Properties
from backends.errors import InvalidRequest
from backends.local_paths import split_key

if TYPE_CHECKING:
    from backends.generic_backend import GenericBackend

Family = Literal["offset", "ordered", "whole"]

_WINDOWS = r'[\\:*?"<>|]|[ .]$|(?i:^(con|prn|aux|nul|com[0-9]|lpt[0-9])([.]|$))'


@dataclass(frozen=True)
class Kind:
    """What is known of one file system."""

    family: Family
    files: str = "Files"
    """The class of `backends.generic_files` that knows its peculiarities."""
    create_only: bool = False
    """Giving a file its name without ever replacing another is one step there: a rename, or a hard link."""
    renames: bool = True
    """A rename is one step there; otherwise it is a copy, which can be seen while it is being made."""
    any_process: bool = True
    refused: str = ""
    """A pattern of what no name may have there."""


#: By protocol, or by the path of a class. What is not in here is whole, and renames by copying.
KINDS: Mapping[str, Kind] = {
    "sftp": Kind("offset", "SftpFiles", create_only=True),
    "ssh": Kind("offset", "SftpFiles", create_only=True),
    "sshfs.SSHFileSystem": Kind("offset", "SshfsFiles", create_only=True),
    "smb": Kind("offset", "SmbFiles", create_only=True, refused=_WINDOWS),
    "ftp": Kind("ordered", "FtpFiles"),
    "webdav": Kind("whole", "WebdavFiles"),
    "webdavs": Kind("whole", "WebdavFiles"),
    "file": Kind("offset", "LocalFiles", create_only=True),
    "local": Kind("offset", "LocalFiles", create_only=True),
    "memory": Kind("whole", renames=False, any_process=False),
}
UNKNOWN = Kind("whole", renames=False)

#: What cannot keep what this backend promises, by protocol or by fsspec's module: why not, and what to do.
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(
        ("simplecache", "filecache", "blockcache", "cached"),
        "keeps copies on this machine, and calls stored what only a cache has: name the store behind it itself",
    ),
    **dict.fromkeys(
        ("dir", "dirfs", "generic", "asyncwrapper", "asyn_wrapper", "dask"),
        "stands in front of another file system: name that one itself; a folder of it goes into the path",
    ),
    **dict.fromkeys(
        ("zip", "tar", "libarchive"), "is one archive file, not a store: name the store that shall hold the files"
    ),
    **dict.fromkeys(("reference", "data", "git", "github", "gist", "dvc"), "can only be read"),
    **dict.fromkeys(
        ("http", "https"), "can only be read: for a WebDAV server write webdav:// or webdavs://, else its own protocol"
    ),
}

#: Options that make fsspec open another file system inside, or hand a shell or a hook to it.
HOOKS = frozenset({
    "target_options", "target_protocol", "remote_options", "remote_protocol", "fo", "fs", "client", "proxy_command",
})  # fmt: skip


class FsspecOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a destination with `backend = "fsspec"`."""

    url: str
    """`protocol://[user@]host[:port]/path`; everything is kept below the path."""
    file_system: str | None = None
    """The path of a class, `package.Class`, to use instead of what fsspec has for the protocol."""
    options: dict[str, Any] = {}
    """What the file system itself takes: user name, password, key file… Never shown."""
    family: Literal["auto", "offset", "ordered", "whole"] = "auto"
    verify: Literal["read_back", "size"] = "read_back"
    """What is compared before a file gets its name: every byte that is stored, or only how many there are."""
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        address = urlsplit(self.url)
        if "::" in self.url:
            raise ValueError("`url` chains file systems with `::`: name the store that shall hold the files, alone")
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*", address.scheme):
            raise ValueError("`url` is `protocol://host/path`")
        if why := self._refusal(address.scheme):
            raise ValueError(why)
        if address.password is not None:
            raise ValueError('`url` holds a password: put it into `options`, as password = "${NAME}"')
        if address.query or address.fragment:
            raise ValueError("`url` ends with its path, without ? and #")
        if self.file_system is not None and not re.fullmatch(r"[A-Za-z_][\w.]*\.[A-Za-z_]\w*", self.file_system):
            raise ValueError("`file_system` is the path of a class, such as sshfs.SSHFileSystem")
        for name in sorted(HOOKS & self.options.keys()):
            raise ValueError(f"`options.{name}` opens something else behind this destination, and is not taken")
        if self.connect_timeout_seconds <= 0 or self.read_timeout_seconds <= 0:
            raise ValueError("timeouts are positive numbers of seconds")

    def _refusal(self, protocol: str) -> str:
        if self.file_system is None:
            return f"{protocol}:// {REFUSED[protocol]}" if protocol in REFUSED else ""
        module = self.file_system.rpartition(".")[0].rpartition(".")[2]
        of_fsspec = self.file_system.startswith("fsspec.") and module in REFUSED
        return f"{self.file_system} {REFUSED[module]}" if of_fsspec else ""

    @property
    def directories(self) -> Mapping[str, Path]:
        """The directories of this machine that the destination writes to, by the option that names them."""
        address = urlsplit(self.url)
        return {"url": Path(address.path or "/")} if address.scheme in ("file", "local") else {}

    @property
    def kind(self) -> Kind:
        """What is known of this file system, with the family that was asked for."""
        known = KINDS.get(self.file_system or urlsplit(self.url).scheme, UNKNOWN)
        if self.family == "auto" or self.family == known.family:
            return known
        files = known.files if known.family != "ordered" and self.family != "ordered" else "Files"
        return replace(known, family=self.family, files=files, create_only=False)


class FsspecPlugin:
    """The entry point `fsspec` of the group `bucketline.backends`."""

    name: ClassVar[str] = "fsspec"
    Options: ClassVar[type[msgspec.Struct]] = FsspecOptions
    secrets: ClassVar[frozenset[str]] = frozenset({"options"})
    endpoint: ClassVar[str] = "url"

    def capabilities(self, options: FsspecOptions) -> Capabilities:
        kind = options.kind
        whole = kind.family == "whole"
        return Capabilities(
            max_part=5 * TIB if whole else GIB,
            max_parts=1 if whole else 100_000,
            max_object=5 * TIB,
            parallel_parts=kind.family == "offset",
            create_only=kind.create_only,
            invisible=kind.renames,
            any_process=kind.any_process,
        )

    def object_faults(self, options: FsspecOptions, key: str, properties: Properties) -> Iterator[tuple[str, str]]:
        try:
            check_key(key, options.kind)
        except InvalidRequest as error:
            yield "key", error.detail

    def url(self, options: FsspecOptions, key: str) -> str:
        return f"{options.url.rstrip('/')}/{key}"

    def build(self, options: FsspecOptions) -> GenericBackend:
        from backends.generic_backend import GenericBackend

        made = GenericBackend(options, self.capabilities(options))
        made.find_class()  # a missing library shows here, and not in the first transfer
        return made


def check_key(key: str, kind: Kind) -> list[str]:
    """The folders and the name of a key; raises `InvalidRequest` for one that would not be kept byte for byte."""
    names = split_key(key)
    if re.search(r"[\x00-\x1f\x7f]", key):
        raise InvalidRequest("The key has a control character.")
    if "::" in key or re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", key):
        raise InvalidRequest("The key looks like an address to fsspec.")
    if names[-1] != names[-1].rstrip() or any(name != name.strip() for name in names):
        raise InvalidRequest("A name in the key begins or ends with a space, which not every server keeps.")
    if kind.refused and any(re.search(kind.refused, name) for name in names):
        raise InvalidRequest("A name in the key has a character, or is a word, that this kind of server does not keep.")
    return names
