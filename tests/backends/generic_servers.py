"""Servers that fsspec's file systems talk to, on loopback and with everything they keep in a directory of ours."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import servers

USER, PASSWORD = "acme", "secret word"


@dataclass(frozen=True)
class FileServer:
    """The options of a destination at a server, and the directory where its files are, behind its back."""

    url: str
    root: Path
    options: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    """Further keys of the destination's table."""
    refused: dict[str, Any] = field(default_factory=dict)
    """Options with which one is not let in, where that is no matter of a password."""

    @property
    def table(self) -> dict[str, Any]:
        return {"url": self.url, "options": self.options, **self.more}

    def toml(self, name: str) -> str:
        """A destination's table for plugins.toml."""
        options = ", ".join(f"{key} = {_value(value)}" for key, value in self.options.items())
        lines = [f"[destinations.{name}]", 'backend = "fsspec"', f'url = "{self.url}"', f"options = {{ {options} }}"]
        return "\n".join([*lines, *(f"{key} = {_value(value)}" for key, value in self.more.items()), ""])


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


@contextlib.contextmanager
def sshd(directory: Path, *, port: int | None = None) -> Iterator[FileServer]:
    """OpenSSH's server with keys of its own, for this very user."""
    program = servers.program("sshd")
    directory.mkdir(parents=True, exist_ok=True)
    root = directory / "files"
    root.mkdir(exist_ok=True)
    for name in ("host", "user"):
        if not (directory / name).exists():
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
            subprocess.run(command, check=True, timeout=20)
    (directory / "authorized").write_bytes((directory / "user.pub").read_bytes())
    (directory / "authorized").chmod(0o600)
    port = port or servers.free_port()
    (directory / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {directory}/host\nPidFile {directory}/pid\n"
        f"AuthorizedKeysFile {directory}/authorized\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "PermitRootLogin prohibit-password\nMaxStartups 100\nMaxSessions 100\nSubsystem sftp internal-sftp\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd will not start without it
    command = [program, "-D", "-e", "-f", str(directory / "sshd_config")]
    user = getpass.getuser()
    with servers.serving(command, port, directory / "sshd.log"):
        yield FileServer(
            f"sftp://{user}@127.0.0.1:{port}{root}",
            root,
            {"key_filename": str(directory / "user"), "look_for_keys": False, "allow_agent": False},
            refused={"key_filename": str(directory / "host")},
        )


def as_sshfs(server: FileServer) -> FileServer:
    """The same server by the other file system for SFTP."""
    keys, others = ({"client_keys": [options["key_filename"]]} for options in (server.options, server.refused))
    return FileServer(server.url, server.root, keys, {"file_system": "sshfs.SSHFileSystem"}, others)


@contextlib.contextmanager
def smbd(directory: Path) -> Iterator[FileServer]:
    """Samba, with a share that anybody with the password of this user may write to."""
    program = servers.program("smbd")
    servers.needs(os.geteuid() == 0, "root, for smbd")
    root = directory / "files"
    root.mkdir(parents=True, exist_ok=True)
    port, user = servers.free_port(), pwd.getpwuid(os.geteuid()).pw_name
    state = directory / "state"
    state.mkdir()
    config = directory / "smb.conf"
    places = "".join(
        f"{name} directory = {state}\n" for name in ("state", "cache", "lock", "pid", "private", "ncalrpc")
    )
    config.write_text(
        f"[global]\nserver role = standalone\ninterfaces = 127.0.0.1\nbind interfaces only = yes\n"
        f"smb ports = {port}\n"
        f"{places}passdb backend = tdbsam:{state}/passdb.tdb\nlog file = {directory}/log\n"
        "disable spoolss = yes\n"
        "load printers = no\nserver min protocol = SMB2\nmap to guest = never\n"
        f"[share]\npath = {root}\nread only = no\n"
        f"force user = {user}\nadmin users = {user}\nstrict allocate = no\n"
    )
    subprocess.run(
        [servers.program("smbpasswd"), "-c", str(config), "-s", "-a", user],
        input=f"{PASSWORD}\n{PASSWORD}\n".encode(), check=True, timeout=20, capture_output=True,
    )  # fmt: skip
    command = [program, "--foreground", "--no-process-group", "-s", str(config), "--debug-stdout"]
    with servers.serving(command, port, directory / "smbd.log"):
        yield FileServer(f"smb://127.0.0.1:{port}/share/in", root / "in", {"username": user, "password": PASSWORD})


_FTP = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
port, root, user, password = sys.argv[1:]
authorizer = DummyAuthorizer()
authorizer.add_user(user, password, root, perm="elradfmwMT")
FTPHandler.authorizer = authorizer
FTPHandler.auth_failed_timeout = 0
FTPServer(("127.0.0.1", int(port)), FTPHandler).serve_forever(handle_exit=True)
"""


@contextlib.contextmanager
def ftpd(directory: Path) -> Iterator[FileServer]:
    root, port = directory / "files", servers.free_port()
    root.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-W", "ignore", "-c", _FTP, str(port), str(root), USER, PASSWORD]
    with servers.serving(command, port, directory / "ftpd.log"):
        yield FileServer(f"ftp://127.0.0.1:{port}/in", root / "in", {"username": USER, "password": PASSWORD})


_DAV = """
import sys
from cheroot import wsgi
from wsgidav.wsgidav_app import WsgiDAVApp
port, root, user, password = sys.argv[1:]
app = WsgiDAVApp({
    "provider_mapping": {"/": root},
    "simple_dc": {"user_mapping": {"*": {user: {"password": password}}}},
    "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
    "logging": {"enable": False}, "verbose": 0,
})
wsgi.Server(("127.0.0.1", int(port)), app, numthreads=20).start()
"""


@contextlib.contextmanager
def wsgidav(directory: Path) -> Iterator[FileServer]:
    root, port = directory / "files", servers.free_port()
    (root / "in").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-W", "ignore", "-c", _DAV, str(port), str(root), USER, PASSWORD]
    with servers.serving(command, port, directory / "dav.log"):
        yield FileServer(f"webdav://127.0.0.1:{port}/in", root / "in", {"username": USER, "password": PASSWORD})


@contextlib.contextmanager
def rclone_webdav(directory: Path) -> Iterator[FileServer]:
    root, port = directory / "files", servers.free_port()
    (root / "in").mkdir(parents=True, exist_ok=True)
    command = [servers.program("rclone"), "serve", "webdav", "--config", os.devnull, "--addr", f"127.0.0.1:{port}"]
    command += ["--user", USER, "--pass", PASSWORD, "--dir-cache-time", "100ms", str(root)]
    with servers.serving(command, port, directory / "rclone.log", {"XDG_CACHE_HOME": str(directory / "cache")}):
        yield FileServer(f"webdav://127.0.0.1:{port}/in", root / "in", {"username": USER, "password": PASSWORD})
