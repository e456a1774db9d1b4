"""What every client command shares: the client for the settings given, and its errors as exit codes."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from bucketline.cli import settings_for
from bucketline.client import Client, ClientError, Refused, Unreachable
from bucketline.exits import CONFIGURATION, FAILED, UNREACHABLE, USAGE, Failure
from bucketline.faults import NotNow

# Of what the server may answer, what a user mends on the command line, and what in the configuration.
_USAGE_STATUSES = frozenset({400, 404, 413, 422})
_CONFIGURATION_STATUSES = frozenset({401, 403})
_NOT_USAGE = frozenset({"checksum_mismatch", "not_found"})


@contextlib.contextmanager
def client_for(arguments: argparse.Namespace) -> Iterator[Client]:
    """A client for --url and the environment; its errors inside the block end the command."""
    settings = settings_for(arguments, url=arguments.url)
    try:
        with Client(settings.url, settings.token) as client:
            yield client
    except ClientError as error:
        raise failure(error) from error


def failure(error: ClientError) -> Failure:
    """The exit code and the lines for an error of the client."""
    if isinstance(error, NotNow):
        return Failure(UNREACHABLE, str(error), "the server answers; what it needs does not: its /readyz says which")
    if isinstance(error, Unreachable):
        return Failure(
            UNREACHABLE, str(error), "`bucketline up` starts a server; --url or BUCKETLINE_URL names another one"
        )
    if not isinstance(error, Refused):
        return Failure(FAILED, str(error))
    lines = error.problem.lines()
    if error.status in _CONFIGURATION_STATUSES:
        return Failure(CONFIGURATION, *lines, "BUCKETLINE_TOKEN holds the key that is sent")
    usage = error.status in _USAGE_STATUSES and error.problem.code not in _NOT_USAGE
    return Failure(USAGE if usage else FAILED, *lines)


def print_json(value: Any) -> None:
    """One line of JSON on stdout."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()
