"""An in-memory twin of a Redis server, exact for what the engine's scripts use.

The twin runs the engine's real Lua text in Lua 5.1, the version inside Redis; only `redis.call` is a model, in Python,
over dictionaries. So there is no second implementation of the state machine that could drift from the first. A
differential test holds the model to a real server.

Three things differ on purpose: the clock stands still until somebody sets it, the whole state can be taken back to an
earlier `snapshot`, and unordered replies come in a fixed order (that of insertion), so that a seed replays exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lupa import lua51  # type: ignore[import-untyped]

from tests.simulation import commands, ordered
from tests.simulation.keyspace import Hash, Keyspace, List, ReplyError, Set, Snapshot, SortedSet, Stream, String
from tests.simulation.replies import COMMANDS, Reply, Status, write_float

__all__ = ["ReplyError", "Status", "Twin", "dump"]

Script = Callable[[Any, Any], Any]
Word = bytes | str | int | float

_MODELLED = (commands, ordered)
_ARITY = "ERR wrong number of arguments for '{}' command"
_BAD_ARGUMENT = "ERR Command arguments must be strings or integers"


class Twin:
    """One Redis database: `execute` a command, `eval` a script, `snapshot` and `restore` the whole."""

    def __init__(self, now_us: int = 1_000_000_000_000_000) -> None:
        self.keyspace = Keyspace()
        self.keyspace.now_us = now_us
        self.calls = 0
        self._lua = lua51.LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self._table = self._lua.table_from
        self._statuses: dict[bytes, Any] = {}
        self._scripts: dict[str | bytes, Script] = {}
        sandbox = (Path(__file__).parent / "sandbox.lua").read_bytes()
        load = self._lua.eval(b"function(text) return assert(loadstring(text, '@sandbox')) end")
        self._compile = load(sandbox)(self._call, self._attempt, self._refuse)

    # -- clients

    def execute(self, *words: Word) -> Reply:
        """Run one command; raises ReplyError for an error reply."""
        return self._run(tuple(_encode(word) for word in words))

    def eval(self, script: str | bytes, keys: Sequence[Word] = (), arguments: Sequence[Word] = ()) -> Reply:
        """Run a script as EVAL does; raises ReplyError when it fails. What it wrote before failing stays."""
        compiled = self._scripts.get(script)
        try:
            if compiled is None:
                text = script.encode() if isinstance(script, str) else script
                compiled = self._scripts[script] = self._compile(text)
            result = compiled(self._table([*map(_encode, keys)]), self._table([*map(_encode, arguments)]))
        except lua51.LuaError as error:
            raise ReplyError(f"ERR {str(error).partition(chr(10))[0]}") from None
        return _answer(result)

    def snapshot(self) -> Snapshot:
        return self.keyspace.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to what `snapshot` saw; the clock keeps its time."""
        self.keyspace.restore(snapshot)

    def flush(self) -> None:
        self.keyspace.clear()

    # -- behind redis.call

    def _run(self, words: tuple[bytes, ...]) -> Reply:
        self.calls += 1
        name = words[0]
        known = COMMANDS.get(name) or COMMANDS.get(name.upper())
        if known is None:
            raise ReplyError(f"ERR unknown command '{name.decode(errors='replace')}'")
        least, most, run = known
        if len(words) <= least or (most is not None and len(words) > most + 1):
            raise ReplyError(_ARITY.format(name.decode().lower()))
        return run(self.keyspace, words[1:])

    def _call(self, *words: Any) -> Any:
        for word in words:
            if word.__class__ is not bytes:
                words = tuple(_from_lua(word) for word in words)
                break
        reply = self._run(words)
        kind = reply.__class__
        if kind is bytes or kind is int:
            return reply
        return self._to_lua(reply)

    def _attempt(self, *words: Any) -> Any:
        try:
            return self._call(*words)
        except ReplyError as error:
            return self._table({b"err": str(error).encode()})

    def _refuse(self, error: Any) -> bytes:
        return str(error).encode()

    def _to_lua(self, reply: Reply) -> Any:
        """A reply as Lua sees it; a flat array as a tuple that starts with None, which costs no Lua object."""
        if reply is None:
            return False
        if isinstance(reply, list):
            if len(reply) > 4000:
                return self._nested(reply)
            return (None, *map(self._nested, reply))
        return self._nested(reply)

    def _nested(self, reply: Reply) -> Any:
        if reply is None:
            return False
        if isinstance(reply, Status):
            return self._table({b"ok": bytes(reply)})
        if isinstance(reply, list):
            return self._table([self._nested(item) for item in reply])
        return reply if isinstance(reply, int) else bytes(reply)


def _encode(word: Word) -> bytes:
    if word.__class__ is bytes:
        return word
    if isinstance(word, bytes):
        return bytes(word)
    return str(word).encode()


def _from_lua(word: Any) -> bytes:
    """An argument of redis.call: a string, or a number spelled as Redis spells it."""
    if isinstance(word, bytes):
        return word
    if isinstance(word, bool) or not isinstance(word, int | float):
        raise ReplyError(_BAD_ARGUMENT)
    return b"%d" % word if isinstance(word, int) else write_float(word)


def _answer(result: Any) -> Reply:
    """The reply of a script from what `answer` in sandbox.lua gave: a kind and its values."""
    kind, *values = result
    if kind == b"scalar":
        return _scalar(values[0])
    if kind == b"array":
        return [_scalar(value) for value in values[1:]]
    if kind == b"err":
        raise ReplyError(values[0].decode(errors="replace"))
    if kind == b"ok":
        return Status(values[0])
    return _items(values[0])


def _items(table: Any) -> Reply:
    """A nested array, whose status and error items are tables with a `kind`."""
    kind = table[b"kind"]
    if kind == b"ok":
        return Status(table[b"text"])
    if kind == b"err":
        return b"error: " + bytes(table[b"text"])
    return [_items(item) if lua51.lua_type(item) == "table" else _scalar(item) for item in table.values()]


def _scalar(value: Any) -> Reply:
    """Numbers lose their fraction, true is 1, false is nil: Redis's table of conversions."""
    if value is None or value is False:
        return None
    if value is True:
        return 1
    if isinstance(value, float):
        return int(value) if abs(value) < 2**63 else -(2**63)
    return value if isinstance(value, int | bytes) else None


def dump(keyspace: Keyspace) -> dict[bytes, object]:
    """Everything stored, as plain comparable values: key → content (deadlines and order of hashes left out)."""
    contents: dict[bytes, object] = {}
    for key in keyspace:
        value = keyspace.find(key)
        if isinstance(value, String):
            contents[key] = bytes(value)
        elif isinstance(value, Hash):
            contents[key] = dict(value)
        elif isinstance(value, Set):
            contents[key] = set(value)
        elif isinstance(value, List):
            contents[key] = list(value)
        elif isinstance(value, SortedSet):
            contents[key] = [(member, score) for score, member in value.order]
        elif isinstance(value, Stream):
            contents[key] = list(value.entries)
    return contents
