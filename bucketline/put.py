"""`bucketline put`: sends files and follows their jobs until they have arrived."""

import argparse
import mimetypes
import os
import shlex
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from bucketline import job_options
from bucketline.batch import Batch
from bucketline.client import BrokenOff, Client, ClientError, Refused
from bucketline.exits import UNREACHABLE, USAGE, Failure
from bucketline.report import Reporter, reporter
from bucketline.results import Job
from bucketline.sending import Options
from bucketline.talk import client_for, failure

UPLOADS = "/v1/tus/"
# Refusals of the caller, not of the upload: with another token it goes on.
_OF_THE_TOKEN = frozenset({401, 403})
_NOTHING = ("", "")  # instead of the file and the address of an upload in chunks


def run(arguments: argparse.Namespace) -> int:
    in_chunks = arguments.resumable or arguments.resume is not None
    for file in arguments.files:
        _look_at(file, again=in_chunks)
    job_options.check_for_one(arguments, len(arguments.files))
    if in_chunks and arguments.idempotency_key is not None:
        raise Failure(
            USAGE,
            "--idempotency-key is for files that are sent in one request",
            "leave it out: an upload in chunks is gone on with, not sent again",
        )
    if arguments.resume is not None:
        _check_resume(arguments)
    options = job_options.values(arguments)
    with client_for(arguments) as client:
        report = reporter()
        try:
            put = _Put(client, report, options, arguments)
            return Batch(client, report, arguments, shown, put.undone).run(arguments.files, put.send)
        finally:
            report.close()


def _check_resume(arguments: argparse.Namespace) -> None:
    server, found, _ = arguments.resume.partition(UPLOADS)
    if not found:
        raise Failure(USAGE, f"{arguments.resume!r} is no upload", "give the address that `put --resumable` told")
    if len(arguments.files) > 1:
        raise Failure(USAGE, "--resume goes on with one file")
    if given := job_options.given(arguments):
        raise Failure(USAGE, f"--resume goes on with an upload that has its options already: leave out {given[0]}")
    arguments.url = arguments.url or server or None


class _Put:
    """How files get to the server: each in one request, or in chunks."""

    def __init__(self, client: Client, report: Reporter, options: Options, arguments: argparse.Namespace) -> None:
        self._client = client
        self._report = report
        self._options = options
        self._arguments = arguments
        self._resume = arguments.resume
        self._in_chunks = arguments.resumable or arguments.resume is not None
        self._on_the_way = _NOTHING
        self._sending = ""

    def send(self, file: str) -> Job:
        name = shown(file)
        with _opened(file) as source:
            self._report.sending(name, _size(source))
            if self._in_chunks:
                return self._send_in_chunks(file, source, self._counter(name))
            return self._send_whole(file, source, self._counter(name))

    def undone(self) -> Sequence[str]:
        """What is to be told of an upload that was left: the command that goes on with it, if anything can."""
        file, url = self._on_the_way
        if not url:
            gone = f"{self._sending}: what was sent is not kept; `put --resumable` sends in chunks that are"
            return (gone,) if self._sending else ()
        words = ["bucketline", "put", "--resume", url, *(["--"] if file.startswith("-") else []), file]
        return f"{shown(file)}: what was sent is kept; this goes on with it:", shlex.join(words)

    def _send_whole(self, file: str, source: BinaryIO, on_sent: Callable[[int], None]) -> Job:
        self._sending = shown(file)
        try:
            key, options = self._arguments.idempotency_key, self._options_of(file)
            job = self._client.submit(source, idempotency_key=key, on_sent=on_sent, **options)
        except Exception:
            self._sending = ""
            raise
        self._sending = ""
        return job

    def _send_in_chunks(self, file: str, source: BinaryIO, on_sent: Callable[[int], None]) -> Job:
        def on_url(url: str) -> None:
            self._on_the_way = (file, url)

        if self._resume is not None:
            on_url(self._resume)
        try:
            job = self._uploaded(file, source, on_sent, on_url)
        except BrokenOff as error:
            raise Failure(UNREACHABLE, f"{shown(file)}: {error.why}", *self.undone()) from None
        except ClientError as error:
            if isinstance(error, Refused) and error.status in _OF_THE_TOKEN:
                told = failure(error)
                raise Failure(told.code, *told.lines, *self.undone()) from None
            self._on_the_way = _NOTHING
            raise
        self._on_the_way = _NOTHING
        return job

    def _uploaded(
        self, file: str, source: BinaryIO, on_sent: Callable[[int], None], on_url: Callable[[str], None]
    ) -> Job:
        patience = self._arguments.patience
        if self._resume is not None:
            return self._client.resume_upload(self._resume, source, patience=patience, on_sent=on_sent)
        options = self._options_of(file)
        return self._client.upload(source, patience=patience, on_url=on_url, on_sent=on_sent, **options)

    def _counter(self, name: str) -> Callable[[int], None]:
        return lambda sent: self._report.sent(name, sent)

    def _options_of(self, file: str) -> Options:
        name = self._options["name"] or ("upload" if file == "-" else Path(file).name)
        guessed = mimetypes.guess_type(name)[0] if self._options["content_type"] is None else None
        return {**self._options, "name": name, "content_type": self._options["content_type"] or guessed}


def shown(file: str) -> str:
    """A file as messages name it."""
    return "standard input" if file == "-" else Path(file).name


def _look_at(file: str, *, again: bool) -> None:
    """Failure(2) for what cannot be sent, before anything is. `again`: it must be possible to read it twice."""
    if file == "-":
        return _must_be_a_file(shown(file)) if again else None
    try:
        found = os.stat(file)
        if stat.S_ISDIR(found.st_mode):
            raise Failure(USAGE, f"{file} is a directory; name the files in it")
        if not os.access(file, os.R_OK):
            raise Failure(USAGE, f"{file} cannot be read: Permission denied")
        if again and not stat.S_ISREG(found.st_mode):
            _must_be_a_file(file)
    except OSError as error:
        raise Failure(USAGE, f"{file or repr(file)}: {error.strerror}", "name a file that is there") from None
    except ValueError:
        raise Failure(USAGE, f"{file!r} is not a path") from None


def _must_be_a_file(name: str) -> None:
    raise Failure(
        USAGE,
        f"{name} cannot be read again after a break",
        "save it as a file and send that with --resumable, or leave out --resumable",
    )


def _opened(file: str) -> BinaryIO:
    return open(0, "rb", closefd=False) if file == "-" else open(file, "rb")


def _size(source: BinaryIO) -> int | None:
    found = os.fstat(source.fileno())
    return found.st_size if stat.S_ISREG(found.st_mode) else None
