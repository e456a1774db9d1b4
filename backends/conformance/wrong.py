"""Destinations made wrong on purpose: nobody at the address, somebody who breaks off or never answers, bad secrets."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from backends.base import HasEndpoint
from backends.destinations import SECRET_NAME
from backends.registry import Destination

LOOPBACK = "127.0.0.1"
IMPATIENCE_SECONDS = 1.0
"""What every option whose name ends with `timeout_seconds` becomes, so that nobody waits for long."""


@contextlib.contextmanager
def nobody() -> Iterator[int]:
    """A port where nothing listens; it is held, so that nothing else comes to listen there."""
    with socket.socket() as held:
        held.bind((LOOPBACK, 0))
        yield held.getsockname()[1]


@contextlib.contextmanager
def who_breaks_off() -> Iterator[int]:
    """A port where every connection is taken and reset, at the first byte or a moment later."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        thread = threading.Thread(target=_reset_all, args=[listener], daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


@contextlib.contextmanager
def who_never_answers() -> Iterator[int]:
    """A port where the kernel takes every connection, and nobody ever reads or writes."""
    with socket.create_server((LOOPBACK, 0), backlog=128) as listener:
        yield listener.getsockname()[1]


def _reset_all(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # the listener was shut down
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.settimeout(0.2)
            connection.recv(1)


def moved(destination: Destination, port: int) -> Destination:
    """The same destination at a port of this machine, and impatient. Skips the check where there is no address."""
    plugin, options = destination.plugin, destination.options
    if not isinstance(plugin, HasEndpoint):
        pytest.skip("this backend names no option `endpoint`, so its server cannot be replaced")
    told, timeouts = getattr(options, plugin.endpoint), _impatient(options)
    has_port = "port" in options.__struct_fields__
    if told is not None and "//" in told and not urlsplit(told).hostname:
        pytest.skip("there is no server at the address of this destination")
    if told is None or "//" in told:
        changes: dict[str, Any] = {plugin.endpoint: _readdressed(told or "http://host", port)}
    else:
        changes = {plugin.endpoint: LOOPBACK, "port": port} if has_port else {plugin.endpoint: f"{LOOPBACK}:{port}"}
    try:
        return replace(destination, options=msgspec.structs.replace(options, **changes, **timeouts))
    except ValueError as error:
        pytest.skip(f"this destination takes no other address: {error}")


def denied(destination: Destination) -> Destination:
    """The same destination with other secrets of the same shape. Skips the check where none can be made."""
    secrets = {name: getattr(destination.options, name) for name in destination.plugin.secrets}
    changed = {name: _spoiled(value) for name, value in secrets.items()}
    if changed == secrets:
        pytest.skip("this destination holds no secret that could be a wrong one; --denied names one that is refused")
    return replace(destination, options=msgspec.structs.replace(destination.options, **changed))


def secret_texts(destination: Destination) -> list[str]:
    """The secrets of the destination that are long enough not to be found in a text by chance."""
    values = [getattr(destination.options, name) for name in destination.plugin.secrets]
    texts = [text for value in values for text in (_named_secrets(value) if isinstance(value, dict) else [value])]
    return [text for text in texts if isinstance(text, str) and len(text) >= 8]


def _readdressed(address: str, port: int) -> str:
    parts = urlsplit(address)
    user = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{user}@{LOOPBACK}:{port}" if user else f"{LOOPBACK}:{port}").geturl()


def _impatient(options: msgspec.Struct) -> dict[str, float]:
    names = options.__struct_fields__
    return {name: IMPATIENCE_SECONDS for name in names if name.endswith("timeout_seconds")}


def _spoiled(value: Any) -> Any:
    """Another secret that looks like this one: a key in base64 stays base64."""
    if isinstance(value, Mapping):
        return {**value, **{name: _spoiled(text) for name, text in value.items() if _is_secret(name, text)}}
    if isinstance(value, str):
        return value.swapcase() if value.swapcase() != value else value[::-1]
    return value


def _named_secrets(table: Mapping[str, Any]) -> list[str]:
    return [text for name, text in table.items() if _is_secret(name, text)]


def _is_secret(name: str, value: Any) -> bool:
    """In a table of options that counts as secret as a whole, some are names of users and the like."""
    return isinstance(value, str) and bool(SECRET_NAME.search(name))
