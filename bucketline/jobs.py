"""`bucketline jobs`: lists jobs, shows and follows one, and commands them."""

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from bucketline.cli import say
from bucketline.client import Client, ClientError
from bucketline.exits import FAILED, FINE, USAGE, Failure
from bucketline.report import human_size, reporter, trouble, verdict
from bucketline.results import TERMINAL, Event, FailedAttempt, Job, Transfer
from bucketline.talk import client_for, failure, print_json
from bucketline.words import nearest

FORGET = "forget"
VERBS = ("cancel", "pause", "resume", "retry", FORGET)
ADD = "add-destination"
WORDS = (*VERBS, ADD)
SHOWN_FAILURES = 5


def run(arguments: argparse.Namespace) -> int:
    words = arguments.words
    if words and words[0] in VERBS:
        if len(words) == 1:
            raise Failure(USAGE, f"`bucketline jobs {words[0]}` takes the ids of jobs")
        return _command(arguments, words[0], words[1:])
    if words and words[0] == ADD:
        return _add(arguments, words[1:])
    if len(words) > 1:
        hint = nearest(words[0], WORDS)
        raise Failure(USAGE, f"{words[0]!r} is none of {', '.join(WORDS)}{hint}", "to look at jobs, name one at a time")
    if words and words[0].replace("-", "").isalpha() and len(words[0]) < 16 and (hint := nearest(words[0], WORDS)):
        raise Failure(USAGE, f"{words[0]!r} is neither a job's id nor a command{hint}")
    with client_for(arguments) as client:
        if words:
            return _watch(client, arguments, words[0]) if arguments.watch else _show(client, arguments, words[0])
        return _feed(client, arguments) if arguments.watch else _list(client, arguments)


def _command(arguments: argparse.Namespace, verb: str, ids: list[str]) -> int:
    code = FINE
    with client_for(arguments) as client:
        for id in ids:
            try:
                told_of = _forgotten(client, id) if verb == FORGET else _told(client.command(id, verb))
            except ClientError as error:
                told = failure(error)
                if len(ids) == 1:
                    raise
                say(f"{id}: {told.lines[0]}", *told.lines[1:])
                code = code or told.code
                continue
            if arguments.json:
                print_json(told_of[0])
            else:
                print(told_of[1])
    return code


def _told(job: Job) -> tuple[Any, str]:
    """A commanded job for programs, and for people."""
    return job.raw, f"{job.id} {job.state}"


def _forgotten(client: Client, id: str) -> tuple[Any, str]:
    client.forget(id)
    return {"id": id, "forgotten": True}, f"{id} forgotten"


def _add(arguments: argparse.Namespace, words: list[str]) -> int:
    if len(words) < 2:
        raise Failure(USAGE, f"`bucketline jobs {ADD}` takes the id of a job, and the names of destinations or routes")
    with client_for(arguments) as client:
        job = client.add_destination(words[0], *words[1:])
    if arguments.json:
        print_json(job.raw)
    else:
        print(f"{job.id} {job.state}, to {', '.join(transfer.destination for transfer in job.transfers)}")
    return FINE


def _list(client: Client, arguments: argparse.Namespace) -> int:
    if arguments.limit < 1:
        raise Failure(USAGE, "--limit takes a number of jobs, at least 1")
    jobs: list[Job] = []
    cursor = None
    while len(jobs) < arguments.limit:
        page = client.jobs(
            state=arguments.state, destination=arguments.to, limit=min(100, arguments.limit - len(jobs)), cursor=cursor
        )
        jobs += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    if arguments.json:
        for job in jobs:
            print_json(job.raw)
        return FINE
    if not jobs:
        say("no jobs" + (f" in state {arguments.state}" if arguments.state else ""))
        return FINE
    rows = [("ID", "STATE", "SIZE", "DONE", "AGE", "NAME", "TO", "WHY"), *map(_row, jobs)]
    table(rows if any(row[-1] for row in rows[1:]) else [row[:-1] for row in rows])
    if cursor is not None:
        say(f"there are more; --limit {arguments.limit * 5} shows them")
    return FINE


def _row(job: Job) -> tuple[str, ...]:
    places = ", ".join(transfer.destination for transfer in job.transfers)
    return (
        job.id,
        job.state,
        human_size(job.size),
        _share(job),
        _age(job.created_at),
        printable(job.name),
        places,
        _why(job),
    )


def _why(job: Job) -> str:
    """The codes of what is wrong with it, each once; empty when nothing is."""
    problems = [transfer.error for transfer in job.transfers] + [job.error]
    return ", ".join(dict.fromkeys(problem.code for problem in problems if problem is not None))


def _share(job: Job) -> str:
    if job.succeeded:
        return "100 %"
    return f"{100 * job.sent // job.size} %" if job.size else "-"


def _age(moment: str | None) -> str:
    if moment is None:
        return "-"
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{max(0, seconds)} s"


def table(rows: Sequence[tuple[str, ...]]) -> None:
    """Rows with aligned columns, on stdout; the first row is the heading.

    On a terminal that is too narrow for them, each row is a paragraph: its first cell, and the others below it.
    """
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    if sys.stdout.isatty() and sum(widths) + 2 * (len(widths) - 1) > (room := shutil.get_terminal_size().columns):
        for row in rows[1:]:
            print("\n".join(_paragraph(row, room)))
        return
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _paragraph(row: tuple[str, ...], room: int) -> list[str]:
    """The cells of a row in lines; one that is too long for a line is cut, but for the first."""
    lines, line = [row[0]], ""
    for cell in filter(None, row[1:]):
        if line and len(line) + 2 + len(cell) > room:
            lines.append(line)
            line = ""
        line = f"{line}  {cell}" if line else f"  {cell}"
        line = line if len(line) <= room else f"{line[: room - 1]}…"
    return [*lines, line] if line else lines


def _show(client: Client, arguments: argparse.Namespace, id: str) -> int:
    job = client.job(id)
    failures = {one.destination: client.failures(id, one.destination) for one in job.transfers}
    if arguments.json:
        told = {name: {"failures": msgspec.to_builtins(failed)} for name, failed in failures.items()}
        transfers = [{**one, **told.get(one["destination"], {})} for one in job.raw.get("transfers", [])]
        print_json({**job.raw, "transfers": transfers})
        return FINE
    for line in _description(job, failures):
        print(line)
    return FINE


def _description(job: Job, failures: Mapping[str, list[FailedAttempt]]) -> list[str]:
    lines = [f"job {job.id}: {job.state}" + (f", run {job.run}" if job.run > 1 else "")]
    lines.append(f"  {printable(job.name)}, {human_size(job.size)}, key {printable(job.key or '-')}")
    lines.append(f"  made {job.created_at}, changed {job.updated_at}")
    if not job.ended and job.rate:
        eta = f", {job.eta_seconds:.0f} s left" if job.eta_seconds is not None else ""
        lines.append(f"  {human_size(job.sent)} stored, {human_size(job.rate)}/s{eta}")
    lines += [f"  {kind} {value}" for kind, value in job.checksums.items() if value]
    for transfer in job.transfers:
        lines.append(f"  → {transfer.destination}: {_progress(transfer)}")
        if transfer.url:
            lines.append(f"    {printable(transfer.url)}")
        if why := trouble(transfer):
            lines.append(f"    {why}")
        lines += _earlier(failures.get(transfer.destination, []), job.run)
    if job.error is not None:
        lines.append(f"  {job.error.title}: {job.error.detail or ''}".rstrip(": "))
    return lines


def _earlier(failures: list[FailedAttempt], run: int) -> list[str]:
    """The latest failed attempts of a transfer."""
    if not failures:
        return []
    shown = failures[-SHOWN_FAILURES:]
    more = f"; {len(failures) - len(shown)} more by --json" if len(failures) > len(shown) else ""
    return [f"    earlier attempts that failed{more}:", *(f"      {_attempt(one, run)}" for one in shown)]


def _attempt(one: FailedAttempt, run: int) -> str:
    what = [f"run {one.run}"] * (run > 1) + [f"part {one.part}" if one.part else one.step, f"attempt {one.attempt}"]
    return f"{one.at} {', '.join(what)}: {one.title}" + (f": {printable(one.detail)}" if one.detail else "")


def _progress(transfer: Transfer) -> str:
    parts = transfer.parts
    text = transfer.state
    if parts.total:
        text += f", {parts.sent} of {parts.total} parts, {transfer.attempts} attempts"
    return text + (f", verified by {transfer.verified_by}" if transfer.verified_by else "")


def _watch(client: Client, arguments: argparse.Namespace, id: str) -> int:
    """Follow one job to its end; 1 when it did not succeed."""
    first = client.job(id)
    if arguments.json:
        job = client.wait(id, on_event=lambda event: print_json(event.data))
        return FINE if job.succeeded else FAILED
    name = printable(first.name) or id
    report = reporter()

    def on_event(event: Event) -> None:
        if event.data.get("state") not in TERMINAL:
            report.moved(
                name, first.size, msgspec.convert(event.data.get("transfers", []), list[Transfer], strict=False)
            )

    try:
        job = first if first.ended else client.wait(id, on_event=on_event)
    finally:
        report.close()
    for line in verdict(name, job):
        print(line)
    return FINE if job.succeeded else FAILED


def _feed(client: Client, arguments: argparse.Namespace) -> int:
    """The jobs that change, until Ctrl-C: a table on a terminal, elsewhere one line for each change."""
    if sys.stdout.isatty() and not arguments.json:
        from bucketline.live import follow

        return follow(client)
    states: dict[str, str] = {}
    for event in client.events():
        if arguments.json:
            print_json(event.data)
            continue
        id, state = str(event.data.get("id", "")), str(event.data.get("state", ""))
        if states.get(id) != state:
            states[id] = state
            print(f"{id} {state} {human_size(event.data.get('sent'))}", flush=True)
        if state in TERMINAL:
            states.pop(id, None)
    return FINE


def printable(text: str) -> str:
    """A name from outside, fit for a terminal: no control characters."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
