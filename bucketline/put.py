"""`bucketline put`: sends files and follows their jobs until they have arrived."""

import argparse
import mimetypes
import os
import stat
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from bucketline.cli import PROPERTIES, say
from bucketline.client import Client, ClientError, Unreachable
from bucketline.exits import FAILED, FINE, INTERRUPTED, USAGE, Failure
from bucketline.report import Reporter, reporter
from bucketline.results import TERMINAL, Event, Job, Transfer
from bucketline.talk import client_for, failure, print_json

# Files are sent one after the other; so many jobs are watched while the next files are being sent.
WATCHED_AT_ONCE = 16


def run(arguments: argparse.Namespace) -> int:
    for file in arguments.files:
        _look_at(file)
    if len(arguments.files) > 1 and (arguments.key or arguments.name):
        raise Failure(USAGE, "--key and --name are for one file; with several, each is named after itself")
    if len(arguments.files) > 1 and arguments.idempotency_key:
        raise Failure(USAGE, "--idempotency-key is for one file")
    options = _options(arguments)
    with client_for(arguments) as client:
        report = reporter()
        try:
            return _Put(client, report, arguments, options).all()
        finally:
            report.close()


class _Put:
    """One run of the command."""

    def __init__(
        self, client: Client, report: Reporter, arguments: argparse.Namespace, options: dict[str, Any]
    ) -> None:
        self._client = client
        self._report = report
        self._arguments = arguments
        self._options = options
        self._print = threading.Lock()
        self._jobs: list[Job] = []

    def all(self) -> int:
        """Send every file; 0 only when every job succeeded (with --detach: was accepted)."""
        watching: list[Future[bool]] = []
        pool = ThreadPoolExecutor(WATCHED_AT_ONCE, thread_name_prefix="watch")
        try:
            code = FINE
            for file in self._arguments.files:
                job, failed = self._send(file)
                code = code or failed
                if job is not None and not self._arguments.detach:
                    watching.append(pool.submit(self._watch, shown(file), job))
            outcomes = [future.result() for future in watching]
            return code or (FINE if all(outcomes) else FAILED)
        except KeyboardInterrupt:
            self._tell_what_goes_on()
            # Threads that still read from the server must not hold the terminal.
            sys.stdout.flush()
            os._exit(INTERRUPTED)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _send(self, file: str) -> tuple[Job | None, int]:
        """The job of one file. A refused file does not stop the next ones; a server that is away does."""
        name = shown(file)
        try:
            with _opened(file) as source:
                self._report.sending(name, _size(source))
                job = self._client.submit(source, **self._options_of(file), on_sent=self._counter(name))
        except OSError as error:
            say(f"{file}: {error.strerror or error}")
            return None, FAILED
        except Unreachable:
            raise
        except ClientError as error:
            told = failure(error)
            say(f"{name}: {told.lines[0]}", *told.lines[1:])
            return None, told.code
        self._jobs.append(job)
        self._report.accepted(name, job)
        if self._arguments.detach:
            self._out(job.raw if self._arguments.json else job.id)
        return job, FINE

    def _counter(self, name: str) -> Callable[[int], None]:
        return lambda sent: self._report.sent(name, sent)

    def _options_of(self, file: str) -> dict[str, Any]:
        name = self._options["name"] or ("upload" if file == "-" else Path(file).name)
        guessed = mimetypes.guess_type(name)[0] if self._options["content_type"] is None else None
        return {**self._options, "name": name, "content_type": self._options["content_type"] or guessed}

    def _watch(self, name: str, job: Job) -> bool:
        def on_event(event: Event) -> None:
            if event.data.get("state") not in TERMINAL:
                transfers = msgspec.convert(event.data.get("transfers", []), list[Transfer], strict=False)
                self._report.moved(name, job.size, transfers)

        ended = self._client.wait(job.id, on_event=on_event)
        self._report.ended(name, ended)
        if self._arguments.json:
            self._out(ended.raw)
        return ended.succeeded

    def _out(self, value: Any) -> None:
        with self._print:
            if isinstance(value, str):
                print(value, flush=True)
            else:
                print_json(value)

    def _tell_what_goes_on(self) -> None:
        self._report.close()
        for job in self._jobs:
            say(f"job {job.id} goes on without us; `bucketline jobs {job.id} --watch` follows it")


def shown(file: str) -> str:
    """A file as messages name it."""
    return "standard input" if file == "-" else Path(file).name


def pairs(words: list[str], option: str) -> dict[str, str]:
    """`K=V` words as a mapping; Failure(2) for anything else."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise Failure(USAGE, f"{option} takes K=V, not {word!r}")
        found[key] = value
    return found


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "destinations": [name for names in arguments.to or [] for name in names.split(",") if name],
        "name": arguments.name,
        "key": arguments.key,
        "content_type": arguments.content_type,
        "metadata": pairs(arguments.metadata, "--metadata"),
        "labels": pairs(arguments.label, "--label"),
        **{name.replace("-", "_"): getattr(arguments, name.replace("-", "_")) for name in PROPERTIES},
        "tags": pairs(arguments.tag, "--tag"),
        "on_conflict": arguments.on_conflict,
        "idempotency_key": arguments.idempotency_key,
        **{name: getattr(arguments, name) for name in ("webhook", "on_success", "on_failure")},
    }


def _look_at(file: str) -> None:
    """Failure(2) for what cannot be sent, before anything is."""
    if file == "-":
        return
    try:
        found = os.stat(file)
        if stat.S_ISDIR(found.st_mode):
            raise Failure(USAGE, f"{file} is a directory; name the files in it")
        if not os.access(file, os.R_OK):
            raise Failure(USAGE, f"{file} cannot be read: Permission denied")
    except OSError as error:
        raise Failure(USAGE, f"{file}: {error.strerror}") from None
    except ValueError:
        raise Failure(USAGE, f"{file!r} is not a path") from None


def _opened(file: str) -> BinaryIO:
    return open(0, "rb", closefd=False) if file == "-" else open(file, "rb")


def _size(source: BinaryIO) -> int | None:
    found = os.fstat(source.fileno())
    return found.st_size if stat.S_ISREG(found.st_mode) else None
