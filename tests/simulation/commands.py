"""The commands on keys, strings, hashes, sets and lists, modelled over a `Keyspace`."""

from __future__ import annotations

from tests.simulation.keyspace import TYPE_NAMES, Hash, Keyspace, List, ReplyError, Set, String
from tests.simulation.replies import (
    OK,
    SYNTAX,
    Arguments,
    Reply,
    Status,
    add,
    command,
    read_int,
    span,
)

# -- keys ------------------------------------------------------------------------------------------------------------


@command("DEL", 1)
def delete(db: Keyspace, args: Arguments) -> Reply:
    return sum(db.find(key) is not None and db.remove(key) for key in args)


command("UNLINK", 1)(delete)


@command("EXISTS", 1)
def exists(db: Keyspace, args: Arguments) -> Reply:
    return sum(db.find(key) is not None for key in args)


@command("TYPE", 1, 1)
def type_of(db: Keyspace, args: Arguments) -> Reply:
    value = db.find(args[0])
    return Status(b"none" if value is None else TYPE_NAMES[value.__class__])


@command("RENAME", 2, 2)
def rename(db: Keyspace, args: Arguments) -> Reply:
    if db.find(args[0]) is None:
        raise ReplyError("ERR no such key")
    db.rename(args[0], args[1])
    return OK


def _expire(db: Keyspace, args: Arguments, unit: int, base: int) -> Reply:
    deadline = base + read_int(args[1]) * unit
    present = db.deadline(args[0]) if db.find(args[0]) is not None else None
    if db.find(args[0]) is None:
        return 0
    for word in (option.upper() for option in args[2:]):
        if word not in (b"NX", b"XX", b"GT", b"LT"):
            raise ReplyError(f"ERR Unsupported option {word.decode()}")
        refused = {
            b"NX": present is not None,
            b"XX": present is None,
            b"GT": present is None or deadline <= present,
            b"LT": present is not None and deadline >= present,
        }
        if refused[word]:
            return 0
    db.expire_at(args[0], deadline)
    return 1


@command("EXPIRE", 2)
def expire(db: Keyspace, args: Arguments) -> Reply:
    return _expire(db, args, 1000, db.now_ms)


@command("PEXPIRE", 2)
def pexpire(db: Keyspace, args: Arguments) -> Reply:
    return _expire(db, args, 1, db.now_ms)


@command("EXPIREAT", 2)
def expireat(db: Keyspace, args: Arguments) -> Reply:
    return _expire(db, args, 1000, 0)


@command("PEXPIREAT", 2)
def pexpireat(db: Keyspace, args: Arguments) -> Reply:
    return _expire(db, args, 1, 0)


@command("PTTL", 1, 1)
def pttl(db: Keyspace, args: Arguments) -> Reply:
    if db.find(args[0]) is None:
        return -2
    deadline = db.deadline(args[0])
    return -1 if deadline is None else deadline - db.now_ms


@command("TTL", 1, 1)
def ttl(db: Keyspace, args: Arguments) -> Reply:
    left = pttl(db, args)
    assert isinstance(left, int)
    return left if left < 0 else (left + 500) // 1000


@command("PERSIST", 1, 1)
def persist(db: Keyspace, args: Arguments) -> Reply:
    return int(db.find(args[0]) is not None and db.persist(args[0]))


# -- strings ---------------------------------------------------------------------------------------------------------


@command("GET", 1, 1)
def get(db: Keyspace, args: Arguments) -> Reply:
    return db.read(args[0], String)


@command("MGET", 1)
def mget(db: Keyspace, args: Arguments) -> Reply:
    values = (db.find(key) for key in args)
    return [value if isinstance(value, String) else None for value in values]


@command("GETDEL", 1, 1)
def getdel(db: Keyspace, args: Arguments) -> Reply:
    value = db.read(args[0], String)
    db.remove(args[0])
    return value


@command("STRLEN", 1, 1)
def strlen(db: Keyspace, args: Arguments) -> Reply:
    return len(db.read(args[0], String) or b"")


@command("APPEND", 2, 2)
def append(db: Keyspace, args: Arguments) -> Reply:
    value = (db.read(args[0], String) or b"") + args[1]
    db.assign(args[0], value, keep_deadline=True)
    return len(value)


def _lifetime(db: Keyspace, word: bytes, text: bytes) -> int:
    amount = read_int(text)
    if amount <= 0:
        raise ReplyError("ERR invalid expire time in 'set' command")
    base = 0 if word in (b"EXAT", b"PXAT") else db.now_ms
    return base + amount * (1000 if word in (b"EX", b"EXAT") else 1)


@command("SET", 2)
def set_(db: Keyspace, args: Arguments) -> Reply:
    key, value, *options = args
    flags: set[bytes] = set()
    deadline: int | None = None
    while options:
        word = options.pop(0).upper()
        if word in (b"EX", b"PX", b"EXAT", b"PXAT") and options and deadline is None and b"KEEPTTL" not in flags:
            deadline = _lifetime(db, word, options.pop(0))
        elif word in (b"NX", b"XX", b"GET", b"KEEPTTL") and not (word == b"KEEPTTL" and deadline is not None):
            flags.add(word)
        else:
            raise ReplyError(SYNTAX)
    if {b"NX", b"XX"} <= flags:
        raise ReplyError(SYNTAX)
    previous = db.read(key, String) if b"GET" in flags else None
    present = db.find(key) is not None
    if (present and b"NX" in flags) or (not present and b"XX" in flags):
        return previous
    db.assign(key, value, keep_deadline=b"KEEPTTL" in flags)
    if deadline is not None:
        db.expire_at(key, deadline)
    return previous if b"GET" in flags else OK


@command("SETNX", 2, 2)
def setnx(db: Keyspace, args: Arguments) -> Reply:
    return int(set_(db, (*args, b"NX")) is not None)


@command("SETEX", 3, 3)
def setex(db: Keyspace, args: Arguments) -> Reply:
    return set_(db, (args[0], args[2], b"EX", args[1]))


@command("PSETEX", 3, 3)
def psetex(db: Keyspace, args: Arguments) -> Reply:
    return set_(db, (args[0], args[2], b"PX", args[1]))


@command("INCRBY", 2, 2)
def incrby(db: Keyspace, args: Arguments) -> Reply:
    by = read_int(args[1])
    present = db.read(args[0], String)
    total = add(0 if present is None else read_int(present), by)
    db.assign(args[0], b"%d" % total, keep_deadline=True)
    return total


@command("INCR", 1, 1)
def incr(db: Keyspace, args: Arguments) -> Reply:
    return incrby(db, (args[0], b"1"))


@command("DECR", 1, 1)
def decr(db: Keyspace, args: Arguments) -> Reply:
    return incrby(db, (args[0], b"-1"))


@command("DECRBY", 2, 2)
def decrby(db: Keyspace, args: Arguments) -> Reply:
    return incrby(db, (args[0], b"%d" % -read_int(args[1])))


# -- hashes ----------------------------------------------------------------------------------------------------------


@command("HSET", 3)
def hset(db: Keyspace, args: Arguments) -> Reply:
    if len(args) % 2 == 0:
        raise ReplyError("ERR wrong number of arguments for 'hset' command")
    table = db.write(args[0], Hash)
    before = len(table)
    table.update(zip(args[1::2], args[2::2], strict=True))
    return len(table) - before


@command("HMSET", 3)
def hmset(db: Keyspace, args: Arguments) -> Reply:
    hset(db, args)
    return OK


@command("HSETNX", 3, 3)
def hsetnx(db: Keyspace, args: Arguments) -> Reply:
    table = db.write(args[0], Hash)
    if args[1] in table:
        return 0
    table[args[1]] = args[2]
    return 1


@command("HGET", 2, 2)
def hget(db: Keyspace, args: Arguments) -> Reply:
    table = db.read(args[0], Hash)
    return None if table is None else table.get(args[1])


@command("HMGET", 2)
def hmget(db: Keyspace, args: Arguments) -> Reply:
    table = db.read(args[0], Hash) or Hash()
    return [table.get(name) for name in args[1:]]


@command("HGETALL", 1, 1)
def hgetall(db: Keyspace, args: Arguments) -> Reply:
    return [text for pair in (db.read(args[0], Hash) or Hash()).items() for text in pair]


@command("HKEYS", 1, 1)
def hkeys(db: Keyspace, args: Arguments) -> Reply:
    return [*(db.read(args[0], Hash) or Hash())]


@command("HVALS", 1, 1)
def hvals(db: Keyspace, args: Arguments) -> Reply:
    return [*(db.read(args[0], Hash) or Hash()).values()]


@command("HLEN", 1, 1)
def hlen(db: Keyspace, args: Arguments) -> Reply:
    return len(db.read(args[0], Hash) or ())


@command("HEXISTS", 2, 2)
def hexists(db: Keyspace, args: Arguments) -> Reply:
    return int(args[1] in (db.read(args[0], Hash) or ()))


@command("HSTRLEN", 2, 2)
def hstrlen(db: Keyspace, args: Arguments) -> Reply:
    return len((db.read(args[0], Hash) or Hash()).get(args[1], b""))


@command("HDEL", 2)
def hdel(db: Keyspace, args: Arguments) -> Reply:
    if db.read(args[0], Hash) is None:
        return 0
    table = db.write(args[0], Hash)
    removed = sum(table.pop(name, None) is not None for name in args[1:])
    db.remove_if_empty(args[0])
    return removed


@command("HINCRBY", 3, 3)
def hincrby(db: Keyspace, args: Arguments) -> Reply:
    by = read_int(args[2])
    table = db.read(args[0], Hash) or Hash()
    total = add(read_int(table.get(args[1], b"0"), "ERR hash value is not an integer"), by)
    db.write(args[0], Hash)[args[1]] = b"%d" % total
    return total


# -- sets ------------------------------------------------------------------------------------------------------------


@command("SADD", 2)
def sadd(db: Keyspace, args: Arguments) -> Reply:
    members = db.write(args[0], Set)
    before = len(members)
    members.update(dict.fromkeys(args[1:]))
    return len(members) - before


@command("SREM", 2)
def srem(db: Keyspace, args: Arguments) -> Reply:
    if db.read(args[0], Set) is None:
        return 0
    members = db.write(args[0], Set)
    before = len(members)
    for member in args[1:]:
        members.pop(member, None)
    removed = before - len(members)
    db.remove_if_empty(args[0])
    return removed


@command("SMEMBERS", 1, 1)
def smembers(db: Keyspace, args: Arguments) -> Reply:
    return [*(db.read(args[0], Set) or ())]


@command("SCARD", 1, 1)
def scard(db: Keyspace, args: Arguments) -> Reply:
    return len(db.read(args[0], Set) or ())


@command("SISMEMBER", 2, 2)
def sismember(db: Keyspace, args: Arguments) -> Reply:
    return int(args[1] in (db.read(args[0], Set) or ()))


@command("SMISMEMBER", 2)
def smismember(db: Keyspace, args: Arguments) -> Reply:
    members = db.read(args[0], Set) or ()
    return [int(member in members) for member in args[1:]]


# -- lists -----------------------------------------------------------------------------------------------------------


@command("RPUSH", 2)
def rpush(db: Keyspace, args: Arguments) -> Reply:
    items = db.write(args[0], List)
    items.extend(args[1:])
    return len(items)


@command("LPUSH", 2)
def lpush(db: Keyspace, args: Arguments) -> Reply:
    items = db.write(args[0], List)
    items[:0] = reversed(args[1:])
    return len(items)


def _pop(db: Keyspace, args: Arguments, *, left: bool) -> Reply:
    count = read_int(args[1], "ERR value is out of range, must be positive") if len(args) > 1 else None
    if count is not None and count < 0:
        raise ReplyError("ERR value is out of range, must be positive")
    if db.read(args[0], List) is None:
        return None
    items = db.write(args[0], List)
    number = min(1 if count is None else count, len(items))
    taken = items[:number] if left else items[len(items) - number :][::-1]
    del items[slice(None, number) if left else slice(len(items) - number, None)]
    db.remove_if_empty(args[0])
    return taken[0] if count is None else [*taken]


@command("LPOP", 1, 2)
def lpop(db: Keyspace, args: Arguments) -> Reply:
    return _pop(db, args, left=True)


@command("RPOP", 1, 2)
def rpop(db: Keyspace, args: Arguments) -> Reply:
    return _pop(db, args, left=False)


@command("LLEN", 1, 1)
def llen(db: Keyspace, args: Arguments) -> Reply:
    return len(db.read(args[0], List) or ())


@command("LINDEX", 2, 2)
def lindex(db: Keyspace, args: Arguments) -> Reply:
    items, index = db.read(args[0], List) or List(), read_int(args[1])
    return items[index] if -len(items) <= index < len(items) else None


@command("LRANGE", 3, 3)
def lrange(db: Keyspace, args: Arguments) -> Reply:
    items = db.read(args[0], List) or List()
    first, end = span(read_int(args[1]), read_int(args[2]), len(items))
    return [*items[first:end]]


@command("LTRIM", 3, 3)
def ltrim(db: Keyspace, args: Arguments) -> Reply:
    first, stop = read_int(args[1]), read_int(args[2])
    if db.read(args[0], List) is not None:
        items = db.write(args[0], List)
        begin, end = span(first, stop, len(items))
        items[:] = items[begin:end]
        db.remove_if_empty(args[0])
    return OK


@command("LREM", 3, 3)
def lrem(db: Keyspace, args: Arguments) -> Reply:
    count = read_int(args[1])
    if db.read(args[0], List) is None:
        return 0
    items = db.write(args[0], List)
    places = [place for place, item in enumerate(items) if item == args[2]]
    chosen = places[count:] if count < 0 else places[: count or None]
    for place in reversed(chosen):
        del items[place]
    db.remove_if_empty(args[0])
    return len(chosen)


# -- the server ------------------------------------------------------------------------------------------------------


@command("TIME", 0, 0)
def time(db: Keyspace, args: Arguments) -> Reply:
    seconds, micros = divmod(db.now_us, 1_000_000)
    return [b"%d" % seconds, b"%d" % micros]


@command("PUBLISH", 2, 2)
def publish(db: Keyspace, args: Arguments) -> Reply:
    return 0


@command("PING", 0, 1)
def ping(db: Keyspace, args: Arguments) -> Reply:
    return args[0] if args else Status(b"PONG")


@command("FLUSHALL", 0, 1)
def flushall(db: Keyspace, args: Arguments) -> Reply:
    db.clear()
    return OK


command("FLUSHDB", 0, 1)(flushall)
