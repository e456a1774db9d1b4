"""New jobs of one command: made one after the other, watched side by side, and counted for the exit code."""

import argparse
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import msgspec

from bucketline.cli import say
from bucketline.client import Client, ClientError, Unreachable
from bucketline.exits import FAILED, FINE
from bucketline.report import Reporter
from bucketline.results import TERMINAL, Event, Job, Transfer
from bucketline.stopping import leave, stoppable
from bucketline.talk import failure, print_json

# So many jobs are watched while the next ones are being made.
WATCHED_AT_ONCE = 16

# Makes the job of a file (or source), given as the command line names it.
Make = Callable[[str], Job]


class Batch:
    """One run of `put` or `copy`. `shown` gives a file's name for messages, `undone` tells what an interrupt leaves."""

    def __init__(
        self,
        client: Client,
        report: Reporter,
        arguments: argparse.Namespace,
        shown: Callable[[str], str],
        undone: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._client = client
        self._report = report
        self._arguments = arguments
        self._shown = shown
        self._undone = undone
        self._print = threading.Lock()
        self._jobs: list[Job] = []

    def run(self, files: Sequence[str], make: Make) -> int:
        """Make every job; 0 only when all succeeded (with --detach: were accepted)."""
        with stoppable():
            return self._run(files, make)

    def _run(self, files: Sequence[str], make: Make) -> int:
        watching: list[Future[bool]] = []
        pool = ThreadPoolExecutor(WATCHED_AT_ONCE, thread_name_prefix="watch")
        try:
            code = FINE
            for file in files:
                job, failed = self._made(file, make)
                code = code or failed
                if job is not None and not self._arguments.detach:
                    watching.append(pool.submit(self._watch, self._shown(file), job))
            outcomes = [future.result() for future in watching]
            return code or (FINE if all(outcomes) else FAILED)
        except KeyboardInterrupt as interrupt:
            self._tell_what_goes_on()
            sys.stdout.flush()
            leave(interrupt)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _made(self, file: str, make: Make) -> tuple[Job | None, int]:
        """The job of one file. A refused file does not stop the next ones; a server that is away does."""
        name = self._shown(file)
        try:
            job = make(file)
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

    def _watch(self, name: str, job: Job) -> bool:
        size = job.size

        def on_event(event: Event) -> None:
            nonlocal size
            size = event.data.get("size", size)  # of a source it is known once a worker has looked
            if event.data.get("state") not in TERMINAL:
                transfers = msgspec.convert(event.data.get("transfers", []), list[Transfer], strict=False)
                self._report.moved(name, size, transfers)

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
        if lines := self._undone():
            say(*lines)
