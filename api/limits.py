"""The figures that bound what one request may cost, in one place."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB

JSON_BODY_BYTES = 64 * KIB
LARGEST_LENGTH = 1 << 62
"""A declared length beyond this is refused whatever the settings say: no counter should ever meet it."""

FORM_PARTS = 64
FORM_HEADER_BYTES = 8 * KIB
FORM_FIELD_BYTES = 64 * KIB
FORM_IGNORED_BYTES = 64 * KIB
FORM_OVERHEAD_BYTES = FORM_PARTS * (FORM_FIELD_BYTES + FORM_HEADER_BYTES)
"""What a form may weigh beyond its files: the declared length of a form is checked with this allowance."""

LIST_DEFAULT = 50
LIST_MOST = 500
AUDIT_MOST = 1000
TOKEN_SECONDS = 900
TOKEN_MOST_SECONDS = 86_400
TOKEN_MOST_UPLOADS = 10_000
WAIT_MOST_SECONDS = 60
PING_SECONDS = 15.0
ALREADY_SECONDS = 2.0
"""How long the events of a finished job, which are all there, may take to be read."""
RECONNECT_MILLISECONDS = 3000
PROGRESS_SECONDS = 0.25
EAGER_SECONDS = 0.01  # where a part more can be sent

HEADER_FIELD_BYTES = 16 * KIB - 2
"""gunicorn's default of 8,190 bytes is too small for generous metadata in one header."""

READ_AHEAD_BYTES = 2 * MIB
"""How much of a body may wait in memory for a handler that is busy; then the connection is no longer read."""
LINGER_SECONDS = 2.0
"""How long a refused upload is still read and thrown away, so that its client gets to see the answer."""
QUIET_SECONDS = 20.0
"""How long a connection may take to send the headers of its first or next request."""
GRACEFUL_SECONDS = 30
WORKER_TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class Pace:
    """The slowest client that is still served: else 408.

    Only time spent waiting for the client counts, never time spent on our own disk or ledger.
    """

    idle_seconds: float = 30.0
    grace_seconds: float = 60.0
    bytes_per_second: int = 1024
    look_every_seconds: float = 2.0
