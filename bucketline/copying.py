"""`bucketline copy`: has the server carry what need not be sent to it, and follows the jobs."""

import argparse
from urllib.parse import unquote, urlsplit

from bucketline import job_options
from bucketline.batch import Batch
from bucketline.exits import USAGE, Failure
from bucketline.report import reporter
from bucketline.sending import Source, UrlSource
from bucketline.talk import client_for


def run(arguments: argparse.Namespace) -> int:
    sources = {text: source_of(text, arguments.credentials) for text in arguments.sources}
    job_options.check_for_one(arguments, len(arguments.sources))
    options = job_options.values(arguments)
    key = arguments.idempotency_key
    with client_for(arguments) as client:
        report = reporter()
        try:
            return Batch(client, report, arguments, shown).run(
                arguments.sources, lambda text: client.submit_source(sources[text], idempotency_key=key, **options)
            )
        finally:
            report.close()


def source_of(text: str, credentials: str | None = None) -> Source:
    """The source that a word of the command line names; Failure(2) when it names none."""
    if text.startswith(("http://", "https://")):
        _must_be_an_address(text)
        at: UrlSource = {"url": text}
        return {**at, "credentials": credentials} if credentials else at
    if credentials:
        raise Failure(USAGE, f"--credentials is for URLs, and {text!r} is none")
    if text.startswith("/"):
        return {"path": text}
    destination, colon, key = text.partition(":")
    if not (destination and colon and key) or "/" in destination or key.startswith("//"):
        raise Failure(
            USAGE,
            f"{text!r} is no source: that is DESTINATION:KEY, http(s)://…, or an absolute path on the server",
            "`bucketline put` sends files of this machine",
        )
    return {"destination": destination, "key": key}


def _must_be_an_address(text: str) -> None:
    try:
        host = urlsplit(text).hostname
    except ValueError:
        host = None
    if not host:
        raise Failure(USAGE, f"{text!r} is no address", "write it as https://files.example/holiday.mp4")


def shown(text: str) -> str:
    """A source as messages name it: the last segment, and nothing of a query."""
    path = unquote(urlsplit(text).path) if "://" in text else text
    return path.rstrip("/").rpartition("/")[2] or text
