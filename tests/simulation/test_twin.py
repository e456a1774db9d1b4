"""The twin against a real Valkey: the same random commands give the same replies and leave the same contents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis, ResponseError

from tests.simulation.twin import ReplyError, Twin, dump

Words = tuple[bytes, ...]

#: Sends one command through a script, so that every reply makes the way through Lua and back.
RELAY = "return redis.call(unpack(ARGV))"
UNORDERED = {b"HGETALL", b"HKEYS", b"HVALS", b"SMEMBERS"}
CLOCKED = {b"TTL": 2, b"PTTL": 10_000}

# -- random commands: few keys and members, so that they meet ---------------------------------------------------------

keys = st.sampled_from([b"a", b"b", b"c"])
names = st.sampled_from([b"f", b"g", b"h", b"10", b"9", b"\x00\xff"])
values = st.one_of(names, st.integers(-20, 20).map(lambda n: b"%d" % n), st.sampled_from([b"", b"1.5", b"x y", b"007"]))
small = st.integers(-4, 5).map(lambda n: b"%d" % n)
scores = st.sampled_from([b"0", b"1", b"-1", b"2.5", b"0.1", b"1e3", b"1795425145002", b"inf", b"-inf", b"3", b"nope"])
bounds = st.one_of(scores, st.sampled_from([b"(1", b"(2.5", b"(0", b"+inf", b"(-inf"]))
lex_bounds = st.sampled_from([b"-", b"+", b"[f", b"(f", b"[g", b"(g", b"[10", b"(", b"bad"])
stream_ids = st.sampled_from([b"1-*", b"2-*", b"5-0", b"5-1", b"7-3", b"7-*", b"0-0", b"9", b"x"])
stream_edges = st.sampled_from([b"-", b"+", b"1", b"5", b"5-1", b"(5-1", b"7-3", b"(7-3", b"9"])


def words(*parts: st.SearchStrategy[Any] | bytes) -> st.SearchStrategy[Words]:
    """One command from fixed words, strategies of one word, and strategies of several words."""

    def flatten(drawn: tuple[Any, ...]) -> Words:
        return tuple(word for part in drawn for word in ((part,) if isinstance(part, bytes) else part))

    return st.tuples(*(st.just(part) if isinstance(part, bytes) else part for part in parts)).map(flatten)


def many(*parts: st.SearchStrategy[bytes], most: int = 3) -> st.SearchStrategy[Words]:
    one = st.tuples(*parts)
    return st.lists(one, min_size=1, max_size=most).map(lambda found: tuple(word for item in found for word in item))


def maybe(*parts: st.SearchStrategy[Any] | bytes) -> st.SearchStrategy[Words]:
    return st.one_of(st.just(()), words(*parts))


limit = maybe(b"LIMIT", small, small)
with_scores = maybe(b"WITHSCORES")
flags = st.lists(st.sampled_from([b"NX", b"XX", b"GT", b"LT", b"CH"]), max_size=2).map(tuple)
trim = maybe(st.sampled_from([b"MAXLEN", b"MINID"]), maybe(b"="), st.sampled_from([b"0", b"1", b"3", b"5"]))

COMMANDS = [
    words(b"HSET", keys, many(names, values)),
    words(b"HSETNX", keys, names, values),
    words(b"HGET", keys, names),
    words(b"HMGET", keys, many(names)),
    words(st.sampled_from([b"HGETALL", b"HKEYS", b"HVALS", b"HLEN", b"SMEMBERS", b"SCARD"]), keys),
    words(b"HDEL", keys, many(names)),
    words(st.sampled_from([b"HEXISTS", b"HSTRLEN", b"SISMEMBER"]), keys, names),
    words(b"HINCRBY", keys, names, st.one_of(small, st.sampled_from([b"9223372036854775807", b"x"]))),
    words(st.sampled_from([b"SADD", b"SREM", b"SMISMEMBER", b"ZREM", b"ZMSCORE"]), keys, many(names)),
    words(b"ZADD", keys, flags, many(scores, names)),
    words(b"ZINCRBY", keys, scores, names),
    words(st.sampled_from([b"ZSCORE", b"ZRANK", b"ZREVRANK"]), keys, names),
    words(st.sampled_from([b"ZCARD", b"LLEN", b"XLEN", b"STRLEN", b"TYPE", b"TTL", b"PTTL", b"PERSIST", b"GET"]), keys),
    words(st.sampled_from([b"ZPOPMIN", b"ZPOPMAX"]), keys, st.sampled_from([(), (b"2",)])),
    words(st.sampled_from([b"ZRANGE", b"ZREVRANGE"]), keys, small, small, with_scores),
    words(b"ZRANGE", keys, bounds, bounds, b"BYSCORE", maybe(b"REV"), limit, with_scores),
    words(st.sampled_from([b"ZRANGEBYSCORE", b"ZREVRANGEBYSCORE"]), keys, bounds, bounds, limit, with_scores),
    words(st.sampled_from([b"ZRANGEBYLEX", b"ZREVRANGEBYLEX"]), keys, lex_bounds, lex_bounds, limit),
    words(st.sampled_from([b"ZCOUNT", b"ZREMRANGEBYSCORE"]), keys, bounds, bounds),
    words(st.sampled_from([b"ZLEXCOUNT", b"ZREMRANGEBYLEX"]), keys, lex_bounds, lex_bounds),
    words(st.sampled_from([b"LRANGE", b"LTRIM", b"ZREMRANGEBYRANK"]), keys, small, small),
    words(st.sampled_from([b"LPUSH", b"RPUSH"]), keys, many(values)),
    words(st.sampled_from([b"LPOP", b"RPOP"]), keys, st.sampled_from([(), (b"0",), (b"2",)])),
    words(b"LREM", keys, small, values),
    words(b"LINDEX", keys, small),
    words(b"SET", keys, values, maybe(st.sampled_from([b"NX", b"XX", b"KEEPTTL"])), maybe(b"PX", b"500000")),
    words(b"SETNX", keys, values),
    words(b"GETDEL", keys),
    words(b"MGET", many(keys)),
    words(b"APPEND", keys, values),
    words(st.sampled_from([b"INCR", b"DECR"]), keys),
    words(st.sampled_from([b"INCRBY", b"DECRBY"]), keys, small),
    words(st.sampled_from([b"DEL", b"UNLINK", b"EXISTS"]), many(keys)),
    words(b"RENAME", keys, keys),
    words(st.sampled_from([b"EXPIRE", b"PEXPIRE"]), keys, st.sampled_from([b"600000", b"-1", b"0", b"700000"])),
    words(b"EXPIRE", keys, b"650000", st.sampled_from([b"NX", b"XX", b"GT", b"LT"])),
    words(st.sampled_from([b"EXPIREAT", b"PEXPIREAT"]), keys, st.sampled_from([b"1", b"9000000000000"])),
    words(b"XADD", keys, maybe(b"NOMKSTREAM"), trim, stream_ids, many(names, values)),
    words(st.sampled_from([b"XRANGE", b"XREVRANGE"]), keys, stream_edges, stream_edges, maybe(b"COUNT", b"2")),
    words(b"XTRIM", keys, st.sampled_from([b"MAXLEN", b"MINID"]), st.sampled_from([b"0", b"2", b"5"])),
    words(b"XDEL", keys, st.sampled_from([b"5-0", b"5-1", b"7-3"])),
]
#: Values are made more often than they are removed, or most sequences would play with nothing.
sequences = st.lists(st.one_of(COMMANDS), min_size=1, max_size=25)


def relayed(twin: Twin, command: Words) -> object:
    try:
        return twin.eval(RELAY, [], command)
    except ReplyError as error:
        return error


def comparable(command: Words, reply: object) -> object:
    """A reply as both sides must give it: unordered lists sorted."""
    if isinstance(reply, Exception):
        return "error"  # of two faults in one command, which is named first is not held
    if command[0] in UNORDERED and isinstance(reply, list):
        pairs = list(zip(reply[::2], reply[1::2], strict=True)) if command[0] == b"HGETALL" else reply
        return sorted(pairs)
    return reply


def contents(client: Any) -> dict[bytes, object]:
    """Everything a real server stores, in the shape of `dump`."""
    readers: dict[bytes, Callable[[bytes], object]] = {
        b"string": lambda key: client.get(key),
        b"hash": lambda key: client.hgetall(key),
        b"set": lambda key: set(client.smembers(key)),
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: [(member, float(score)) for member, score in client.zrange(key, 0, -1, withscores=True)],
        b"stream": lambda key: [
            (tuple(map(int, number.split(b"-"))), tuple(word for pair in fields.items() for word in pair))
            for number, fields in client.xrange(key)
        ],
    }
    return {key: readers[client.type(key)](key) for key in client.scan_iter()}


def merged(stored: dict[bytes, object]) -> dict[bytes, object]:
    """A stream entry with a repeated field reads as a mapping from the client's side."""

    def entry(item: Any) -> object:
        number, fields = item
        unique = dict(zip(fields[::2], fields[1::2], strict=True))
        return number, tuple(word for pair in unique.items() for word in pair)

    def plain(value: object) -> object:
        if isinstance(value, list) and value and isinstance(value[0], tuple) and isinstance(value[0][0], tuple):
            return [entry(item) for item in value]
        return value

    return {key: plain(value) for key, value in stored.items()}


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequence=sequences)
def test_random_commands_give_the_same_replies_and_contents(real: Redis, sequence: list[Words]) -> None:
    real.flushall()
    seconds, micros = real.time()
    twin = Twin(now_us=int(seconds) * 1_000_000 + int(micros))
    with real.pipeline(transaction=False) as pipeline:
        for command in sequence:
            pipeline.eval(RELAY, 0, *command)
        replies = pipeline.execute(raise_on_error=False)
    for command, theirs in zip(sequence, replies, strict=True):
        ours = relayed(twin, command)
        slack = CLOCKED.get(command[0])
        if slack and isinstance(ours, int) and isinstance(theirs, int):
            assert abs(ours - theirs) <= slack, command
        else:
            assert comparable(command, ours) == comparable(command, theirs), command
    assert merged(dump(twin.keyspace)) == contents(real)


SNIPPETS = [
    "return 3.99",
    "return -3.7",
    "return 2^53",
    "return true",
    "return false",
    "return nil",
    "return",
    "return {}",
    "return {1, 2, nil, 3}",
    "return {1, false, true, 'x', 2.5}",
    "return {1, {2, {3, false}, {}}, {ok = 'FINE'}}",
    "return {ok = 'FINE'}",
    "return {err = 'BAD thing'}",
    "local ok, e = pcall(error, {err = 'BOO hoo'}) return e",
    "return redis.error_reply('BAD thing')",
    "return redis.status_reply('FINE')",
    "return error('boo')",
    "return error({err = 'BOO hoo'})",
    "undeclared = 1",
    "return undeclared",
    "return redis.call('NOPE')",
    "return redis.call('GET')",
    "return redis.call('SET', 'a', true)",
    "return redis.call('SET', 'a', nil)",
    "return redis.call('GET', 'a') == false",
    "return type(redis.call('HGETALL', 'a'))",
    "return redis.call('SET', 'a', 1).ok",
    "return redis.call('PING')",
    "redis.call('SADD', 's', 1) return redis.pcall('GET', 's').err",
    "redis.call('SADD', 's', 1) local ok, e = pcall(redis.call, 'GET', 's') return {ok and 1 or 0, e}",
    "redis.call('SADD', 's', 1) redis.call('GET', 's')",
    "local t = redis.call('HMGET', 'h', 'a', 'b') return {#t, t[1] == false, t[2] == false}",
    "return tostring(1795425145002000) .. tostring(0.1) .. tostring(1e15) .. 12 / 5",
    "return string.format('%d %.17g %s', 1795425145002, 0.1, 'x')",
    "return cjson.encode({1, 2.5, 'a\"b/c\\n\\0', true, {}, 1e15, 0.1, 1795425145002, cjson.null})",
    "return cjson.encode({[1] = 1, [3] = 2})",
    'return cjson.encode(cjson.decode(\'{"a": [1, null, {"b": "\\\\u00e4\\\\ud83d\\\\ude00\\\\n"}]}\'))',
    "return cjson.decode('[1, [2, 3], \"x\", null, true, -1.5e3]')[2]",
    "return type(cjson.decode('[null]')[1]) .. tostring(cjson.decode('{\"a\": null}').a == cjson.null)",
    "return cjson.decode('{\"a\": 1')",
    "local t = {} for i = 1, 9000 do t[i] = i end return t",
    "for i = 1, 9000 do redis.call('RPUSH', 'l', i) end return #redis.call('LRANGE', 'l', 0, -1)",
    "redis.call('XADD', 'x', '5-1', 'a', 'b') return redis.call('XRANGE', 'x', '-', '+')",
]
NUMBERS = (
    "1.5 1e15 2^60 0.1 1e20 -0.0 1e17 1795425145002 1e22 1e-5 1e-7 123.456 2/3 1.5e-5 1.23e-5 123456789012345680000"
)
SNIPPETS += [f"redis.call('SET', 'n', {number}) return redis.call('GET', 'n')" for number in NUMBERS.split()]
SNIPPETS += [
    f"redis.call('ZADD', 'z', {number}, 'm') return redis.call('ZSCORE', 'z', 'm')" for number in NUMBERS.split()
]


@pytest.mark.parametrize("script", SNIPPETS)
def test_values_cross_between_lua_and_clients_the_same_way(real: Redis, script: str) -> None:
    try:
        theirs: object = real.eval(script, 0)
    except ResponseError as error:
        theirs = type(error)
    try:
        ours: object = Twin().eval(script)
    except ReplyError:
        ours = ResponseError
    assert ours == theirs


def test_a_snapshot_keeps_what_was_there_and_restoring_brings_it_back() -> None:
    twin = Twin()
    twin.execute("HSET", "h", "f", "1")
    twin.execute("ZADD", "z", "1", "m")
    twin.execute("SET", "s", "1", "PX", "1000")
    before = dump(twin.keyspace)
    snapshot = twin.snapshot()

    for _ in range(2):  # twice: a restored state must be as protected as the first
        twin.execute("HSET", "h", "f", "2")
        twin.execute("ZADD", "z", "2", "m", "3", "n")
        twin.execute("PERSIST", "s")
        twin.execute("DEL", "s")
        twin.execute("SADD", "new", "x")
        assert dump(twin.keyspace) != before
        twin.restore(snapshot)
        assert dump(twin.keyspace) == before
        assert twin.execute("PTTL", "s") == 1000


def test_the_clock_moves_only_from_outside_and_expires_keys() -> None:
    twin = Twin(now_us=5_000_000)
    twin.execute("SET", "s", "1", "PX", "1500")
    assert twin.eval("return redis.call('TIME')") == [b"5", b"0"]
    twin.keyspace.now_us += 1_499_000
    assert twin.execute("GET", "s") == b"1"
    twin.keyspace.now_us += 1_000
    assert twin.execute("GET", "s") is None


def test_stream_ids_follow_the_clock_and_never_repeat() -> None:
    twin = Twin(now_us=7_000_000)
    assert twin.execute("XADD", "x", "*", "a", "1") == b"7000-0"
    assert twin.execute("XADD", "x", "*", "a", "1") == b"7000-1"
    twin.keyspace.now_us = 6_000_000
    assert twin.execute("XADD", "x", "*", "a", "1") == b"7000-2"


def test_flushing_forgets_everything() -> None:
    twin = Twin()
    twin.execute("SET", "s", "1")
    twin.flush()
    assert dump(twin.keyspace) == {}
