"""The commands on sorted sets and streams, modelled over a `Keyspace`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from tests.simulation.keyspace import Keyspace, ReplyError, SortedSet, Stream, StreamId
from tests.simulation.replies import (
    SYNTAX,
    Arguments,
    Command,
    Reply,
    command,
    read_float,
    read_int,
    span,
    write_float,
)

Pair = tuple[float, bytes]
#: The half-open stretch of an order that some bounds mean; bounds are read before the key is looked at.
Range = Callable[[Sequence[Pair]], tuple[int, int]]

NOTHING = SortedSet()
NODE_ENTRIES = 100


# -- sorted sets: writing --------------------------------------------------------------------------------------------


def _zadd_flags(args: Arguments) -> tuple[set[bytes], Arguments]:
    flags: set[bytes] = set()
    at = 1
    while at < len(args) and args[at].upper() in (b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR"):
        flags.add(args[at].upper())
        at += 1
    rest = args[at:]
    if not rest or len(rest) % 2:
        raise ReplyError(SYNTAX)
    if b"NX" in flags and flags & {b"XX", b"GT", b"LT"}:
        raise ReplyError("ERR XX and NX options at the same time are not compatible")
    if {b"GT", b"LT"} <= flags:
        raise ReplyError("ERR GT, LT, and/or NX options at the same time are not compatible")
    if b"INCR" in flags and len(rest) > 2:
        raise ReplyError("ERR INCR option supports a single increment-element pair")
    return flags, rest


def _admits(flags: set[bytes], old: float | None, new: float) -> bool:
    if old is None:
        return b"XX" not in flags
    if b"NX" in flags:
        return False
    return not ((b"GT" in flags and new <= old) or (b"LT" in flags and new >= old))


@command("ZADD", 3)
def zadd(db: Keyspace, args: Arguments) -> Reply:
    flags, rest = _zadd_flags(args)
    pairs = [(read_float(score), member) for score, member in zip(rest[::2], rest[1::2], strict=True)]
    if db.read(args[0], SortedSet) is None and b"XX" in flags:
        return None if b"INCR" in flags else 0
    members = db.write(args[0], SortedSet)
    added = changed = 0
    result: Reply = None
    for given, member in pairs:
        old = members.scores.get(member)
        score = given + (old or 0.0) if b"INCR" in flags else given
        if score != score:  # inf - inf
            raise ReplyError("ERR resulting score is not a number (NaN)")
        if not _admits(flags, old, score):
            continue
        result = write_float(score)
        if old is None:
            added += 1
        elif old != score:
            changed += 1
        else:
            continue
        members.put(member, score)
    db.remove_if_empty(args[0])
    if b"INCR" in flags:
        return result
    return added + changed if b"CH" in flags else added


@command("ZINCRBY", 3, 3)
def zincrby(db: Keyspace, args: Arguments) -> Reply:
    return zadd(db, (args[0], b"INCR", args[1], args[2]))


def _discard(db: Keyspace, key: bytes, doomed: Sequence[bytes]) -> int:
    if db.read(key, SortedSet) is None or not doomed:
        return 0
    members = db.write(key, SortedSet)
    removed = sum(members.discard(member) for member in doomed)
    db.remove_if_empty(key)
    return removed


@command("ZREM", 2)
def zrem(db: Keyspace, args: Arguments) -> Reply:
    return _discard(db, args[0], args[1:])


def _pop(db: Keyspace, args: Arguments, *, least: bool) -> Reply:
    count = read_int(args[1], "ERR value is out of range, must be positive") if len(args) > 1 else 1
    order = (db.read(args[0], SortedSet) or NOTHING).order
    taken = order[:count] if least else order[::-1][:count]
    _discard(db, args[0], [member for _, member in taken])
    return [text for score, member in taken for text in (member, write_float(score))]


@command("ZPOPMIN", 1, 2)
def zpopmin(db: Keyspace, args: Arguments) -> Reply:
    return _pop(db, args, least=True)


@command("ZPOPMAX", 1, 2)
def zpopmax(db: Keyspace, args: Arguments) -> Reply:
    return _pop(db, args, least=False)


# -- sorted sets: reading --------------------------------------------------------------------------------------------


@command("ZCARD", 1, 1)
def zcard(db: Keyspace, args: Arguments) -> Reply:
    return len(db.read(args[0], SortedSet) or ())


@command("ZSCORE", 2, 2)
def zscore(db: Keyspace, args: Arguments) -> Reply:
    score = (db.read(args[0], SortedSet) or NOTHING).scores.get(args[1])
    return None if score is None else write_float(score)


@command("ZMSCORE", 2)
def zmscore(db: Keyspace, args: Arguments) -> Reply:
    return [zscore(db, (args[0], member)) for member in args[1:]]


@command("ZRANK", 2, 2)
def zrank(db: Keyspace, args: Arguments) -> Reply:
    return (db.read(args[0], SortedSet) or NOTHING).rank(args[1])


@command("ZREVRANK", 2, 2)
def zrevrank(db: Keyspace, args: Arguments) -> Reply:
    members = db.read(args[0], SortedSet) or NOTHING
    rank = members.rank(args[1])
    return None if rank is None else len(members) - 1 - rank


def _score_edge(text: bytes, *, low: bool) -> tuple[float, bool]:
    """A bound such as `5`, `(5` or `-inf`: the score, and whether entries equal to it come before the cut."""
    exclusive = text[:1] == b"("
    score = read_float(text[1:] if exclusive else text, "ERR min or max is not a float")
    return score, exclusive if low else not exclusive


def _cut(order: Sequence[Pair], edge: tuple[float, bool]) -> int:
    score, after = edge
    if after:
        return bisect_right(order, score, key=lambda pair: pair[0])
    return bisect_left(order, score, key=lambda pair: pair[0])


def _by_score(low: bytes, high: bytes) -> Range:
    first, last = _score_edge(low, low=True), _score_edge(high, low=False)
    return lambda order: (_cut(order, first), _cut(order, last))


def _lex_edge(text: bytes) -> bytes:
    if text not in (b"-", b"+") and text[:1] not in (b"[", b"("):
        raise ReplyError("ERR min or max not valid string range item")
    return text


def _lex_cut(order: Sequence[Pair], text: bytes, *, low: bool) -> int:
    if text in (b"-", b"+"):
        return 0 if text == b"-" else len(order)
    after = (text[:1] == b"(") == low
    names = [member for _, member in order]
    return bisect_right(names, text[1:]) if after else bisect_left(names, text[1:])


def _by_lex(low: bytes, high: bytes) -> Range:
    first, last = _lex_edge(low), _lex_edge(high)
    return lambda order: (_lex_cut(order, first, low=True), _lex_cut(order, last, low=False))


def _by_rank(low: bytes, high: bytes) -> Range:
    first, last = read_int(low), read_int(high)
    return lambda order: span(first, last, len(order))


BOUNDS: dict[str, Callable[[bytes, bytes], Range]] = {"rank": _by_rank, "score": _by_score, "lex": _by_lex}


def _select(
    db: Keyspace, args: Arguments, by: str, *, reverse: bool = False, limited: bool = True, scored: bool = True
) -> Reply:
    """One range query; `args` is key, bounds, then LIMIT and WITHSCORES as far as the command knows them."""
    key, low, high, *options = args
    limit, with_scores = None, False
    while options:
        word = options.pop(0).upper()
        if word == b"WITHSCORES" and scored:
            with_scores = True
        elif word == b"LIMIT" and limited and len(options) >= 2:
            limit = read_int(options.pop(0)), read_int(options.pop(0))
        else:
            raise ReplyError(SYNTAX)
    backwards = reverse and by != "rank"  # bounds by rank keep their order
    stretch = BOUNDS[by](high, low) if backwards else BOUNDS[by](low, high)
    order = (db.read(key, SortedSet) or NOTHING).order
    if reverse and by == "rank":
        order = order[::-1]
    first, end = stretch(order)
    chosen = order[first:end]
    if backwards:
        chosen.reverse()
    if limit is not None:
        offset, count = limit
        chosen = [] if offset < 0 else chosen[offset : None if count < 0 else offset + count]
    if with_scores:
        return [text for score, member in chosen for text in (member, write_float(score))]
    return [member for _, member in chosen]


@command("ZRANGE", 3)
def zrange(db: Keyspace, args: Arguments) -> Reply:
    words = [option.upper() for option in args[3:]]
    by = "score" if b"BYSCORE" in words else "lex" if b"BYLEX" in words else "rank"
    rest = tuple(word for word in words if word not in (b"BYSCORE", b"BYLEX", b"REV"))
    return _select(db, args[:3] + rest, by, reverse=b"REV" in words, limited=by != "rank", scored=by != "lex")


def _query(by: str, *, reverse: bool = False) -> Command:
    def run(db: Keyspace, args: Arguments) -> Reply:
        return _select(db, args, by, reverse=reverse, limited=by != "rank", scored=by != "lex")

    return run


command("ZREVRANGE", 3)(_query("rank", reverse=True))
command("ZRANGEBYSCORE", 3)(_query("score"))
command("ZREVRANGEBYSCORE", 3)(_query("score", reverse=True))
command("ZRANGEBYLEX", 3)(_query("lex"))
command("ZREVRANGEBYLEX", 3)(_query("lex", reverse=True))


def _count(by: str) -> Command:
    def run(db: Keyspace, args: Arguments) -> Reply:
        stretch = BOUNDS[by](args[1], args[2])
        first, end = stretch((db.read(args[0], SortedSet) or NOTHING).order)
        return max(end - first, 0)

    return run


command("ZCOUNT", 3, 3)(_count("score"))
command("ZLEXCOUNT", 3, 3)(_count("lex"))


def _remove_range(by: str) -> Command:
    def run(db: Keyspace, args: Arguments) -> Reply:
        doomed = _select(db, args, by)
        assert isinstance(doomed, list)
        return _discard(db, args[0], [member for member in doomed if isinstance(member, bytes)])

    return run


command("ZREMRANGEBYSCORE", 3, 3)(_remove_range("score"))
command("ZREMRANGEBYRANK", 3, 3)(_remove_range("rank"))
command("ZREMRANGEBYLEX", 3, 3)(_remove_range("lex"))


# -- streams ---------------------------------------------------------------------------------------------------------

BAD_ID = "ERR Invalid stream ID specified as stream command argument"


def _stream_id(text: bytes, missing: int) -> StreamId:
    """`ms-seq`, or `ms` with `missing` as its sequence."""
    ms, dash, seq = text.partition(b"-")
    return read_int(ms, BAD_ID), read_int(seq, BAD_ID) if dash else missing


def _write_id(value: StreamId) -> bytes:
    return b"%d-%d" % value


def _next_id(stream: Stream, text: bytes, now_ms: int) -> StreamId:
    ms, seq = stream.last
    if text == b"*":
        return (now_ms, 0) if now_ms > ms else (ms, seq + 1)
    if text.endswith(b"-*"):
        given = read_int(text[:-2], BAD_ID)
        wanted = (given, seq + 1) if given == ms else (given, 0)
    else:
        wanted = _stream_id(text, 0)
    if wanted <= stream.last:
        raise ReplyError("ERR The ID specified in XADD is equal or smaller than the target stream top item")
    return wanted


def _trim_rule(options: list[bytes]) -> tuple[bytes, bool, bytes]:
    """Take `MAXLEN|MINID [=|~] threshold [LIMIT n]` from the front: kind, whether exact, threshold."""
    kind = options.pop(0).upper()
    exact = True
    if options and options[0] in (b"=", b"~"):
        exact = options.pop(0) == b"="
    if not options:
        raise ReplyError(SYNTAX)
    threshold = options.pop(0)
    if options and options[0].upper() == b"LIMIT" and len(options) > 1:
        del options[:2]
    return kind, exact, threshold


def _trim(stream: Stream, kind: bytes, exact: bool, threshold: bytes) -> int:
    """Drop old entries; like Redis, an inexact trim drops only whole nodes."""
    if kind == b"MAXLEN":
        surplus = max(len(stream) - read_int(threshold), 0)
    else:
        surplus = bisect_left(stream.entries, _stream_id(threshold, 0), key=lambda entry: entry[0])
    doomed = surplus if exact else surplus // NODE_ENTRIES * NODE_ENTRIES
    del stream.entries[:doomed]
    return doomed


@command("XADD", 4)
def xadd(db: Keyspace, args: Arguments) -> Reply:
    key, *options = args
    make, rule = True, None
    while options and options[0].upper() in (b"NOMKSTREAM", b"MAXLEN", b"MINID"):
        if options[0].upper() == b"NOMKSTREAM":
            make = False
            options.pop(0)
        else:
            rule = _trim_rule(options)
    if len(options) < 3 or len(options) % 2 == 0:
        raise ReplyError("ERR wrong number of arguments for 'xadd' command")
    if options[0] in (b"0", b"0-0"):
        raise ReplyError("ERR The ID specified in XADD must be greater than 0-0")
    present = db.read(key, Stream)
    new = _next_id(Stream() if present is None else present, options[0], db.now_ms)
    if present is None and not make:
        return None
    stream = db.write(key, Stream)
    stream.entries.append((new, tuple(options[1:])))
    stream.last = new
    if rule is not None:
        _trim(stream, *rule)
    return _write_id(new)


@command("XTRIM", 3)
def xtrim(db: Keyspace, args: Arguments) -> Reply:
    if db.read(args[0], Stream) is None:
        return 0
    return _trim(db.write(args[0], Stream), *_trim_rule(list(args[1:])))


@command("XLEN", 1, 1)
def xlen(db: Keyspace, args: Arguments) -> Reply:
    return len(db.read(args[0], Stream) or ())


@command("XDEL", 2)
def xdel(db: Keyspace, args: Arguments) -> Reply:
    doomed = {_stream_id(text, 0) for text in args[1:]}
    if db.read(args[0], Stream) is None:
        return 0
    stream = db.write(args[0], Stream)
    before = len(stream)
    stream.entries = [entry for entry in stream.entries if entry[0] not in doomed]
    return before - len(stream)


def _edge(text: bytes, *, low: bool) -> StreamId:
    if text in (b"-", b"+"):
        return (0, 0) if text == b"-" else (2**64, 0)
    exclusive = text[:1] == b"("
    ms, seq = _stream_id(text[1:] if exclusive else text, 0 if low else 2**64 - 1)
    return (ms, seq + (1 if low else -1)) if exclusive else (ms, seq)


def _entries(db: Keyspace, key: bytes, low: bytes, high: bytes) -> list[Reply]:
    entries = (db.read(key, Stream) or Stream()).entries
    first = bisect_left(entries, _edge(low, low=True), key=lambda entry: entry[0])
    end = bisect_right(entries, _edge(high, low=False), key=lambda entry: entry[0])
    return [[_write_id(number), [*fields]] for number, fields in entries[first:end]]


def _count_option(args: Arguments) -> int | None:
    if not args:
        return None
    if len(args) != 2 or args[0].upper() != b"COUNT":
        raise ReplyError(SYNTAX)
    return max(read_int(args[1]), 0)


@command("XRANGE", 3)
def xrange(db: Keyspace, args: Arguments) -> Reply:
    return _entries(db, args[0], args[1], args[2])[: _count_option(args[3:])]


@command("XREVRANGE", 3)
def xrevrange(db: Keyspace, args: Arguments) -> Reply:
    return _entries(db, args[0], args[2], args[1])[::-1][: _count_option(args[3:])]
