"""Runs one verb of a backend in a process of its own, which knows nothing but what is handed to it as JSON."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import ParamSpec, TypeVar

import msgspec

from backends.base import Receipt
from backends.body import BytesBody
from backends.registry import Destination

P = ParamSpec("P")
Answer = TypeVar("Answer")


def put_part_elsewhere(destination: Destination, session: str, number: int, data: bytes) -> bytes:
    """The receipt, as JSON, of a part that another process sent."""
    return _in_new_process(_put_part, destination, session, number, data)


def complete_elsewhere(destination: Destination, session: str, receipts: bytes) -> None:
    """Complete the session in another process."""
    _in_new_process(_complete, destination, session, receipts)


def _put_part(destination: Destination, session: str, number: int, data: bytes) -> bytes:
    backend = destination.build()
    try:
        return msgspec.json.encode(backend.put_part(json.loads(session), number, BytesBody(data)))
    finally:
        backend.close()


def _complete(destination: Destination, session: str, receipts: bytes) -> None:
    backend = destination.build()
    try:
        backend.complete(json.loads(session), msgspec.json.decode(receipts, type=list[Receipt]))
    finally:
        backend.close()


def _in_new_process(call: Callable[P, Answer], *arguments: P.args, **options: P.kwargs) -> Answer:
    """Spawned, not forked: backends are built after a fork, and a spawned process shares nothing with us."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *arguments, **options).result()
