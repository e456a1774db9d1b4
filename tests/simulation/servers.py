"""Redis as the simulated processes see it: the ledger's door with lost requests and answers, and the queue.

Two servers keep the ledger: the in-memory twin, and a real Valkey whose clock is replaced in the prelude's text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from dramatiq import Message

from engine.broker import WakingBroker
from engine.errors import LedgerUnavailable
from engine.ledger import PREFIX, Ledger, script
from engine.operations import Operation
from tests.simulation.kernel import Fiber, Kernel, Process, Violation
from tests.simulation.keyspace import Hash, ReplyError, Snapshot
from tests.simulation.twin import Twin

T = TypeVar("T")
Patch = tuple[str, str]

#: What of a job and its transfers the invariants look at.
JOB_FIELDS = ("state", "run", "transfers")
TRANSFER_FIELDS = ("state", "sent", "floor", "session", "window", "key")


class Server(Protocol):
    """Where the ledger lives."""

    def run(self, name: str, args: Sequence[Any], now_us: int) -> Any: ...
    def fields(self, key: str) -> Mapping[str, str]: ...
    def count_leases(self, transfer: str) -> int: ...
    def has_receipt(self, transfer: str, number: int) -> bool: ...
    def orphans(self) -> set[str]: ...
    def save(self) -> object: ...
    def load(self, saved: object) -> None: ...
    def wipe(self) -> None: ...


def patched(name: str, patches: Mapping[str, Patch]) -> str:
    """The text of a script, with the changes that a planted bug makes to it."""
    text = script(name).source
    if name in patches:
        old, new = patches[name]
        assert old in text, f"{name}.lua does not say {old!r} any more"
        text = text.replace(old, new)
    if "prelude" in patches:
        old, new = patches["prelude"]
        assert old in text, f"prelude.lua does not say {old!r} any more"
        text = text.replace(old, new)
    return text


class TwinServer:
    """The ledger in the in-memory twin."""

    def __init__(self, patches: Mapping[str, Patch]) -> None:
        for name in patches:
            patched(name if name != "prelude" else "read", patches)  # says at once when a planted bug does not fit
        self.patches = patches
        self._version = frozenset(patches.items())
        self.twin = _twin()
        self.twin.flush()

    def run(self, name: str, args: Sequence[Any], now_us: int) -> Any:
        self.twin.keyspace.now_us = now_us
        text = _texts.get((name, self._version))
        if text is None:
            text = _texts[name, self._version] = patched(name, self.patches)
        return self.twin.eval(text, [PREFIX], args)

    def fields(self, key: str) -> Mapping[str, str]:
        found = self.twin.keyspace.find((PREFIX + key).encode())
        return {name.decode(): value.decode() for name, value in found.items()} if isinstance(found, Hash) else {}

    def count_leases(self, transfer: str) -> int:
        now = self.twin.keyspace.now_ms
        count = self.twin.execute("ZCOUNT", f"{PREFIX}t:{transfer}:leases", f"({now}", "+inf")
        assert isinstance(count, int)
        return count

    def has_receipt(self, transfer: str, number: int) -> bool:
        return bool(self.twin.execute("HEXISTS", f"{PREFIX}t:{transfer}:receipts", number))

    def orphans(self) -> set[str]:
        return set(self.fields("orphans"))

    def save(self) -> object:
        return self.twin.snapshot()

    def load(self, saved: object) -> None:
        assert isinstance(saved, Snapshot)
        self.twin.restore(saved)

    def wipe(self) -> None:
        self.twin.flush()


_texts: dict[tuple[str, frozenset[tuple[str, Patch]]], str] = {}
_shared: list[Twin] = []


def _twin() -> Twin:
    """One twin for all runs of this process: its scripts are compiled once."""
    if not _shared:
        _shared.append(Twin())
    return _shared[0]


class ValkeyServer:
    """The ledger in a real Valkey. The scripts get the virtual time as two more keys."""

    CLOCK: Patch = ("redis.call('TIME')", "{KEYS[2], KEYS[3]}")

    def __init__(self, client: Any, patches: Mapping[str, Patch]) -> None:
        self.client: Any = client
        self.patches = patches
        self.now_us = 0
        self._scripts: dict[str, Any] = {}
        self.client.flushall()

    def run(self, name: str, args: Sequence[Any], now_us: int) -> Any:
        self.now_us = now_us
        if name not in self._scripts:
            text = patched(name, self.patches)
            assert self.CLOCK[0] in text
            self._scripts[name] = self.client.register_script(text.replace(*self.CLOCK))
        seconds, micros = divmod(now_us, 1_000_000)
        return self._scripts[name](keys=[PREFIX, seconds, micros], args=args)

    def fields(self, key: str) -> Mapping[str, str]:
        return {name.decode(): value.decode() for name, value in self.client.hgetall(PREFIX + key).items()}

    def count_leases(self, transfer: str) -> int:
        return int(self.client.zcount(f"{PREFIX}t:{transfer}:leases", f"({self.now_us // 1000}", "+inf"))

    def has_receipt(self, transfer: str, number: int) -> bool:
        return bool(self.client.hexists(f"{PREFIX}t:{transfer}:receipts", number))

    def orphans(self) -> set[str]:
        return set(self.fields("orphans"))

    def save(self) -> object:
        keys = list(self.client.scan_iter(count=1000))
        return {key: self.client.dump(key) for key in keys}

    def load(self, saved: object) -> None:
        assert isinstance(saved, dict)
        self.client.flushall()
        for key, content in saved.items():
            if content is not None:
                self.client.restore(key, 0, content)

    def wipe(self) -> None:
        self.client.flushall()


class Weather(msgspec.Struct, kw_only=True):
    """How often Redis misbehaves, as probabilities per call."""

    request_lost: float = 0.0
    answer_lost: float = 0.0
    token_lost: float = 0.0
    token_doubled: float = 0.0
    token_late: float = 0.0


class Redises:
    """Both databases as all processes share them: the ledger's server, and the queue."""

    def __init__(self, kernel: Kernel, server: Server) -> None:
        self.kernel = kernel
        self.server = server
        self.weather = Weather()
        self.down_until = 0
        self.queue: list[Message[Any]] = []
        self.waiting: list[Fiber] = []
        self.after: Callable[[Operation[Any]], None] = lambda operation: None
        """Called after every script: where the invariants look."""

    @property
    def down(self) -> bool:
        return self.kernel.now_us < self.down_until

    def put(self, message: Message[Any]) -> None:
        """A message arrives in the queue; perhaps not, or twice, or late."""
        chance = self.kernel.random.random()
        weather = self.weather
        if chance < weather.token_lost:
            self.kernel.trace(f"token {message.args} is lost")
            return
        copies = 2 if chance < weather.token_lost + weather.token_doubled else 1
        for _ in range(copies):
            if self.kernel.random.random() < weather.token_late:
                self.kernel.at(self.kernel.random.random() * 30, lambda: self._arrive(message))
            else:
                self._arrive(message)

    def _arrive(self, message: Message[Any]) -> None:
        self.queue.append(message)
        if self.waiting:
            self.kernel.wake(self.waiting.pop(0), 0.002)

    def take(self) -> Message[Any]:
        """The next message for a worker; waits for one. Small and control messages go first."""
        while True:
            self.kernel.current.process.count_effect()
            if self.queue and not self.down:
                at = next((i for i, one in enumerate(self.queue) if one.queue_name.startswith("small")), 0)
                return self.queue.pop(at)
            if self.queue:
                self.kernel.sleep(1.0)
                continue
            fiber = self.kernel.current
            self.waiting.append(fiber)
            try:
                self.kernel.park()
            finally:
                if fiber in self.waiting:
                    self.waiting.remove(fiber)


class Door(Ledger):
    """`engine.ledger.Ledger` of one process: `insist` is the real one, `run` meets the simulated weather."""

    def __init__(self, redises: Redises, process: Process) -> None:
        self.redises = redises
        self.process = process

    def run(self, operation: Operation[T]) -> T:
        redises, kernel = self.redises, self.redises.kernel
        weather, chance = redises.weather, kernel.random.random()
        self.process.count_effect()
        if redises.down or chance < weather.request_lost:
            kernel.sleep(2.0 if redises.down else 0.05)
            raise LedgerUnavailable("Redis did not answer.", retry_after=2.0)
        kernel.sleep(0.0003)
        reply = self._evaluate(operation)
        if chance < weather.request_lost + weather.answer_lost:
            kernel.trace(f"the answer to {operation.script} is lost")
            kernel.sleep(0.05)
            self.process.count_effect()
            if kernel.now_us < redises.down_until or kernel.random.random() < 0.5:
                raise LedgerUnavailable("Redis did not answer.", retry_after=2.0)
            reply = self._evaluate(operation)  # a lost connection is tried again at once
        kernel.sleep(0.0003)
        self.process.count_effect()
        return operation.read(reply)

    def _evaluate(self, operation: Operation[T]) -> Any:
        try:
            reply = self.redises.server.run(operation.script, operation.args, self.redises.kernel.now_us)
        except ReplyError as error:
            violation = Violation(f"script {operation.script} failed: {error}")
            self.redises.kernel.fail(violation)
            raise violation from error
        if self.redises.kernel.log is not None:  # spelling it out costs as much as running a small script
            self.redises.kernel.trace(f"{operation.script} {_brief(operation.args)} -> {_brief(reply)}")
        self.redises.after(operation)
        return reply

    def close(self) -> None: ...


class Broker(WakingBroker):
    """The broker of one process, as far as the engine uses it: its queues are the simulated ones."""

    def __init__(self, redises: Redises, process: Process) -> None:
        self.redises = redises
        self.process = process

    def waiting(self, queue_name: str) -> int:
        self.process.count_effect()
        if self.redises.down:
            raise ConnectionError("Redis is away")
        return sum(message.queue_name == queue_name for message in self.redises.queue)

    def enqueue_many(self, messages: Iterable[Message[Any]]) -> None:
        self.process.count_effect()
        self.redises.kernel.sleep(0.0005)
        if self.redises.down:
            raise ConnectionError("Redis is away")
        for message in messages:
            self.redises.put(message)
        self.process.count_effect()


def _brief(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")[:60]
    if isinstance(value, list | tuple):
        return f"[{', '.join(_brief(item)[:40] for item in value[:8])}]"
    return str(value)[:60]


__all__ = ["Broker", "Door", "Redises", "Server", "TwinServer", "ValkeyServer", "Weather"]
