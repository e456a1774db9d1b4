"""The destination under test made wrong on purpose: another address, other secrets.

Nothing here knows a backend. An address is any option that is written as `scheme://host/…`; a secret is what the
plug-in calls one, or what is called a password in a table of such; times to wait are `connect_timeout_seconds` and
`read_timeout_seconds`, where it has them.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec
import pytest

from backends.registry import Destination

GIVEN_UP_SECONDS = 60.0
"""How long any call may last where nobody answers, with the shortest times to wait."""
_SHORT_SECONDS = 1.0
_TIMES = ("connect_timeout_seconds", "read_timeout_seconds")
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing drops everything and tells the other side


def elsewhere(destination: Destination, port: int) -> Destination:
    """The same destination at a port of this machine. Skips the check where no option is an address."""
    options = _options(destination)
    moved = {name: _moved(value, port) for name, value in options.items() if isinstance(value, str) and "://" in value}
    moved = {name: value for name, value in moved.items() if value != options[name]}
    if not moved:
        pytest.skip("none of this destination's options is the address of a server")
    times = {name: _SHORT_SECONDS for name in _TIMES if name in options}
    return _with(destination, {**moved, **times})


def locked_out(destination: Destination) -> Destination:
    """The same destination with other secrets. Skips the check where it has none."""
    options = _options(destination)
    secret = {name: options[name] for name in destination.plugin.secrets if options.get(name)}
    wrong = {name: _spoiled(value) for name, value in secret.items()}
    wrong = {name: value for name, value in wrong.items() if value != options[name]}
    if not wrong:
        pytest.skip("this destination has no secret that could be wrong")
    return _with(destination, wrong)


@contextmanager
def nobody() -> Iterator[int]:
    """A port where nothing listens."""
    with socket.socket() as taken:  # bound, so that nobody else gets it
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def breaking() -> Iterator[int]:
    """A port where every connection is reset."""

    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.close()

    with _listening(reset) as port:
        yield port


@contextmanager
def silent() -> Iterator[int]:
    """A port where every connection is taken, and never answered."""
    kept: list[socket.socket] = []
    try:
        with _listening(kept.append) as port:
            yield port
    finally:
        for connection in kept:
            connection.close()


def ended(call: Callable[[], object]) -> object:
    """What the call returned or raised; a failure of the check when it does not end."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(GIVEN_UP_SECONDS)
    assert found, f"it still waits after {GIVEN_UP_SECONDS:.0f} s"
    return found[0]


@contextmanager
def _listening(take: Callable[[socket.socket], object]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:

        def serve() -> None:
            with suppress(OSError):  # the server is closed
                while True:
                    take(server.accept()[0])

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)  # wakes who accepts


def _options(destination: Destination) -> dict[str, Any]:
    options = destination.options
    return {name: getattr(options, name) for name in options.__struct_fields__}


def _with(destination: Destination, changes: Mapping[str, Any]) -> Destination:
    return replace(destination, options=msgspec.structs.replace(destination.options, **changes))


def _moved(address: str, port: int) -> str:
    parts: SplitResult = urlsplit(address)
    if not parts.netloc:
        return address
    user, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}{at}127.0.0.1:{port}").geturl()


def _spoiled(secret: Any) -> Any:
    """Another secret of the same form, so that it is the server who refuses it."""
    if isinstance(secret, Mapping):
        return {name: _spoiled(value) if "password" in name else value for name, value in secret.items()}
    return secret.swapcase() if isinstance(secret, str) else secret
