"""Load: many clients that send the same small form over and over, each waiting for its answer before the next."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field

import uvloop

from benchmarks import wire

CLIENTS = 8
BLOCK = 1 << 18
STREAMING_SECONDS = 0.5  # every large body is under way by then


@dataclass
class Load:
    """What the clients saw: the seconds each answer took, and how long all of it lasted."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    refused: int = 0
    streamed: int = 0  # bytes of the large bodies that were answered meanwhile

    @property
    def accepted(self) -> int:
        return len(self.latencies)


def message(path: str, content: bytes, name: str = "small.bin") -> bytes:
    """The bytes of one request: a form with one file."""
    headers, before, after = wire.form(name, len(content))
    length = len(before) + len(content) + len(after)
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {length}"]
    lines += [f"{header}: {value}" for header, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + before + content + after


class _Client:
    """One connection, opened again whenever the server closes it (gunicorn's sync worker does so every time)."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> int:
        """Send the request and read its answer whole; the status."""
        if not self._streams:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, _, rest = head.partition(b"content-length:")
        if rest:
            await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
        if b"connection: close" in head or not rest:
            self.close()
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None


async def _stream(port: int, path: str, size: int, load: Load) -> None:
    """Forms with one large file each, one after the other, as fast as they are taken; until it is cancelled."""
    headers, before, after = wire.form("large.bin", size)
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(before) + size + len(after)}"]
    lines += [f"{header}: {value}" for header, value in headers.items()]
    head, block = "\r\n".join([*lines, "", ""]).encode() + before, os.urandom(BLOCK)
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head)
            for left in range(size, 0, -BLOCK):
                writer.write(block[:left])
                await writer.drain()
            writer.write(after)
            status = int((await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1])
            if status >= 300:
                raise RuntimeError(f"a large form was answered with {status}")
            load.streamed += size
        finally:
            writer.close()


async def _beside(port: int, path: str, request: bytes, *, count: int, clients: int, streams: int, size: int) -> Load:
    beside = Load()
    async with asyncio.TaskGroup() as group:
        large = [group.create_task(_stream(port, path, size, beside)) for _ in range(streams)]
        await asyncio.sleep(STREAMING_SECONDS)
        beside.streamed = 0
        load = await _drive(port, request, seconds=None, count=count, clients=clients)
        load.streamed = beside.streamed
        for task in large:
            task.cancel()
    return load


async def _drive(
    port: int, request: bytes, *, seconds: float | None, count: int | None, clients: int = CLIENTS
) -> Load:
    load = Load()
    started = time.monotonic()
    deadline = started + seconds if seconds is not None else None
    left = iter(range(count)) if count is not None else None

    async def client() -> None:
        sender = _Client(port)
        try:
            while (deadline is None or time.monotonic() < deadline) and (left is None or next(left, None) is not None):
                begun = time.monotonic()
                status = await sender.send(request)
                if status < 300:
                    load.latencies.append(time.monotonic() - begun)
                else:
                    load.refused += 1
        finally:
            sender.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    load.seconds = time.monotonic() - started
    return load


def drive(port: int, request: bytes, *, seconds: float | None = None, count: int | None = None) -> Load:
    """Send the request from 8 clients at once, for so many seconds or until so many are sent."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_drive(port, request, seconds=seconds, count=count))


def drive_beside(port: int, path: str, request: bytes, *, count: int, clients: int, streams: int, size: int) -> Load:
    """So many small requests from `clients` at once, while `streams` others send forms of `size` bytes without end."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_beside(port, path, request, count=count, clients=clients, streams=streams, size=size))
