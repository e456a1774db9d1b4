"""The wire between a worker and its Valkey, on which a test can stop the call of one script, or its answer."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from engine.ledger import script
from tests.e2e.gates import Gate
from tests.servers import Valkey

When = Literal["call", "answer"]


class Wire:
    """A Unix socket that leads to a Valkey. What one connection says goes through whole, as redis-py sends it."""

    def __init__(self, valkey: Valkey, path: Path) -> None:
        self._valkey, self._path = valkey, path
        self._gates: list[tuple[When, bytes, Gate]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def environ(self) -> dict[str, str]:
        """Settings for a process whose ledger is at the end of this wire; its queue is reached directly."""
        broker = f"unix://{quote(str(self._valkey.socket_path))}?db=1"
        return {"BUCKETLINE_REDIS_URL": f"unix://{quote(str(self._path))}?db=0", "BUCKETLINE_BROKER_URL": broker}

    def stop_at(self, when: When, name: str) -> Gate:
        """A gate for the next call of the script `name`: before Valkey hears of it, or before its answer is heard."""
        found = script(name)
        with self._valkey.client() as client:
            client.script_load(found.source)
        gate = Gate()
        self._gates.append((when, found.sha.encode(), gate))
        return gate

    def close(self) -> None:
        for *_, gate in self._gates:
            gate.drop()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                self._open += [near, far]
                try:
                    far.connect(str(self._valkey.socket_path))
                except OSError:
                    near.close()
                    continue
                connection = _Connection(near, far, self._gates)
                threading.Thread(target=connection.forth, daemon=True).start()
                threading.Thread(target=connection.back, daemon=True).start()


class _Connection:
    def __init__(self, near: socket.socket, far: socket.socket, gates: list[tuple[When, bytes, Gate]]) -> None:
        self._near, self._far, self._gates = near, far, gates
        self._answer: Gate | None = None

    def forth(self) -> None:
        self._pump(self._near, self._far, self._look)

    def back(self) -> None:
        self._pump(self._far, self._near, lambda data: self._stop_answer())

    def _pump(self, source: socket.socket, target: socket.socket, look: object) -> None:
        try:
            while data := source.recv(1 << 16):
                look(data)  # type: ignore[operator]
                target.sendall(data)
        except OSError:
            pass  # one of the two is gone, or the test dropped what stood at a gate: the other one is told
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _look(self, data: bytes) -> None:
        for when, sha, gate in list(self._gates):
            if sha in data and gate.take():
                if when == "call":
                    gate.stop()
                else:
                    self._answer = gate

    def _stop_answer(self) -> None:
        gate, self._answer = self._answer, None
        if gate is not None:
            gate.stop()
